"""Draws on NumPy: the same rule as rank() and draw() in sampling.py, at a tenth of the calls' cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent_tts.models.sampling import MIN_TEMPERATURE

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowChoice:
    """Temperature, top-p and top-k of one row; `limit` >= top_k candidates are looked at."""

    temperature: float
    top_p: float
    top_k: int
    limit: int


def draw_one(logits: Array, uniform: Array, choice: RowChoice) -> int:
    """logits [candidates], uniform [ranks] with at least `limit` of them -> a candidate id."""
    limit = min(choice.limit, len(logits))
    best = np.argpartition(logits, len(logits) - limit)[len(logits) - limit :]
    ids = best[np.argsort(-logits[best], kind="stable")]
    ordered = logits[ids]
    total = np.exp(logits - ordered[0]).sum()
    cumulative = (np.exp(ordered - ordered[0]) / total).cumsum()
    kept = max(1, min(choice.top_k, int(np.searchsorted(cumulative, choice.top_p, side="right"))))
    scaled = ordered[:kept] / max(choice.temperature, MIN_TEMPERATURE)
    with np.errstate(divide="ignore"):  # a uniform number of 0 never wins, as it should be
        race = np.exp(scaled - scaled[0]) / -np.log(uniform[:kept])
    return int(ids[race.argmax()])


def draw_rows(logits: Array, uniform: Array, temperature: Array, top_p: Array) -> npt.NDArray[np.int64]:
    """One candidate for each row, of the best `ranks` ones.

    Args:
        logits: [rows, candidates].
        uniform: [rows, ranks], numbers in (0, 1).
        temperature, top_p: [rows].

    Returns:
        [rows] candidate ids.
    """
    ranks = min(uniform.shape[1], logits.shape[1])
    ids = np.argpartition(logits, logits.shape[1] - ranks, axis=1)[:, logits.shape[1] - ranks :]
    best = np.take_along_axis(logits, ids, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    ids, best = np.take_along_axis(ids, order, axis=1), np.take_along_axis(best, order, axis=1)
    best -= best[:, :1]
    scaled = best / np.maximum(temperature, MIN_TEMPERATURE)[:, None]
    if (top_p < 1.0).any():
        total = np.exp(logits - np.take_along_axis(logits, ids[:, :1], axis=1)).sum(axis=1, keepdims=True)
        limit = np.where(top_p < 1.0, top_p, np.inf)  # 1 leaves nothing out, however the sum is rounded
        drop = (np.exp(best) / total).cumsum(axis=1) > limit[:, None]
        drop[:, 0] = False
        scaled[drop] = -np.inf
    with np.errstate(divide="ignore"):  # a uniform number of 0 never wins, as it should be
        race = np.exp(scaled) / -np.log(uniform[:, :ranks])
    winner = race.argmax(axis=1)
    chosen: npt.NDArray[np.int64] = ids[np.arange(len(ids)), winner]
    return chosen
