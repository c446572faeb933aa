"""Fixed-shape batches for the Dual-AR: several utterances share a row, and see only themselves.

frames of a row   |-- utterance a --|---- utterance b ----|-- c --| pad |
text of a row     |aaaaaaaaaa|gap|bbbbbbbbbbbbbb|gap|ccccccc|  pad     |
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent_tts.models.aligned_text import REACH
from agent_tts.training.corpus import Shard, Span, pointers


@dataclass(frozen=True, slots=True)
class PackShape:
    """Size of one row, and of the model's view."""

    frames: int = 200
    tokens: int = 184
    look_ahead: int = 8
    max_advance: int = 3
    start_code: int = 1024


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch; `segment` is -1 where a frame is padding."""

    ids: Tensor  # [rows, tokens]
    present: Tensor  # [rows, tokens] bool
    place: Tensor  # [rows, frames], index into the row's text
    progress: Tensor  # [rows, frames]
    advance: Tensor  # [rows, frames]
    codes: Tensor  # [rows, frames, num_codebooks]
    previous: Tensor  # [rows, frames, num_codebooks]
    segment: Tensor  # [rows, frames]


@dataclass(frozen=True, slots=True)
class Piece:
    """One utterance, or a stretch of a long one, ready to be put into a row."""

    ids: NDArray[np.int64]
    place: NDArray[np.int64]
    progress: NDArray[np.int64]
    advance: NDArray[np.int64]
    codes: NDArray[np.int64]
    previous: NDArray[np.int64]


def make_piece(shard: Shard, span: Span, shape: PackShape, rng: np.random.Generator) -> Piece:
    """Inputs and targets of one utterance; a random stretch of one that is longer than a row."""
    ids = shard.ids[span.token : span.token + span.num_tokens].astype(np.int64)
    ends = shard.ends[span.token : span.token + span.num_tokens]
    codes = shard.codes[span.frame : span.frame + span.num_frames].astype(np.int64)
    place = pointers(ends, span.num_frames, shape.max_advance).astype(np.int64)
    changed = np.diff(place) > 0
    progress = np.zeros(span.num_frames, np.int64)
    for i in range(1, span.num_frames):
        progress[i] = 0 if changed[i - 1] else progress[i - 1] + 1
    previous = np.concatenate([np.full((1, codes.shape[1]), shape.start_code), codes[:-1]])
    whole = Piece(ids, place[:-1], progress, np.diff(place), codes, previous)
    return whole if span.num_frames <= shape.frames else _stretch(whole, shape, rng)


def _stretch(piece: Piece, shape: PackShape, rng: np.random.Generator) -> Piece:
    begin = int(rng.integers(len(piece.place) - shape.frames + 1))
    part = slice(begin, begin + shape.frames)
    first = max(0, int(piece.place[part][0]) - shape.look_ahead)
    last = int(piece.place[part][-1]) + shape.look_ahead + 1
    return Piece(
        piece.ids[first:last],
        piece.place[part] - first,
        piece.progress[part],
        piece.advance[part],
        piece.codes[part],
        piece.previous[part],
    )


def shuffled_pieces(shards: list[Shard], shape: PackShape, rng: np.random.Generator) -> Iterator[Piece]:
    """Every utterance once, in random order."""
    order = [(shard, span) for shard in shards for span in shard.spans]
    for index in rng.permutation(len(order)):
        shard, span = order[index]
        piece = make_piece(shard, span, shape, rng)
        if len(piece.ids) <= shape.tokens:
            yield piece


def packed_rows(pieces: Iterator[Piece], shape: PackShape) -> Iterator[list[Piece]]:
    """Fill rows greedily: the next piece goes into the first of a few open rows that has room."""
    rows: list[list[Piece]] = []
    for piece in pieces:
        for row in rows:
            if _fits(row, piece, shape):
                row.append(piece)
                break
        else:
            rows.append([piece])
        if len(rows) > 24:
            yield rows.pop(max(range(len(rows)), key=lambda i: sum(len(p.place) for p in rows[i])))
    yield from rows


def _fits(row: list[Piece], piece: Piece, shape: PackShape) -> bool:
    frames = sum(len(p.place) for p in row) + len(piece.place)
    tokens = sum(len(p.ids) + REACH for p in row) + len(piece.ids)
    return frames <= shape.frames and tokens <= shape.tokens


def batches(rows: Iterator[list[Piece]], size: int, shape: PackShape) -> Iterator[Packed]:
    """Stack rows; what does not fill a last batch is dropped."""
    held: list[Packed] = []
    for row in rows:
        held.append(_fill(row, shape))
        if len(held) == size:
            yield Packed(**{f.name: torch.stack([getattr(r, f.name) for r in held]) for f in fields(Packed)})
            held = []


def _fill(row: list[Piece], shape: PackShape) -> Packed:
    books = row[0].codes.shape[1]
    ids, present = np.zeros(shape.tokens, np.int64), np.zeros(shape.tokens, bool)
    per_frame = {name: np.zeros(shape.frames, np.int64) for name in ("place", "progress", "advance")}
    segment = np.full(shape.frames, -1, np.int64)
    codes = np.zeros((shape.frames, books), np.int64)
    previous = np.full((shape.frames, books), shape.start_code)
    token = frame = 0
    for number, piece in enumerate(row):
        where = slice(frame, frame + len(piece.place))
        ids[token : token + len(piece.ids)] = piece.ids
        present[token : token + len(piece.ids)] = True
        per_frame["place"][where] = piece.place + token
        per_frame["progress"][where] = piece.progress
        per_frame["advance"][where] = piece.advance
        codes[where], previous[where], segment[where] = piece.codes, piece.previous, number
        token += len(piece.ids) + REACH
        frame += len(piece.place)
    arrays = {"ids": ids, "present": present, **per_frame, "codes": codes, "previous": previous, "segment": segment}
    return Packed(**{name: torch.from_numpy(value) for name, value in arrays.items()})
