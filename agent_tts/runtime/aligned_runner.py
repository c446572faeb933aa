"""Runs steps of models that read aligned text (the bundled voice). Owns every tensor; decides nothing about who runs.

One step, for all rows at once: text at each row's pointer ─▶ Slow AR ─▶ advance ─▶ code 0 ─▶ Fast AR ─▶ codec ─▶ PCM.
A segment is decoded by itself: its codec stream begins anew, and its last samples come with its last frame. Between two
segments of an utterance there is a short pause.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from agent_tts.cache.kv_pool import KVPool
from agent_tts.codec.source_filter import SourceFilterDecoder
from agent_tts.codec.source_filter_checkpoint import load_source_filter
from agent_tts.codec.source_filter_stepper import SourceFilterStepper
from agent_tts.config import AlignedConfig, EngineConfig
from agent_tts.errors import ConfigError
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.aligned_checkpoint import load_aligned
from agent_tts.models.aligned_decoder import AlignedDecoder, Codes
from agent_tts.models.numpy_sampling import Array, draw_rows
from agent_tts.models.numpy_text import GrowingText, NumpyTextEncoder
from agent_tts.models.stepper import Stepper
from agent_tts.nn.threads import use_threads
from agent_tts.runtime.aligned_text import AlignedText, AlignedWork
from agent_tts.runtime.step import FloatPcm, Row, RowResult, StepPlan, StepResult, Work
from agent_tts.text.phonemes import AlignedTextFrontEnd, shared_phonemizer
from agent_tts.types import SamplingParams

PAUSE_MS = 160
"""Between two segments of an utterance, beside the silence that each brings along."""
RANKS = 64
"""The best so many codes of a codebook are candidates."""
MAX_FRAMES_ON_TOKEN = 50
"""Two seconds on one phoneme: then the pointer moves on whatever was drawn, so that speech surely ends."""


@dataclass(slots=True)
class _Slot:
    """What one running utterance carries from step to step."""

    noise: np.random.Generator
    sampling: tuple[float, float, float, float, float]  # see _sampling()
    text: GrowingText
    pointer: int = 0
    progress: int = 0
    previous: Codes | None = None  # [codebooks], None before a segment's first frame
    skip: int = 0  # samples of codec pre-roll still to drop
    pause: int = 0  # samples of silence before the next frame


class AlignedRunner:
    """See Runner in runtime/step.py."""

    def __init__(
        self,
        model: AlignedDualAR,
        decoder: SourceFilterDecoder,
        config: EngineConfig,
        *,
        name: str,
    ) -> None:
        slow, aligned = model.config.slow, model.config.aligned
        assert aligned is not None
        self.model_name = name
        self.voices: tuple[str, ...] = ("default",)
        self.sample_rate = model.config.sample_rate
        self.frame_samples = model.config.frame_samples
        self._model, self._decoder = model.eval(), AlignedDecoder(model)
        self._text = NumpyTextEncoder(model.text)
        self._codec = SourceFilterStepper(decoder.eval())
        self._nothing: Codes = model.start_codes(1)[0].numpy()
        self._window = slow.window
        self._recommended = aligned
        self._num_threads = config.num_threads
        self._pool = KVPool(slow.num_layers, config.num_pages, config.page_size, slow.num_kv_heads, slow.head_dim)
        self._codec_state = self._codec.init_state(config.max_slots)
        self._stepper = Stepper(model.slow)
        self._slots: dict[int, _Slot] = {}

    def prepare_thread(self) -> None:
        use_threads(self._num_threads)
        shared_phonemizer().warm()
        self._warm()

    def new_text(self, voice: str) -> AlignedText:
        return AlignedText(AlignedTextFrontEnd(), self._model.look_ahead, self._window)

    def voice_keys(self, voice: str) -> Sequence[Hashable]:
        return ()  # aligned text has no prompt

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> StepResult:
        slots = [self._feed(row) for row in plan.rows]
        self._read(plan.rows, slots)
        advance, codes = self._sample(slots, self._slow(plan.rows, slots))
        pcm = self._codec.step(codes, self._codec_state, np.array([row.slot for row in plan.rows]))
        rows = zip(plan.rows, slots, advance.tolist(), codes, pcm, strict=True)
        return StepResult(tuple(self._result(*row) for row in rows))

    def _warm(self) -> None:
        """Two frames that nobody hears: the first ones of a process pay for kernels and buffers."""
        for opens in (True, False):
            tokens = (0,) * (self._model.look_ahead + 2) if opens else ()
            work = Work(AlignedWork(opens, False, tokens, closed=False), num_positions=1, window=self._window)
            row = Row("warm", 0, opens, 0, SamplingParams(), "default", (0,), int(not opens), int(not opens), work)
            self.run(StepPlan((row,)))
        self.close_slot(0)

    def close_slot(self, slot: int) -> None:
        if self._slots.pop(slot, None) is not None:
            self._codec_state.reset(np.array([slot]))

    # -- before the model ---------------------------------------------------------------------------------------------

    def _feed(self, row: Row) -> _Slot:
        """Take in what is new for a row: its slot, its segment."""
        work: AlignedWork = row.work.payload
        if row.opens:
            seed = np.random.Philox(row.seed)
            sampling = _sampling(row.sampling, self._recommended)
            self._slots[row.slot] = _Slot(np.random.Generator(seed), sampling, self._text.begin())
        slot = self._slots[row.slot]
        if work.begins_segment:
            slot.text, slot.previous = self._text.begin(), None
            slot.pointer = slot.progress = 0
            slot.skip = self._codec.delay_samples
            slot.pause = self.sample_rate * PAUSE_MS // 1000 if work.follows_segment else 0
        return slot

    def _read(self, rows: Sequence[Row], slots: Sequence[_Slot]) -> None:
        """Encode what has been said anew: tokens, or that there are no more."""
        works: list[AlignedWork] = [row.work.payload for row in rows]
        grown = [(slot.text, work.tokens, work.closed) for slot, work in zip(slots, works, strict=True)]
        grown = [(text, tokens, closed) for text, tokens, closed in grown if tokens or closed != text.closed]
        if grown:
            self._text.extend(*zip(*grown, strict=True))

    def _slow(self, rows: Sequence[Row], slots: Sequence[_Slot]) -> Array:
        """[rows, slow dim]"""
        previous = np.stack([self._nothing if slot.previous is None else slot.previous for slot in slots])
        text = np.stack([slot.text.vectors[slot.pointer] for slot in slots])
        progress = np.array([slot.progress for slot in slots])
        view = self._pool.view(
            [row.pages for row in rows], [row.num_past for row in rows], [1] * len(rows), window=self._window
        )
        inputs = torch.from_numpy(self._decoder.inputs(text, progress, previous))
        positions = torch.tensor([row.position for row in rows])
        hidden: Array = self._model.slow.norm(self._stepper.step(inputs, positions, view)).numpy()
        return hidden

    def _sample(self, slots: Sequence[_Slot], hidden: Array) -> tuple[Codes, Codes]:
        """From the hidden states [rows, slow dim]: how far each pointer moves [rows], and codes [rows, codebooks]."""
        noise = self._noise(slots)
        sampling = np.array([slot.sampling for slot in slots], np.float32)
        temperature, top_p, fast_temperature, fast_top_p, advance_temperature = sampling.T
        logits = self._decoder.advance_logits(hidden)
        everything = np.ones(len(slots), np.float32)
        drawn = draw_rows(logits, noise[:, -1, : logits.shape[1]], advance_temperature, everything)
        advance = self._keep_moving(slots, drawn)

        def draw(book: int, logits: Array) -> Codes:
            return draw_rows(logits, noise[:, book], fast_temperature, fast_top_p)

        first = draw_rows(self._decoder.c0_logits(hidden, advance), noise[:, 0], temperature, top_p)
        return advance, self._decoder.codes(hidden, first, draw)

    def _noise(self, slots: Sequence[_Slot]) -> Array:
        """Each slot's own noise for one frame: it depends on the slot's seed and frame, and on nothing else.

        [rows, codebooks + 1, RANKS]; the last one is for the advance.
        """
        shape = (self._model.config.num_codebooks + 1, RANKS)
        return np.stack([slot.noise.random(shape, dtype=np.float32) for slot in slots])

    def _keep_moving(self, slots: Sequence[_Slot], advance: Codes) -> Codes:
        stuck = np.array([slot.progress >= MAX_FRAMES_ON_TOKEN for slot in slots])
        return np.where(stuck, np.maximum(advance, 1), advance)

    # -- after the model ----------------------------------------------------------------------------------------------

    def _result(self, row: Row, slot: _Slot, advance: int, codes: Codes, pcm: FloatPcm) -> RowResult:
        slot.previous = codes
        slot.pointer += advance
        slot.progress = 0 if advance else slot.progress + 1
        done = slot.text.closed and slot.pointer >= slot.text.num_tokens
        parts = [np.zeros(slot.pause, np.float32), pcm[slot.skip :]]
        slot.pause = slot.skip = 0
        if done:
            slot_ids = np.array([row.slot])
            parts.append(self._codec.flush(self._codec_state, slot_ids)[0])
            self._codec_state.reset(slot_ids)
        return RowResult(row.request_id, np.concatenate(parts), tuple(codes.tolist()), slot.pointer, done)


def _sampling(wanted: SamplingParams, otherwise: AlignedConfig) -> tuple[float, float, float, float, float]:
    """(temperature, top_p, fast temperature, fast top_p, advance temperature): a request's wishes, else the model's."""
    return (
        _first(wanted.temperature, otherwise.temperature),
        _first(wanted.top_p, otherwise.top_p),
        _first(wanted.fast_temperature, otherwise.fast_temperature),
        _first(wanted.fast_top_p, otherwise.fast_top_p),
        otherwise.advance_temperature,
    )


def _first(wanted: float | None, otherwise: float) -> float:
    return otherwise if wanted is None else wanted


def load_aligned_runner(folder: Path, config: EngineConfig, *, name: str | None = None) -> AlignedRunner:
    """The runner of a folder in the bundled layout, named like the folder or `name`.

    Raises:
        CheckpointError: It cannot be loaded.
        ConfigError: There are fewer pages than all slots can hold at once.
    """
    model = load_aligned(folder)
    require_pages(model.config.slow.window, config)
    return AlignedRunner(model, load_source_filter(folder), config, name=name or folder.name)


def most_pages(window: int, page_size: int) -> int:
    """That an utterance ever holds: the window and its next position, which begin anywhere in a page.

    A page is given back when its last position has left the window (Scheduler._extend).
    """
    return -(-window // page_size) + 1


def require_pages(window: int | None, config: EngineConfig) -> None:
    """Raises ConfigError when a full engine could run out of pages, which ends an utterance in mid-speech."""
    if window is None:
        return  # then an utterance holds what it is long
    each = most_pages(window, config.page_size)
    if config.max_slots * each <= config.num_pages:
        return
    room = config.num_pages // each
    fewer = f", or max_slots to {room} or less" if room else ""
    raise ConfigError(
        f"max_slots is {config.max_slots} and num_pages {config.num_pages}: an utterance of this model holds up to "
        f"{each} pages of {config.page_size} positions. Set num_pages to {config.max_slots * each} or more{fewer}."
    )
