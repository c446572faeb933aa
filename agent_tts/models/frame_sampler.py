"""One sampled frame for each row: head, rules of the layout, Fast AR, and what each slot remembers of earlier frames.

The state is one row per slot and explicit; all decisions stay on the device. Knows slots, no requests and no audio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from agent_tts.config import ModelConfig, WeightFormat
from agent_tts.models import sampling
from agent_tts.models.dual_ar import DualAR
from agent_tts.models.fast_ar import FastDecoder
from agent_tts.models.numpy_sampling import Array, RowChoice, draw_one
from agent_tts.models.slow_ar import SlowHead, semantic_code

MAX_ROWS = 8
"""Up to so many rows, one after the other is at least as fast as PyTorch with all of them."""
RAS_WINDOW = 10
PENALTY_WINDOW = 16


@dataclass(frozen=True, slots=True)
class RowSampling:
    """What each row wants from the sampler, all [rows]. `limit` is at least the largest top_k; None = no top-k."""

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    fast_temperature: Tensor
    fast_top_p: Tensor
    penalty: Tensor
    limit: int | None


@dataclass(frozen=True, slots=True)
class Noise:
    """Uniform numbers in (0, 1) for one frame.

    Attributes:
        main: [rows, 2, n]; first draw and RAS draw of the main token.
        residual: [rows, codebooks - 1, n].
        by_candidate: n counts candidates (as in recorded runs); else it counts ranks, at least RowSampling.limit.
    """

    main: Tensor
    residual: Tensor
    by_candidate: bool = False


class SamplerState:
    """What each slot remembers: frames so far, the RAS window (S2) and the penalty history (S1)."""

    def __init__(self, config: ModelConfig, slots: int, device: torch.device | str) -> None:
        self.count = torch.zeros(slots, dtype=torch.long, device=device)
        self.window = torch.full((slots, RAS_WINDOW), -1, dtype=torch.long, device=device)  # candidate ids
        shape = (slots, config.num_codebooks + 1, PENALTY_WINDOW)
        self.history = torch.zeros(shape, dtype=torch.long, device=device)  # columns of tokens and codes

    def reset(self, slot_ids: Tensor) -> None:
        """These slots begin a new utterance."""
        self.count.index_fill_(0, slot_ids, 0)
        self.window.index_fill_(0, slot_ids, -1)
        self.history.index_fill_(0, slot_ids, 0)


class FrameSampler:
    """Turns the Slow AR's last position of each row into that row's next column."""

    def __init__(
        self, model: DualAR, slots: int, *, rows: int | None = None, fast_weights: WeightFormat = "full"
    ) -> None:
        """`rows`: the most there can be in one call; None = as many as slots."""
        weight = model.slow.head_weight
        self._model = model
        self._head = SlowHead(model.slow)
        self._is_s1 = model.config.layout == "dual_ar"
        self._fast = FastDecoder(model.fast, rows or slots, fast_weights)
        self.state = SamplerState(model.config, slots, weight.device)

    def sample(self, x: Tensor, slot_ids: Tensor, rows: RowSampling, noise: Noise) -> Tensor:
        """One frame for each row, the fastest way that the machine allows.

        Args:
            x: [rows, dim], SlowAR.forward() at each row's last position.
            slot_ids: [rows], without repeats.
            rows, noise: Parameters and noise of these rows.

        Returns:
            [rows, codebooks + 1]: main token, then all codes. The state of the slots has moved on by one frame.
        """
        return self._sample(x, slot_ids, rows, noise, alone=len(x) <= MAX_ROWS and self._can_choose_alone(rows, noise))

    def sample_on_device(self, x: Tensor, slot_ids: Tensor, rows: RowSampling, noise: Noise) -> Tensor:
        """As sample(), without a look at any value. Of rows that share a slot any one moves its state on."""
        return self._sample(x, slot_ids, rows, noise, alone=False)

    def _sample(self, x: Tensor, slot_ids: Tensor, rows: RowSampling, noise: Noise, *, alone: bool) -> Tensor:
        model, past = self._model, self._past(slot_ids)
        main = self._main(self._head.logits(x).float(), past, rows, noise)
        tokens = self._head.token_ids[main]
        hidden, first = model.slow.hidden(x), semantic_code(model.config, tokens)
        if alone and self._fast.alone is not None:
            chosen = [
                self._fast.alone.codes(hidden[row : row + 1], code, _alone_choice(rows, noise, row))
                for row, code in enumerate(first.tolist())
            ]
            codes = torch.tensor(chosen)
        else:

            def choose(position: int, logits: Tensor) -> Tensor:
                return self._residual(position, logits.float(), past, rows, noise)

            codes = self._fast.codes(hidden, first, choose)
        columns = torch.cat([tokens.unsqueeze(1), codes], dim=1)
        self._remember(slot_ids, past, main, columns)
        return columns

    def _past(self, slot_ids: Tensor) -> _Past:
        """What this layout needs of these slots' earlier frames."""
        state = self.state
        earlier = state.history if self._is_s1 else state.window
        return _Past(state.count[slot_ids], earlier[slot_ids])

    def _can_choose_alone(self, rows: RowSampling, noise: Noise) -> bool:
        return not self._is_s1 and not noise.by_candidate and rows.limit is not None

    def _main(self, logits: Tensor, past: _Past, rows: RowSampling, noise: Noise) -> Tensor:
        if self._is_s1:  # the reference takes a column of its history here, not a row: the oldest frame's ids
            logits = sampling.penalize(logits, past.earlier[:, :, 0], _from_second_frame(rows.penalty, past.frames))
        ranked = sampling.rank(logits, rows.limit)
        top_k = None if rows.limit is None else rows.top_k
        first = _noise(ranked, noise.main[:, 0], noise, self._head.token_ids)
        if self._is_s1:
            return sampling.draw(ranked, first, rows.temperature, rows.top_p, top_k)
        second = _noise(ranked, noise.main[:, 1], noise, self._head.token_ids)
        return sampling.draw_unless_repeated(
            ranked,
            (first, second),
            past.earlier,
            self._head.is_semantic,
            rows.temperature,
            rows.top_p,
            top_k,
            past.frames > 0,
        )

    def _residual(self, position: int, logits: Tensor, past: _Past, rows: RowSampling, noise: Noise) -> Tensor:
        if self._is_s1:
            recent = past.earlier[:, position + 1]
            logits = sampling.penalize(logits, recent, _from_second_frame(rows.penalty, past.frames))
        ranked = sampling.rank(logits, rows.limit)
        uniform = _noise(ranked, noise.residual[:, position - 1], noise, None)
        top_k = None if rows.limit is None else rows.top_k
        return sampling.draw(ranked, uniform, rows.fast_temperature, rows.fast_top_p, top_k)

    def _remember(self, slot_ids: Tensor, past: _Past, main: Tensor, columns: Tensor) -> None:
        state, later = self.state, (past.frames > 0).unsqueeze(1)  # frame 0 enters neither window nor history
        if self._is_s1:
            state.history[slot_ids] = _appended(past.earlier, past.frames - 1, columns, later)
        else:
            moved = torch.cat([past.earlier[:, 1:], main.unsqueeze(1)], dim=1)
            state.window[slot_ids] = torch.where(later, moved, past.earlier)
        state.count[slot_ids] = past.frames + 1


class _Past(NamedTuple):
    """What the rows of one call remember."""

    frames: Tensor  # [rows], how many so far
    earlier: Tensor  # S1: history [rows, codebooks + 1, 16]; S2: window [rows, 10]


def _alone_choice(rows: RowSampling, noise: Noise, row: int) -> Callable[[int, Array], int]:
    """The residual draws of one row, on NumPy."""
    assert rows.limit is not None
    choice = RowChoice(float(rows.fast_temperature[row]), float(rows.fast_top_p[row]), int(rows.top_k[row]), rows.limit)
    uniform = noise.residual[row].numpy()
    return lambda position, logits: draw_one(logits, uniform[position - 1], choice)


def _from_second_frame(penalty: Tensor, count: Tensor) -> Tensor:
    return torch.where(count > 0, penalty, 1.0)


def _noise(ranked: sampling.Ranked, uniform: Tensor, noise: Noise, token_ids: Tensor | None) -> Tensor:
    """[rows, ranks]; recorded noise of the main token goes by token id, not by candidate."""
    if not noise.by_candidate:
        return uniform[:, : ranked.ids.shape[-1]]
    return sampling.by_rank(ranked, uniform if token_ids is None else uniform[:, token_ids])


def _appended(history: Tensor, index: Tensor, columns: Tensor, enabled: Tensor) -> Tensor:
    """History [rows, codebooks + 1, 16] with the new column: at `index` while there is room, else behind the others."""
    column = columns.unsqueeze(-1)
    place = torch.arange(PENALTY_WINDOW, device=index.device) == index.view(-1, 1, 1)
    placed = torch.where(place, column, history)
    moved = torch.cat([history[..., 1:], column], dim=-1)
    grown = torch.where((index < PENALTY_WINDOW).view(-1, 1, 1), placed, moved)
    return torch.where(enabled.unsqueeze(-1), grown, history)
