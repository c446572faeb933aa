"""Runs steps of models that read their text as a prompt (S2-Pro, S1-mini). Owns every tensor; decides nothing.

One step: new columns ─▶ Slow AR (prompts one by one, all single columns in one batch) ─▶ sampler and Fast AR for every
row that speaks ─▶ codec, one frame each, its state carried from clause to clause ─▶ one copy back from the device.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agent_tts.cache.kv_pool import KVPool
from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_checkpoint import load_codec
from agent_tts.config import EngineConfig, ModelConfig
from agent_tts.errors import CheckpointError
from agent_tts.models import presets
from agent_tts.models.checkpoint import load_checkpoint
from agent_tts.models.dual_ar import DualAR
from agent_tts.models.frame_sampler import FrameSampler, Noise, RowSampling
from agent_tts.models.slow_ar import SlowDecoder
from agent_tts.nn.threads import use_threads
from agent_tts.runtime.prompt_text import PromptText, PromptWork
from agent_tts.runtime.step import FloatPcm, Row, RowResult, StepPlan, StepResult
from agent_tts.text.prompt import Column, PromptFormat, Reference, S1Prompt, S2Prompt
from agent_tts.text.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)

DEFAULT_VOICE = "default"
CODEC_FILE = "codec.pth"
RANKS = 64
"""Noise is drawn for so many ranks where every row's top_k is within them."""
MAX_CONTEXT = 4096
"""Columns of one conversation before its oldest turns are dropped, where model and pool would hold more."""
LEAST_ROOM = 256
"""Columns a voice must leave free in a context."""
SILENCE: FloatPcm = np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class _Slot:
    """What one running utterance carries from step to step, beside tensors."""

    noise: np.random.Generator
    sampling: presets.Sampling


class PromptRunner:
    """See Runner in runtime/step.py."""

    def __init__(
        self,
        model: DualAR,
        codec: DacCodec,
        layout: PromptFormat,
        config: EngineConfig,
        references: Mapping[str, Reference],
        *,
        name: str,
    ) -> None:
        slow = model.config.slow
        weight = model.slow.head_weight
        self.model_name = name
        self.sample_rate, self.frame_samples = model.config.sample_rate, model.config.frame_samples
        self._config, self._device = config, weight.device
        self._model, self._layout, self._codec = model, layout, codec
        self._max_context = min(model.config.max_seq_len, config.num_pages * config.page_size // 2, MAX_CONTEXT)
        self._voices = self._prompts({DEFAULT_VOICE: (), **{voice: (ref,) for voice, ref in references.items()}})
        self._pool = KVPool(
            slow.num_layers,
            config.num_pages,
            config.page_size,
            slow.num_kv_heads,
            slow.head_dim,
            weight.dtype,
            weight.device,
        )
        self._decoder = SlowDecoder(model.slow)
        self._sampler = FrameSampler(model, config.max_slots)
        self._codec_state = codec.init_state(config.max_slots + 1)
        self._nobody = config.max_slots  # codec slot of rows whose frame is no audio
        self._preset = presets.preset(model.config.layout)
        self._slots: dict[int, _Slot] = {}

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(self._voices)

    def prepare_thread(self) -> None:
        use_threads(self._config.num_threads)

    def new_text(self, voice: str) -> PromptText:
        return PromptText(
            self._layout, self._voices[voice], self._max_context, keep_turns=self._config.condition_on_previous
        )

    def voice_keys(self, voice: str) -> Sequence[Column]:
        return [*self._voices[voice], *self._layout.opening()]

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> StepResult:
        works: list[PromptWork] = [row.work.payload for row in plan.rows]
        for row, work in zip(plan.rows, works, strict=True):
            if row.copy is not None:
                self._pool.copy(row.copy.source, row.copy.target, row.copy.num_positions)
            self._feed(row, work)
        x = self._slow(plan.rows, works)  # [rows, dim]
        speaking = [index for index, work in enumerate(works) if work.speaks]
        results = [RowResult(row.request_id, SILENCE, (), 0, False) for row in plan.rows]
        if speaking:
            rows = [plan.rows[index] for index in speaking]
            for index, result in zip(speaking, self._speak(rows, x[speaking]), strict=True):
                results[index] = result
        return StepResult(tuple(results))

    def close_slot(self, slot: int) -> None:
        if self._slots.pop(slot, None) is not None:
            self._codec_state.reset(torch.tensor([slot], device=self._device))

    # -- before the sampler -------------------------------------------------------------------------------------------

    def _prompts(self, references: Mapping[str, tuple[Reference, ...]]) -> dict[str, list[Column]]:
        """The columns each voice begins with; a voice that leaves no room to speak is left out."""
        voices = {}
        for name, reference in references.items():
            columns = self._layout.voice(reference)
            if len(columns) + LEAST_ROOM > self._max_context and reference:
                logger.warning("voice %s is too long: %d of %d columns", name, len(columns), self._max_context)
                continue
            voices[name] = columns
        return voices

    def _feed(self, row: Row, work: PromptWork) -> None:
        if row.opens:
            generator = np.random.Generator(np.random.Philox(row.seed))
            self._slots[row.slot] = _Slot(generator, presets.resolve(row.sampling, self._preset))
        if work.begins_clause:
            self._sampler.state.reset(torch.tensor([row.slot], device=self._device))

    def _slow(self, rows: Sequence[Row], works: Sequence[PromptWork]) -> Tensor:
        """The Slow AR's output at each row's last new column, [rows, dim]."""
        last: dict[int, Tensor] = {}
        single = [index for index, work in enumerate(works) if len(work.columns) == 1]
        if single:
            chosen = [rows[index] for index in single]
            columns = self._tensor([works[index].columns[0] for index in single])
            view = self._pool.view([row.pages for row in chosen], [row.num_past for row in chosen], [1] * len(chosen))
            positions = self._tensor([row.position for row in chosen])
            last.update(zip(single, self._decoder.step(columns, positions, view), strict=True))
        for index, (row, work) in enumerate(zip(rows, works, strict=True)):
            if index not in last:
                last[index] = self._prefill(row, work)
        return torch.stack([last[index] for index in range(len(rows))])

    def _prefill(self, row: Row, work: PromptWork) -> Tensor:
        """New columns of one row -> [dim] at the last one."""
        columns = self._tensor(work.columns).T.unsqueeze(0)  # [1, codebooks + 1, time]
        positions = torch.arange(row.position, row.position + len(work.columns), device=self._device).unsqueeze(0)
        view = self._pool.view([row.pages], [row.num_past], [len(work.columns)])
        x: Tensor = self._model.slow(columns, positions, view)
        return x[0, -1]

    def _tensor(self, values: Sequence[object]) -> Tensor:
        return torch.tensor(values, device=self._device)

    # -- sampler, codec, and back -------------------------------------------------------------------------------------

    def _speak(self, rows: Sequence[Row], x: Tensor) -> list[RowResult]:
        """One frame of each row, from the Slow AR's output [rows, dim]."""
        slots = [self._slots[row.slot] for row in rows]
        slot_ids = self._tensor([row.slot for row in rows])
        sampling = self._sampling(slots)
        columns = self._sampler.sample(x, slot_ids, sampling, self._noise(slots, sampling.limit))
        ends = columns[:, 0] == self._model.config.im_end_id
        codec_slots = torch.where(ends, self._nobody, slot_ids)  # an end is no audio: it must not move a stream on
        pcm = self._codec.step(columns[:, 1:].unsqueeze(-1), self._codec_state, codec_slots)
        packed = torch.cat([columns.double(), pcm.double()], dim=1).cpu().numpy()  # one copy, ids exact in double
        width = columns.shape[1]
        return [self._result(row, values[:width], values[width:]) for row, values in zip(rows, packed, strict=True)]

    def _result(self, row: Row, column: np.ndarray, pcm: np.ndarray) -> RowResult:
        main, *codes = (int(value) for value in column)
        if main == self._model.config.im_end_id:
            return RowResult(row.request_id, SILENCE, (), main, True)
        return RowResult(row.request_id, pcm.astype(np.float32), tuple(codes), main, False)

    def _sampling(self, slots: Sequence[_Slot]) -> RowSampling:
        wanted = [slot.sampling for slot in slots]
        limits = [sampling.top_k for sampling in wanted]
        limit = None if None in limits else max(RANKS, *(top_k for top_k in limits if top_k is not None))
        return RowSampling(
            temperature=self._tensor([sampling.temperature for sampling in wanted]),
            top_p=self._tensor([sampling.top_p for sampling in wanted]),
            top_k=self._tensor([sampling.top_k or self._model.config.vocab_size for sampling in wanted]),
            fast_temperature=self._tensor([sampling.fast_temperature for sampling in wanted]),
            fast_top_p=self._tensor([sampling.fast_top_p for sampling in wanted]),
            penalty=self._tensor([sampling.penalty for sampling in wanted]),
            limit=limit,
        )

    def _noise(self, slots: Sequence[_Slot], limit: int | None) -> Noise:
        """Each slot's own noise for one frame: it depends on the slot's seed and frame, and on no other row."""
        config = self._model.config
        shape = (config.num_codebooks + 1, limit or config.vocab_size)
        noise = np.stack([slot.noise.random(shape, dtype=np.float32) for slot in slots])
        uniform = torch.from_numpy(noise).to(self._device)
        return Noise(uniform[:, :2], uniform[:, 2:])


def load_prompt_runner(folder: Path, config: EngineConfig, references: Mapping[str, Reference]) -> PromptRunner:
    """The runner of a folder in the S2-Pro or S1-mini layout. Raises CheckpointError."""
    device = torch.device(config.device)
    checkpoint = load_checkpoint(folder, dtype=getattr(torch, config.dtype), device=device)
    codec = load_codec(folder / CODEC_FILE, device=device, with_encoder=False).codec
    model_config = checkpoint.model.config
    _check_match(folder, model_config, codec)
    return PromptRunner(checkpoint.model, codec, _layout(folder, model_config), config, references, name=folder.name)


def _layout(folder: Path, config: ModelConfig) -> PromptFormat:
    make = S2Prompt if config.layout == "fish_qwen3_omni" else S1Prompt
    return make(load_tokenizer(folder), config.num_codebooks, config.semantic_begin_id)


def _check_match(folder: Path, config: ModelConfig, codec: DacCodec) -> None:
    theirs = (codec.config.num_codebooks, codec.config.sample_rate, codec.config.frame_samples)
    ours = (config.num_codebooks, config.sample_rate, config.frame_samples)
    if theirs != ours:
        raise CheckpointError(
            f"{folder}: the codec has (codebooks, sample rate, samples per frame) = {theirs}, the model {ours}."
        )
