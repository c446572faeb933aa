"""Prompts of the released checkpoints, piece by piece, as columns of ids. No tensors, no requests, no files.

A column is (main token, c0, c1, .. c(N-1)); text columns have zeros behind the token. It covers all codebooks, so the
columns of a prompt are at the same time the keys of its KV in the prefix cache.

    S2   system block with references · { user turn · codes }* · user turn, answer left open
    S1   <|interleave|> · { reference text · codes · end }* · text

Each quoted piece is encoded on its own. Text of callers goes through Tokenizer.encode(), which knows no control tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent_tts.errors import CheckpointError
from agent_tts.text.tokenizer import Tokenizer

Column = tuple[int, ...]
Frames = Sequence[Sequence[int]]
"""Codes of consecutive frames, each (c0, c1, .. c(N-1))."""

_SPEAKER = re.compile(r"<\|speaker:\d+\|>")


@dataclass(frozen=True, slots=True)
class Reference:
    """A recorded voice: what is said, and its codes."""

    text: str
    codes: Frames


@dataclass(frozen=True, slots=True)
class Turn:
    """Something that was spoken earlier in this conversation."""

    text: str
    codes: Frames


class PromptFormat(Protocol):
    """How a layout writes its prompts. A prompt is voice + turns + ask; all parts can be cached as prefixes."""

    def voice(self, references: Sequence[Reference]) -> list[Column]:
        """The beginning that all prompts of a voice share."""
        ...

    def ask(self, text: str) -> list[Column]:
        """New text, up to where the model goes on with its first frame. Begins with opening()."""
        ...

    def opening(self) -> list[Column]:
        """What stands before any new text."""
        ...

    def close(self) -> list[Column]:
        """What follows the last frame of an answer before the next ask()."""
        ...

    def frames(self, codes: Frames) -> list[Column]:
        """Columns of frames that the model spoke, or that a reference holds."""
        ...


def conversation(
    layout: PromptFormat, references: Sequence[Reference], history: Iterable[Turn], text: str
) -> list[Column]:
    """A whole prompt: voice, earlier turns in order, and the text to be spoken now."""
    columns = layout.voice(references)
    for turn in history:
        columns += layout.ask(turn.text) + layout.frames(turn.codes) + layout.close()
    return columns + layout.ask(text)


class _Columns:
    """Turns tokens and codes into columns; shared by both layouts."""

    def __init__(self, tokenizer: Tokenizer, num_codebooks: int, semantic_begin_id: int) -> None:
        self._tokenizer = tokenizer
        self._blank = (0,) * num_codebooks
        self._begin = semantic_begin_id

    def text(self, text: str) -> list[Column]:
        return [(token, *self._blank) for token in self._tokenizer.encode(text)]

    def control(self, name: str) -> list[Column]:
        token = self._tokenizer.control(name)
        if token is None:
            raise CheckpointError(f"The tokenizer of this checkpoint has no {name}, which its prompt format needs.")
        return [(token, *self._blank)]

    def speaker(self, index: int) -> list[Column]:
        """A speaker tag of our own: a token where the checkpoint has one, else ordinary text."""
        name = f"<|speaker:{index}|>"
        return self.text(name) if self._tokenizer.control(name) is None else self.control(name)

    def frames(self, codes: Frames) -> list[Column]:
        width = len(self._blank)
        for frame in codes:
            assert len(frame) == width, f"a frame has {len(frame)} codes, the model {width} codebooks"
        return [(int(frame[0]) + self._begin, *map(int, frame)) for frame in codes]


class S2Prompt:
    """Chat format of S2-Pro. Speaker tags `<|speaker:N|>` and inline tags such as `[laugh]` are ordinary text."""

    def __init__(self, tokenizer: Tokenizer, num_codebooks: int, semantic_begin_id: int) -> None:
        self._columns = _Columns(tokenizer, num_codebooks, semantic_begin_id)

    def voice(self, references: Sequence[Reference]) -> list[Column]:
        """The system block."""
        make = self._columns
        columns = make.control("<|im_start|>") + make.text("system\n")
        if not references:
            columns += make.text("convert the provided text to speech")
        else:
            columns += make.text("convert the provided text to speech reference to the following:\n\nText:\n")
            columns += make.text("\n".join(_tagged(index, ref.text) for index, ref in enumerate(references)))
            columns += make.text("\n\nSpeech:\n")
            for reference in references:
                columns += make.frames(reference.codes)
        return columns + self.close()

    def ask(self, text: str) -> list[Column]:
        """A user turn, and the answer opened."""
        make = self._columns
        columns = self.opening() + make.text(text) + self.close()
        return columns + make.control("<|im_start|>") + make.text("assistant\n") + make.control("<|voice|>")

    def opening(self) -> list[Column]:
        """The head of a user turn."""
        return self._columns.control("<|im_start|>") + self._columns.text("user\n")

    def close(self) -> list[Column]:
        """The end of a turn."""
        return self._columns.control("<|im_end|>") + self._columns.text("\n")

    def frames(self, codes: Frames) -> list[Column]:
        """Spoken frames."""
        return self._columns.frames(codes)


class S1Prompt:
    """Interleaved text and codes of S1-mini. Inline tags such as `(laughing)` are ordinary text."""

    def __init__(self, tokenizer: Tokenizer, num_codebooks: int, semantic_begin_id: int) -> None:
        self._columns = _Columns(tokenizer, num_codebooks, semantic_begin_id)

    def voice(self, references: Sequence[Reference]) -> list[Column]:
        """References one after another."""
        columns = self._columns.control("<|interleave|>")
        for reference in references:
            columns += self.ask(reference.text) + self.frames(reference.codes) + self.close()
        return columns

    def ask(self, text: str) -> list[Column]:
        """New text; frames follow directly."""
        return self.opening() + self._columns.text(text)

    def opening(self) -> list[Column]:
        """Whose text it is."""
        return self._columns.speaker(0)

    def close(self) -> list[Column]:
        """The end of what was spoken."""
        return self._columns.control("<|im_end|>")

    def frames(self, codes: Frames) -> list[Column]:
        """Spoken frames."""
        return self._columns.frames(codes)


def _tagged(index: int, text: str) -> str:
    return text if _SPEAKER.search(text) else f"<|speaker:{index}|>{text}"
