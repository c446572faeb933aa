"""One step with shapes and addresses that never change, so that a GPU can replay it as a graph.

    fill one host buffer ─▶ one copy up ─▶ slow ─▶ (prompts) ─▶ speak ─▶ one copy down ─▶ one wait

`slow` runs the Slow AR for every row that goes on by one column, `speak` is sampler, Fast AR and codec for all rows.
Both are prepared for each batch size of `BUCKETS`, `slow` also for each bound of the context; rows that are not in use
read and write the padding page and the slot of nobody. Prompts have any length, so they run as they come, in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch

from agent_tts.cache.static_view import StaticView
from agent_tts.nn.crossing import Crossing
from agent_tts.nn.graphs import Launcher
from agent_tts.runtime.prompt_parts import RANKS, SILENCE, PromptParts
from agent_tts.runtime.prompt_text import MAX_PREFILL, PromptWork
from agent_tts.runtime.step import Row, RowResult
from agent_tts.runtime.step_buffers import Sizes, StepBuffers

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
FIRST_CONTEXT = 512
"""The first bound of the context; each further one is twice as large."""


def buckets(max_slots: int) -> tuple[int, ...]:
    """Batch sizes up to the first that holds all slots; beyond the largest, steps of all slots."""
    sizes = [size for size in BUCKETS if size < max_slots]
    return (*sizes, next((size for size in BUCKETS if size >= max_slots), max_slots))


def contexts(max_context: int) -> tuple[int, ...]:
    """Bounds of the context, the last one for the longest there can be."""
    bounds, bound = [], FIRST_CONTEXT
    while bound < max_context:
        bounds.append(bound)
        bound *= 2
    return (*bounds, min(bound, -(-max_context // 16) * 16))


class StaticStep:
    """Computes steps on the parts through prepared functions. Owns the buffers between host and device."""

    def __init__(self, parts: PromptParts, max_slots: int, max_context: int, launcher: Launcher) -> None:
        config, pool = parts.config, parts.pool
        self._parts, self.launcher = parts, launcher
        self.crossing = Crossing(parts.device)
        self.contexts = contexts(max_context)
        sizes = Sizes(
            width=config.num_codebooks + 1,
            table=-(-self.contexts[-1] // pool.page_size),
            ranks=RANKS,
            prompt=MAX_PREFILL,
            frame_samples=config.frame_samples,
            dim=config.slow.dim,
        )
        self.buffers = {rows: StepBuffers(rows, sizes, self.crossing, pool.k.dtype) for rows in buckets(max_slots)}

    @torch.inference_mode()
    def prepare(self, only_rows: int | None = None, only_context: int | None = None) -> None:
        """Make every function launchable, or those of one batch size and bound, the largest first.

        Takes seconds on a GPU; never called by a step.
        """
        for rows, buffers in sorted(self.buffers.items(), reverse=True):
            if only_rows not in (None, rows):
                continue
            self._clear(buffers)
            buffers.host.knobs[:], buffers.host.noise[:], buffers.host.top_k[:] = 1.0, 0.5, 1
            buffers.send(0)
            self.launcher.prepare(("speak", rows), partial(self.speak, buffers))
            for bound in reversed(self.contexts):
                if only_context in (None, bound):
                    self.launcher.prepare(("slow", rows, bound), partial(self.slow, buffers, bound))
        self.crossing.wait()

    def takes(self, rows: Sequence[Row]) -> bool:
        """Whether these rows' sampling fits the buffers; a step of others is dynamic."""
        wanted = (self._parts.slots[row.slot].sampling.top_k for row in rows)
        return all(top_k is not None and top_k <= RANKS for top_k in wanted)

    def run(self, rows: Sequence[Row], works: Sequence[PromptWork]) -> list[RowResult]:
        """One result a row, in order."""
        buffers = self.buffers[next(size for size in self.buffers if size >= len(rows))]
        prompts = self._fill(buffers, rows, works)
        buffers.send(prompts[-1] if prompts else 0)
        if len(prompts) < len(rows):
            longest = max(row.num_past + 1 for row, work in zip(rows, works, strict=True) if _decodes(work))
            self.launcher.launch(("slow", buffers.rows, next(bound for bound in self.contexts if bound >= longest)))
        begins = iter((0, *prompts))
        for index, (row, work) in enumerate(zip(rows, works, strict=True)):
            if not _decodes(work):
                self._prompt(buffers, index, row, len(work.columns), next(begins))
        return self._speak(buffers, rows, works)

    # -- what is captured ---------------------------------------------------------------------------------------------

    def slow(self, buffers: StepBuffers, context: int) -> None:
        """One new column of each row: buffers.device -> buffers.x."""
        fields = buffers.device
        view = StaticView(self._parts.pool, fields.pages, fields.positions.unsqueeze(1), context)
        buffers.x.copy_(self._parts.decoder.step(fields.columns, fields.positions, view))

    def speak(self, buffers: StepBuffers) -> None:
        """One frame of each row: buffers.x -> the results."""
        fields, parts = buffers.device, self._parts
        sampling = fields.sampling(buffers.sizes.ranks)
        columns = parts.sampler.sample_on_device(buffers.x, fields.slots, sampling, fields.row_noise())
        buffers.put(columns, parts.speak(columns[:, 1:], columns[:, 0] == parts.config.im_end_id, fields.slots))

    # -- what is not --------------------------------------------------------------------------------------------------

    def _fill(self, buffers: StepBuffers, rows: Sequence[Row], works: Sequence[PromptWork]) -> list[int]:
        """Write the host's side. Returns where in `prompts` each prompt ends."""
        host, sizes, ends = buffers.host, buffers.sizes, [0]
        self._clear(buffers)
        for index, (row, work) in enumerate(zip(rows, works, strict=True)):
            assert row.num_past == row.position, "prompt text has no window: every position is in the pages"
            if _decodes(work):
                host.columns[index] = work.columns[0]
                host.positions[index] = row.position
                host.pages[index, : len(row.pages)] = row.pages
            else:
                begin, middle = ends[-1], ends[-1] + len(work.columns) * sizes.width
                ends.append(begin + sizes.prompt_ids(len(work.columns)))
                host.prompts[begin:middle].reshape(-1, sizes.width)[:] = work.columns
                host.prompts[middle : ends[-1]] = self._parts.pool.num_pages
                host.prompts[middle : middle + len(row.pages)] = row.pages
            if work.speaks:
                self._fill_speaker(buffers, index, row.slot)
        return ends[1:]

    def _fill_speaker(self, buffers: StepBuffers, index: int, slot: int) -> None:
        carried, host = self._parts.slots[slot], buffers.host
        wanted = carried.sampling
        assert wanted.top_k is not None, "takes() was asked"
        host.slots[index] = slot
        host.top_k[index] = wanted.top_k
        host.knobs[index] = (
            wanted.temperature,
            wanted.top_p,
            wanted.fast_temperature,
            wanted.fast_top_p,
            wanted.penalty,
        )
        carried.noise.random(dtype="float32", out=host.noise[index])

    def _clear(self, buffers: StepBuffers) -> None:
        """All rows are nobody's. How they sample may stay as it was: what comes of it is not read."""
        host = buffers.host
        host.columns[:] = 0
        host.positions[:] = 0
        host.pages[:] = self._parts.pool.num_pages
        host.slots[:] = self._parts.nobody

    def _prompt(self, buffers: StepBuffers, index: int, row: Row, length: int, begin: int) -> None:
        """New columns of one row; what stands at the last one becomes the row's x."""
        sizes, parts = buffers.sizes, self._parts
        ids = buffers.device.prompts[begin : begin + sizes.prompt_ids(length)]
        columns = ids[: length * sizes.width].view(1, length, sizes.width).transpose(1, 2)
        end = row.num_past + length
        positions = torch.arange(row.num_past, end, device=parts.device).unsqueeze(0)
        view = StaticView(parts.pool, ids[length * sizes.width :].unsqueeze(0), positions, -(-end // 8) * 8)
        buffers.x[index].copy_(parts.model.slow(columns, positions, view)[0, -1])

    def _speak(self, buffers: StepBuffers, rows: Sequence[Row], works: Sequence[PromptWork]) -> list[RowResult]:
        nothing = [RowResult(row.request_id, SILENCE, (), 0, False) for row in rows]
        if not any(work.speaks for work in works):
            self.crossing.wait()  # the next step writes the buffer that is being copied
            return nothing
        self.launcher.launch(("speak", buffers.rows))
        columns, pcm = buffers.fetch()
        ids = columns[: len(rows)].tolist()
        return [
            self._parts.result(row, ids[index], pcm[index].copy()) if work.speaks else nothing[index]
            for index, (row, work) in enumerate(zip(rows, works, strict=True))
        ]


def _decodes(work: PromptWork) -> bool:
    """Whether a row goes on by one column and speaks: what `slow` is for."""
    return len(work.columns) == 1 and work.speaks
