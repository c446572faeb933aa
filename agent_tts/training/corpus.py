"""Reads the training corpus as flat arrays; knows the files, not the models.

A shard is one continuous signal: utterances of whole frames, back to back.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent_tts.training.data import finished_shards
from agent_tts.training.teacher import F0_HOP, FRAME_SAMPLES

F0_PER_FRAME = FRAME_SAMPLES // F0_HOP
UNVOICED_BELOW = 40.0
HELD_OUT_SHARDS = 1
"""The first so many shards never train anything."""


def pointers(ends: NDArray[np.int32], frames: int, max_advance: int) -> NDArray[np.int16]:
    """Which token is spoken at the centre of each frame, and after the last: [frames + 1].

    Begins at token 0, never moves by more than `max_advance`, and ends at `len(ends)`, one past the
    last token, as far as that limit allows.
    """
    centres = np.arange(frames) * FRAME_SAMPLES + FRAME_SAMPLES // 2
    wanted = np.minimum(np.searchsorted(ends, centres, side="right"), len(ends) - 1)
    wanted[0] = 0
    out = np.append(wanted, len(ends)).astype(np.int16)
    for i in range(1, len(out)):
        out[i] = min(out[i], out[i - 1] + max_advance)
    return out


@dataclass(frozen=True, slots=True)
class Span:
    """Where one utterance lies in its shard."""

    token: int
    num_tokens: int
    frame: int
    num_frames: int


class Shard:
    """One shard, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        index = np.load(path / "index.npy")
        starts = np.concatenate([np.zeros((1, 2), np.int64), np.cumsum(index, 0)])
        rows = zip(index.tolist(), starts[:-1].tolist(), strict=True)
        self.spans = [Span(token, tokens, frame, frames) for (tokens, frames), (token, frame) in rows]
        self.num_frames = int(starts[-1, 1])
        self.ids = np.fromfile(path / "ids.u8", np.uint8)
        self.ends = np.fromfile(path / "ends.i32", np.int32)
        self.audio = np.memmap(path / "audio.i16", np.int16, "r")
        self.f0 = np.memmap(path / "f0.f16", np.float16, "r")

    @property
    def texts(self) -> list[str]:
        """Sentences, in the order of the spans."""
        return (self.path / "texts.txt").read_text(encoding="utf-8").splitlines()

    @cached_property
    def phonemes(self) -> NDArray[np.uint8]:
        """The phoneme at the centre of each frame."""
        parts = []
        for span in self.spans:
            tokens = slice(span.token, span.token + span.num_tokens)
            parts.append(self.ids[tokens][pointers(self.ends[tokens], span.num_frames, 255)[:-1]])
        return np.concatenate(parts)

    @cached_property
    def codes(self) -> NDArray[np.uint16]:
        """The frozen codec's codes, [frames, num_codebooks]."""
        return np.fromfile(self.path / "codes.u16", np.uint16).reshape(self.num_frames, -1)

    def crop(self, frame: int, frames: int) -> tuple[NDArray[np.int16], NDArray[np.float16], NDArray[np.uint8]]:
        """Audio, F0 and phonemes of a stretch of frames."""
        end = frame + frames
        audio = self.audio[frame * FRAME_SAMPLES : end * FRAME_SAMPLES]
        f0 = self.f0[frame * F0_PER_FRAME : end * F0_PER_FRAME]
        return audio, f0, self.phonemes[frame:end]


def training_shards(folder: Path) -> list[Shard]:
    """Every finished shard but the held-out ones."""
    return [Shard(path) for path in finished_shards(folder)[HELD_OUT_SHARDS:]]


def held_out_shards(folder: Path) -> list[Shard]:
    """Finished shards that never train anything."""
    return [Shard(path) for path in finished_shards(folder)[:HELD_OUT_SHARDS]]


@dataclass(frozen=True, slots=True)
class Crops:
    """A batch of stretches of speech."""

    audio: Tensor  # [rows, frames * FRAME_SAMPLES]
    log_f0: Tensor  # [rows, frames * F0_PER_FRAME], carried through unvoiced stretches
    voiced: Tensor  # [rows, frames * F0_PER_FRAME], 0 or 1
    phonemes: Tensor  # [rows, frames]
    places: list[tuple[int, int]]  # shard number in the list given, first frame


def random_crops(shards: list[Shard], rows: int, frames: int, rng: np.random.Generator) -> Iterator[Crops]:
    """Batches of random stretches, without end; utterances may join inside one."""
    weights = np.array([shard.num_frames for shard in shards], np.float64)
    weights /= weights.sum()
    while True:
        picked = rng.choice(len(shards), rows, p=weights)
        places = [(int(n), int(rng.integers(shards[n].num_frames - frames))) for n in picked]
        yield crops_at(shards, places, frames)


def crops_at(shards: list[Shard], places: list[tuple[int, int]], frames: int) -> Crops:
    """The stretches that begin at these places."""
    parts = [shards[number].crop(frame, frames) for number, frame in places]
    audio = np.stack([part[0] for part in parts]).astype(np.float32) / 32768.0
    f0 = np.stack([part[1] for part in parts]).astype(np.float32)
    voiced = f0 > UNVOICED_BELOW
    return Crops(
        audio=torch.from_numpy(audio),
        log_f0=torch.from_numpy(np.log(_carry(f0, voiced))),
        voiced=torch.from_numpy(voiced.astype(np.float32)),
        phonemes=torch.from_numpy(np.stack([part[2] for part in parts]).astype(np.int64)),
        places=places,
    )


def _carry(f0: NDArray[np.float32], voiced: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Each unvoiced value replaced by the last voiced one before it (the first after it, at the start)."""
    out = np.empty_like(f0)
    for row, (values, mask) in enumerate(zip(f0, voiced, strict=True)):
        known = np.flatnonzero(mask)
        if known.size == 0:
            out[row] = 200.0
            continue
        last = np.maximum.accumulate(np.where(mask, np.arange(len(mask)), 0))
        out[row] = values[np.where(mask[last], last, known[0])]
    return out
