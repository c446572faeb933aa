"""The text source of models that read aligned text: a pointer moves along the phonemes of one segment after another.

A frame may be computed when the text the model looks at is known: the pointer's own token and `look_ahead` behind it,
or all of a segment that is closed. So text may stop in the middle of a word and speech stops just before it, without
compute; and where the pointer stands says which words have been spoken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from agent_tts.runtime.step import Readiness, RowResult, Work
from agent_tts.text.phonemes import AlignedTextFrontEnd
from agent_tts.text.units import WordSpan
from agent_tts.types import WordTime


@dataclass(frozen=True, slots=True)
class AlignedWork:
    """What the aligned runner is fed for one request.

    Attributes:
        begins_segment: The pointer starts again at the first of `tokens`.
        follows_segment: A segment of the same utterance was spoken before: pause first.
        tokens: Token ids of the segment that the runner has not had yet.
        closed: The segment has no more tokens than those given so far.
    """

    begins_segment: bool
    follows_segment: bool
    tokens: tuple[int, ...]
    closed: bool


@dataclass(slots=True)
class _Segment:
    tokens: list[int] = field(default_factory=list)
    words: deque[WordSpan] = field(default_factory=deque)
    closed: bool = False
    num_sent: int = 0
    num_planned: int = 0
    pointer: int = 0
    begun: bool = False
    word_start_ms: float | None = None


class AlignedText:
    """One utterance's text, from characters to the next step's work. Used by the engine's thread only."""

    def __init__(self, front_end: AlignedTextFrontEnd, look_ahead: int, window: int | None) -> None:
        self._front_end = front_end
        self._look_ahead = look_ahead
        self._window = window
        self._segments: deque[_Segment] = deque()
        self._ended = False
        self._num_done = 0

    @property
    def num_characters(self) -> int:
        return self._front_end.num_characters

    def push(self, text: str) -> None:
        self._front_end.push(text)
        self._read_on()

    def flush(self) -> None:
        self._front_end.flush()
        self._read_on()

    def end(self) -> None:
        self._front_end.end()
        self._ended = True
        self._read_on()

    def readiness(self) -> Readiness:
        if self._can_step():
            return Readiness.CAN_STEP
        return Readiness.DONE if self._ended and not self._segments else Readiness.WAITS_FOR_TEXT

    def begins_context(self) -> bool:
        return not (self._segments and self._segments[0].begun)

    def next_work(self, position: int) -> Work:
        segment = self._segments[0]
        payload = AlignedWork(
            begins_segment=not segment.begun,
            follows_segment=self._num_done > 0,
            tokens=tuple(segment.tokens[segment.num_sent :]),
            closed=segment.closed,
        )
        segment.num_planned = len(segment.tokens)
        return Work(payload, num_positions=1, window=self._window)

    def prefix_keys(self) -> Sequence[Hashable]:
        return ()

    def accept(self, result: RowResult, start_ms: float, end_ms: float) -> list[WordTime]:
        segment = self._segments[0]
        segment.begun = True
        segment.num_sent = segment.num_planned
        if segment.word_start_ms is None and segment.words and segment.pointer >= segment.words[0].token_start:
            segment.word_start_ms = start_ms
        segment.pointer = result.progress
        ended = self._ended_words(segment, end_ms, all_of_them=result.segment_done)
        if result.segment_done:
            self._segments.popleft()
            self._num_done += 1
        self._read_on()
        return ended

    def _ended_words(self, segment: _Segment, now_ms: float, *, all_of_them: bool) -> list[WordTime]:
        """Words the pointer has passed by now. A word that starts and ends within one frame starts and ends now."""
        ended = []
        while segment.words and (all_of_them or segment.pointer >= segment.words[0].token_end):
            word = segment.words.popleft()
            start_ms = now_ms if segment.word_start_ms is None else segment.word_start_ms
            ended.append(WordTime(word.text, word.text_start, word.text_end, start_ms, now_ms))
            segment.word_start_ms = None
        if segment.words and segment.word_start_ms is None and segment.pointer >= segment.words[0].token_start:
            segment.word_start_ms = now_ms
        return ended

    def _can_step(self) -> bool:
        if not self._segments:
            return False
        segment = self._segments[0]
        return segment.closed or segment.pointer + self._look_ahead < len(segment.tokens)

    def _read_on(self) -> None:
        """Read text up to what the next frame needs: the first frame of a long text waits for its first words only."""
        while not self._can_step() and (unit := self._front_end.next_unit()) is not None:
            if not self._segments or self._segments[-1].closed:
                self._segments.append(_Segment())
            segment = self._segments[-1]
            segment.tokens.extend(unit.token_ids)
            segment.words.extend(unit.words)
            segment.closed = unit.closes_segment
