"""One draw for one row on NumPy: the same rule as rank() and draw() in sampling.py, at a tenth of the calls' cost."""

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
