"""Runs steps of models that read their text as a prompt (S2-Pro, S1-mini): voices, slots, and which way to compute.

One step: new columns ─▶ Slow AR ─▶ sampler and Fast AR for every row that speaks ─▶ codec, one frame each, its state
carried from clause to clause. dynamic_step.py computes it on a CPU, static_step.py on a GPU; both on the same parts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_checkpoint import load_codec
from agent_tts.config import EngineConfig, ModelConfig
from agent_tts.errors import CheckpointError, ConfigError
from agent_tts.models import presets
from agent_tts.models.checkpoint import load_checkpoint
from agent_tts.models.dual_ar import DualAR
from agent_tts.nn.graphs import CudaGraphs, Launcher, PlainCalls
from agent_tts.nn.threads import use_threads
from agent_tts.runtime.dynamic_step import DynamicStep
from agent_tts.runtime.prompt_parts import PromptParts, Slot
from agent_tts.runtime.prompt_text import PromptText, PromptWork
from agent_tts.runtime.static_step import StaticStep, buckets
from agent_tts.runtime.step import Row, StepPlan, StepResult
from agent_tts.text.prompt import Column, PromptFormat, Reference, S1Prompt, S2Prompt
from agent_tts.text.tokenizer import load_tokenizer

logger = logging.getLogger(__name__)

DEFAULT_VOICE = "default"
CODEC_FILE = "codec.pth"
MAX_CONTEXT = 4096
"""Columns of one conversation before its oldest turns are dropped, where model and pool would hold more."""
LEAST_ROOM = 256
"""Columns a voice must leave free in a context."""


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
        self.model_name = name
        self.sample_rate, self.frame_samples = model.config.sample_rate, model.config.frame_samples
        self._config, self._layout = config, layout
        self._max_context = min(model.config.max_seq_len, config.num_pages * config.page_size // 2, MAX_CONTEXT)
        self._voices = self._prompts({DEFAULT_VOICE: (), **{voice: (ref,) for voice, ref in references.items()}})
        self._preset = presets.preset(model.config.layout)
        self.parts = PromptParts(model, codec, config, most_rows=buckets(config.max_slots)[-1])
        self._dynamic = DynamicStep(self.parts)
        launcher = _launcher(config, self.parts.device)
        self.static: StaticStep | None = None
        if launcher is not None:
            self.static = StaticStep(self.parts, config.max_slots, self._max_context, launcher)
            self.static.prepare()

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
            self._begin(row, work)
        static = self.static
        way = static if static is not None and static.takes(plan.rows) else self._dynamic
        return StepResult(tuple(way.run(plan.rows, works)))

    @torch.inference_mode()
    def close_slot(self, slot: int) -> None:
        if self.parts.slots.pop(slot, None) is not None:
            self.parts.codec_state.reset(self.parts.slot_id(slot))

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

    def _begin(self, row: Row, work: PromptWork) -> None:
        """What comes before a row's columns are computed. Nothing here waits for a device."""
        parts = self.parts
        if row.copy is not None:
            parts.pool.copy(row.copy.source, row.copy.target, row.copy.num_positions)
        if row.opens:
            generator = np.random.Generator(np.random.Philox(row.seed))
            parts.slots[row.slot] = Slot(generator, presets.resolve(row.sampling, self._preset))
        if work.begins_clause:
            parts.sampler.state.reset(parts.slot_id(row.slot))


def _launcher(config: EngineConfig, device: torch.device) -> Launcher | None:
    """How static steps are launched; None = steps are dynamic. Raises ConfigError."""
    on_gpu = device.type == "cuda"
    if config.step == "graphs" and not on_gpu:
        raise ConfigError(f"step 'graphs' needs a CUDA device; this model is on {str(device)!r}.")
    if config.step == "graphs" or (config.step == "auto" and on_gpu):
        return CudaGraphs(device)
    return PlainCalls() if config.step == "static" else None


def load_prompt_runner(
    folder: Path, config: EngineConfig, references: Mapping[str, Reference], *, name: str | None = None
) -> PromptRunner:
    """The runner of an S2-Pro or S1-mini folder, called `name` or like the folder. Raises CheckpointError."""
    device = torch.device(config.device)
    checkpoint = load_checkpoint(folder, dtype=getattr(torch, config.dtype), device=device)
    codec = load_codec(folder / CODEC_FILE, device=device, with_encoder=False).codec
    model_config = checkpoint.model.config
    _check_match(folder, model_config, codec)
    return PromptRunner(
        checkpoint.model, codec, _layout(folder, model_config), config, references, name=name or folder.name
    )


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
