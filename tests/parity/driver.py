"""Runs a checkpoint the way the engine does: prefill and decode through KV pages, one row of the batch per run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from agent_tts.cache.kv_pool import KVPool
from agent_tts.models.checkpoint import load_checkpoint
from agent_tts.models.dual_ar import DualAR
from agent_tts.models.frame_sampler import FrameSampler, Noise, RowSampling
from agent_tts.models.slow_ar import SlowDecoder
from tests.parity import fixtures

PAGE = 16
MAX_SLOTS = 4


@dataclass
class Run:
    """One request: its prompt, its pages, what it has spoken, and how it samples."""

    prompt: np.ndarray  # [codebooks + 1, time]
    num_frames: int
    pages: list[int]
    sampling: dict[str, float]
    noise: tuple[np.ndarray, np.ndarray] | None = None  # [frames, (2,) candidates], [frames, codebooks - 1, candidates]
    length: int = 0
    frames: list[list[int]] = field(default_factory=list)

    def done(self, im_end: int) -> bool:
        return len(self.frames) == self.num_frames or (len(self.frames) > 1 and self.frames[-1][0] == im_end)

    def columns(self) -> np.ndarray:
        """[codebooks + 1, frames]."""
        return np.array(self.frames).T


GREEDY = {"temperature": 1.0, "top_p": 1.0, "top_k": 1, "penalty": 1.0}


class Driver:
    """A model, a pool, and one step over any set of runs."""

    def __init__(self, name: str) -> None:
        self.model: DualAR = load_checkpoint(fixtures.folder(name)).model
        self.config = self.model.config
        slow = self.config.slow
        self.pages_each = self.config.max_seq_len // PAGE + 1
        total = MAX_SLOTS * self.pages_each
        self.pool = KVPool(slow.num_layers, total, PAGE, slow.num_kv_heads, slow.head_dim)
        self.sampler = FrameSampler(self.model, MAX_SLOTS)
        self.decoder = SlowDecoder(self.model.slow)
        shuffled = torch.randperm(total, generator=torch.Generator().manual_seed(4)).tolist()
        self.tables = [shuffled[slot * self.pages_each : (slot + 1) * self.pages_each] for slot in range(MAX_SLOTS)]

    def open(self, slot: int, prompt: np.ndarray, num_frames: int, *, run_of_pages: bool = False, **sampling) -> Run:
        """A new request in a slot; its pages lie side by side, or anywhere."""
        first = slot * self.pages_each
        pages = list(range(first, first + self.pages_each)) if run_of_pages else self.tables[slot]
        self.sampler.state.reset(torch.tensor([slot]))
        noise = sampling.pop("noise", None)
        return Run(prompt, num_frames, pages, {**GREEDY, **sampling}, noise)

    @torch.inference_mode()
    def feed(self, runs: list[Run], new: list[np.ndarray]) -> Tensor:
        """Slow AR over new columns of several runs at once: [rows, longest, dim]."""
        lengths = [columns.shape[1] for columns in new]
        padded = np.zeros((len(runs), new[0].shape[0], max(lengths)), dtype=np.int64)
        for row, columns in enumerate(new):
            padded[row, :, : columns.shape[1]] = columns
        starts = [run.length for run in runs]
        positions = torch.tensor(starts).unsqueeze(1) + torch.arange(max(lengths))
        view = self.pool.view([run.pages for run in runs], starts, lengths)
        columns = torch.from_numpy(padded)
        if max(lengths) == 1:
            x = self.decoder.step(columns[..., 0], positions[:, 0], view).unsqueeze(1)
        else:
            x = self.model.slow(columns, positions, view)
        for run, length in zip(runs, lengths, strict=True):
            run.length += length
        return x

    def step(self, runs: dict[int, Run]) -> None:
        """One frame for each run, by slot: prefill where nothing was fed yet, else decode; all in one batch."""
        active = {slot: run for slot, run in runs.items() if not run.done(self.config.im_end_id)}
        rows = list(active.values())
        new = [np.array(run.frames[-1])[:, None] if run.frames else run.prompt[:, run.length :] for run in rows]
        x = self.feed(rows, new)
        last = torch.tensor([columns.shape[1] - 1 for columns in new])
        self.sample(active, x[torch.arange(len(rows)), last])

    @torch.inference_mode()
    def sample(self, runs: dict[int, Run], x: Tensor) -> None:
        """One frame from the last position [rows, dim] of each run."""
        rows = list(runs.values())
        columns = self.sampler.sample(x, torch.tensor(list(runs)), self._sampling(rows), self._noise(rows))
        for run, column in zip(rows, columns.tolist(), strict=True):
            run.frames.append(column)

    def _sampling(self, rows: list[Run]) -> RowSampling:
        def each(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor([run.sampling[name] for run in rows], dtype=dtype)

        top_k = each("top_k", torch.long)
        limit = None if int(top_k.max()) == 0 else int(top_k.max())
        temperature, top_p = each("temperature"), each("top_p")
        return RowSampling(temperature, top_p, top_k, temperature, top_p, each("penalty"), limit)

    def _noise(self, rows: list[Run]) -> Noise:
        config = self.config
        candidates = config.fast_legal_codes or config.codebook_size
        main = torch.full((len(rows), 2, config.vocab_size), 0.5)
        residual = torch.full((len(rows), config.num_codebooks - 1, candidates), 0.5)
        for row, run in enumerate(rows):
            if run.noise is not None:
                main[row] = torch.from_numpy(np.atleast_2d(run.noise[0][len(run.frames)]))
                residual[row] = torch.from_numpy(run.noise[1][len(run.frames)])
        return Noise(main, residual, by_candidate=True)

    def generate(self, run: Run, slot: int = 0) -> np.ndarray:
        """Run one request to its end alone."""
        while not run.done(self.config.im_end_id):
            self.step({slot: run})
        return run.columns()
