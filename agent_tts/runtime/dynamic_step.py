"""One step with the shapes of the moment: what is fastest on a CPU, and what takes any sampling (no top-k, any top-k).

Prompts one by one, all single columns in one batch, then every row that speaks. See static_step.py for the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from agent_tts.models.frame_sampler import Noise, RowSampling
from agent_tts.runtime.prompt_parts import RANKS, SILENCE, PromptParts, Slot
from agent_tts.runtime.prompt_text import PromptWork
from agent_tts.runtime.step import Row, RowResult


class DynamicStep:
    """Computes steps on the parts, whatever rows there are."""

    def __init__(self, parts: PromptParts) -> None:
        self._parts = parts

    def run(self, rows: Sequence[Row], works: Sequence[PromptWork]) -> list[RowResult]:
        """One result a row, in order."""
        x = self._slow(rows, works)  # [rows, dim]
        speaking = [index for index, work in enumerate(works) if work.speaks]
        results = [RowResult(row.request_id, SILENCE, (), 0, False) for row in rows]
        if speaking:
            found = self._speak([rows[index] for index in speaking], x[speaking])
            for index, result in zip(speaking, found, strict=True):
                results[index] = result
        return results

    def _slow(self, rows: Sequence[Row], works: Sequence[PromptWork]) -> Tensor:
        """The Slow AR's output at each row's last new column, [rows, dim]."""
        parts = self._parts
        last: dict[int, Tensor] = {}
        single = [index for index, work in enumerate(works) if len(work.columns) == 1]
        if single:
            chosen = [rows[index] for index in single]
            columns = self._tensor([works[index].columns[0] for index in single])
            view = parts.pool.view([row.pages for row in chosen], [row.num_past for row in chosen], [1] * len(chosen))
            positions = self._tensor([row.position for row in chosen])
            last.update(zip(single, parts.decoder.step(columns, positions, view), strict=True))
        for index, (row, work) in enumerate(zip(rows, works, strict=True)):
            if index not in last:
                last[index] = self._prefill(row, work)
        return torch.stack([last[index] for index in range(len(rows))])

    def _prefill(self, row: Row, work: PromptWork) -> Tensor:
        """New columns of one row -> [dim] at the last one."""
        columns = self._tensor(work.columns).T.unsqueeze(0)  # [1, codebooks + 1, time]
        positions = torch.arange(row.position, row.position + len(work.columns), device=self._parts.device).unsqueeze(0)
        view = self._parts.pool.view([row.pages], [row.num_past], [len(work.columns)])
        x: Tensor = self._parts.model.slow(columns, positions, view)
        return x[0, -1]

    def _tensor(self, values: Sequence[object]) -> Tensor:
        return torch.tensor(values, device=self._parts.device)

    def _speak(self, rows: Sequence[Row], x: Tensor) -> list[RowResult]:
        """One frame of each row, from the Slow AR's output [rows, dim]."""
        parts = self._parts
        slots = [parts.slots[row.slot] for row in rows]
        slot_ids = self._tensor([row.slot for row in rows])
        sampling = self._sampling(slots)
        columns = parts.sampler.sample(x, slot_ids, sampling, self._noise(slots, sampling.limit))
        pcm = parts.speak(columns[:, 1:], columns[:, 0] == parts.config.im_end_id, slot_ids)
        packed = torch.cat([columns.double(), pcm.double()], dim=1).cpu().numpy()  # one copy, ids exact in double
        width = columns.shape[1]
        ids = packed[:, :width].astype(np.int64).tolist()
        pieces = packed[:, width:].astype(np.float32)
        return [parts.result(row, column, piece) for row, column, piece in zip(rows, ids, pieces, strict=True)]

    def _sampling(self, slots: Sequence[Slot]) -> RowSampling:
        wanted = [slot.sampling for slot in slots]
        limits = [sampling.top_k for sampling in wanted]
        limit = None if None in limits else max(RANKS, *(top_k for top_k in limits if top_k is not None))
        return RowSampling(
            temperature=self._tensor([sampling.temperature for sampling in wanted]),
            top_p=self._tensor([sampling.top_p for sampling in wanted]),
            top_k=self._tensor([sampling.top_k or self._parts.config.vocab_size for sampling in wanted]),
            fast_temperature=self._tensor([sampling.fast_temperature for sampling in wanted]),
            fast_top_p=self._tensor([sampling.fast_top_p for sampling in wanted]),
            penalty=self._tensor([sampling.penalty for sampling in wanted]),
            limit=limit,
        )

    def _noise(self, slots: Sequence[Slot], limit: int | None) -> Noise:
        """Each slot's own noise for one frame: it depends on the slot's seed and frame, and on no other row."""
        config = self._parts.config
        shape = (config.num_codebooks + 1, limit or config.vocab_size)
        noise = np.stack([slot.noise.random(shape, dtype=np.float32) for slot in slots])
        uniform = torch.from_numpy(noise).to(self._parts.device)
        return Noise(uniform[:, :2], uniform[:, 2:])
