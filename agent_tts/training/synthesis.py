"""Speaks many sentences at once with the bundled model, for evaluation; the engine has its own runner."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from agent_tts.codec.source_filter import SourceFilterDecoder
from agent_tts.config import AlignedConfig
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.sampling import by_rank, draw, rank

MAX_FRAMES_PER_TOKEN = 6
"""A sentence that needs more counts as one that does not stop."""

MAX_RANKS = 64
"""Candidates that are drawn from; the rest have next to no chance at these temperatures."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence as the model said it."""

    codes: Tensor  # [num_codebooks, frames]
    audio: np.ndarray
    stopped: bool


class GrowingCache:
    """Keys and values of all rows since frame 0, cut to the window."""

    def __init__(self, layers: int, window: int) -> None:
        self._past: list[tuple[Tensor, Tensor] | None] = [None] * layers
        self._window = window

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Append one position."""
        past = self._past[layer]
        if past is not None:
            k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
        self._past[layer] = (k[:, -self._window :], v[:, -self._window :])
        keys, values = self._past[layer]  # type: ignore[misc]
        return keys, values, None


class Sampler:
    """Draws by the checkpoint's recommendation, with noise from one seeded generator."""

    def __init__(self, settings: AlignedConfig, seed: int) -> None:
        self._settings = settings
        self._generator = torch.Generator().manual_seed(seed)

    def code0(self, logits: Tensor) -> Tensor:
        """Code 0 of each row."""
        return self._draw(logits, self._settings.temperature, self._settings.top_p)

    def advance(self, logits: Tensor) -> Tensor:
        """How far each row's pointer moves."""
        return self._draw(logits, self._settings.advance_temperature, 1.0)

    def fast(self, book: int, logits: Tensor) -> Tensor:
        """One residual code of each row."""
        return self._draw(logits, self._settings.fast_temperature, self._settings.fast_top_p)

    def _draw(self, logits: Tensor, temperature: float, top_p: float) -> Tensor:
        rows = torch.ones(len(logits))
        noise = torch.rand(logits.shape, generator=self._generator).clamp(1e-9, 1 - 1e-6)
        ranked = rank(logits.float(), MAX_RANKS)
        return draw(ranked, by_rank(ranked, noise), temperature * rows, top_p * rows)


@torch.no_grad()
def generate_codes(model: AlignedDualAR, texts: list[list[int]], sampler: Sampler) -> list[tuple[Tensor, bool]]:
    """Codes of each text and whether its pointer got to the end."""
    rows, slow = len(texts), model.config.slow
    encoded = pad_sequence([model.encode_text(torch.tensor([ids]))[0] for ids in texts], batch_first=True)
    lengths = torch.tensor([len(ids) for ids in texts])
    cache = GrowingCache(slow.num_layers, slow.window or 10**9)
    pointer, progress = torch.zeros(rows, dtype=torch.long), torch.zeros(rows, dtype=torch.long)
    previous, frames = model.start_codes(rows), []
    ends = torch.zeros(rows, dtype=torch.long)
    for frame in range(int(lengths.max()) * MAX_FRAMES_PER_TOKEN):
        text = encoded[torch.arange(rows), pointer.clamp(max=encoded.shape[1] - 1)]
        inputs = model.frame_inputs(text, progress, previous)
        hidden = model.slow_step(inputs, cache, torch.full((rows,), frame))
        advance = sampler.advance(model.advance_logits(hidden))
        first = sampler.code0(model.c0_logits(hidden, advance))
        previous = model.fast_codes(hidden, first, sampler.fast)
        frames.append(previous)
        pointer, progress = pointer + advance, torch.where(advance > 0, 0, progress + 1)
        ends = torch.where((pointer >= lengths) & (ends == 0), frame + 1, ends)
        if bool((ends > 0).all()):
            break
    codes = torch.stack(frames, dim=2)  # [rows, num_codebooks, frames]
    return [(codes[row, :, : int(end) if end else None], bool(end)) for row, end in enumerate(ends)]


def decode(decoder: SourceFilterDecoder, codes: Tensor) -> np.ndarray:
    """[num_codebooks, frames] -> float samples, without the pre-roll."""
    with torch.no_grad():
        state = decoder.init_state(1)
        audio = torch.cat([decoder.step(codes[None], state), decoder.flush(state)], dim=1)
    return audio[0, decoder.delay_samples :].numpy()


def speak(
    model: AlignedDualAR, decoder: SourceFilterDecoder, texts: list[list[int]], seed: int = 0, batch: int = 20
) -> list[Spoken]:
    """Audio of each text, `batch` at a time, the longest first so that rows end together."""
    assert model.config.aligned is not None
    sampler = Sampler(model.config.aligned, seed)
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    spoken: dict[int, Spoken] = {}
    for begin in range(0, len(order), batch):
        part = order[begin : begin + batch]
        for index, (codes, stopped) in zip(part, generate_codes(model, [texts[i] for i in part], sampler), strict=True):
            spoken[index] = Spoken(codes, decode(decoder, codes), stopped)
    return [spoken[i] for i in range(len(texts))]
