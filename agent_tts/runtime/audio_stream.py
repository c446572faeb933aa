"""The hand-over of one utterance's audio from the engine's thread to asyncio. Knows samples and clocks, no model.

    engine thread                     lock                     event loop
    write() ─▶ cut into 20 ms ─▶ [pending chunks] ─▶ __anext__() ─▶ the adapter
    finish() / fail()                  ▲
                                  abort(), pause(), resume(), report_playout()      (any thread)

abort() empties `pending` and closes the door under the same lock that a delivery takes: after it returned, nothing of
this utterance is delivered.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from agent_tts.audio.frames import CHUNK_MS, ChunkCutter, chunk_samples
from agent_tts.audio.pcm import first_audible, to_int16
from agent_tts.runtime.playout import PlayoutClock
from agent_tts.runtime.step import FloatPcm
from agent_tts.runtime.timing import UtteranceTiming
from agent_tts.types import AudioChunk, Pcm, WordTime


class AudioStream:
    """Chunks on their way to one consumer, with the playout position that the lead limit looks at."""

    def __init__(
        self, utterance_id: str, voice_id: str, sample_rate: int, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.utterance_id = utterance_id
        self.voice_id = voice_id
        self.sample_rate = sample_rate
        self.timing = UtteranceTiming()
        self.generated_samples = 0
        self.delivered_samples = 0
        self._now = clock
        self._lock = threading.Lock()
        self._pending: deque[AudioChunk] = deque()
        self._cutter = ChunkCutter(chunk_samples(sample_rate))
        self._index = 0
        self._playout = PlayoutClock()
        self._words: list[WordTime] = []
        self._unsent_words: list[WordTime] = []
        self._text_end = 0
        self._flowing = False
        self._paused = False
        self._ended = False
        self._aborted = False
        self._error: BaseException | None = None
        self._wake: Callable[[], object] | None = None

    # -- engine thread ------------------------------------------------------------------------------------------------

    def write(self, pcm: FloatPcm, text_end: int, words: Sequence[WordTime] = (), *, enough_ms: float = 0.0) -> None:
        """Add audio; whole chunks become available at once. Does nothing after an abort.

        Nothing is available before `enough_ms` are there: what a player is given first must last until more can come.
        """
        samples = to_int16(pcm)
        with self._lock:
            if self._aborted:
                return
            self._note_written(samples)
            self._text_end = max(self._text_end, text_end)
            self._words.extend(words)
            self._unsent_words.extend(words)
            for piece in self._cutter.push(samples):
                self._append(piece, len(piece), is_final=False)
            if self.generated_ms >= enough_ms:
                self._flow()
        self._notify()

    def write_chunk(
        self, piece: Pcm, num_samples: int, text_end: int, words: Sequence[WordTime], *, is_final: bool
    ) -> None:
        """Add 20 ms that another process has cut. Late ones, after an abort, are dropped."""
        with self._lock:
            if self._aborted or self._ended:
                return
            self._note_written(piece[:num_samples])
            self._text_end = max(self._text_end, text_end)
            self._words.extend(words)
            self._unsent_words.extend(words)
            self._append(piece, num_samples, is_final=is_final)
            self._flow()
            self._ended = is_final
        self._notify()

    def finish(self, text_end: int) -> None:
        """No more audio will come. What is left is padded to a last chunk; no audio at all gives no chunk at all."""
        with self._lock:
            if self._aborted or self._ended:
                return
            self._text_end = max(self._text_end, text_end)
            if self.generated_samples:
                piece, num_samples = self._cutter.rest()
                self._append(piece, num_samples, is_final=True)
            self._flow()
            self._ended = True
        self._notify()

    def fail(self, error: BaseException) -> None:
        """End with an error, after the chunks that are already there."""
        with self._lock:
            if not self._ended and self._error is None:
                self._error = error
                self._flow()
                self._ended = True
        self._notify()

    def lead_ms(self) -> float:
        """Generated, but not yet heard."""
        with self._lock:
            return self.generated_ms - self._playout.played_ms(self.generated_ms, self._now())

    @property
    def generated_ms(self) -> float:
        return 1000 * self.generated_samples / self.sample_rate

    @property
    def delivered_ms(self) -> float:
        return 1000 * self.delivered_samples / self.sample_rate

    # -- any thread ---------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds of the one clock that all moments of this utterance are read from."""
        return self._now()

    def note_text(self) -> None:
        """The caller pushed text."""
        self.timing.text_pushed(self._now())

    def note_released(self) -> None:
        """Everything the utterance held is back."""
        self.timing.released_s = self._now()

    def abort(self) -> bool:
        """Drop what was not delivered and deliver nothing more. False when it had ended or been aborted before."""
        with self._lock:
            if self._aborted or (self._ended and not self._pending):
                return False
            self._aborted = True
            self._pending.clear()
            self.timing.abort_s = self._now()
        self._notify()
        return True

    def pause(self) -> None:
        """Hold deliveries back; nothing is lost."""
        with self._lock:
            self._paused = True
            self._playout.pause(self._now())

    def resume(self) -> None:
        with self._lock:
            self._paused = False
            self._playout.resume(self._now())
        self._notify()

    def report_playout(self, played_ms: float) -> None:
        with self._lock:
            self._playout.report(played_ms)

    def played_ms(self) -> float:
        with self._lock:
            return self._playout.played_ms(self.generated_ms, self._now())

    @property
    def words(self) -> tuple[WordTime, ...]:
        """All words timed so far; their audio may not have been delivered yet."""
        with self._lock:
            return tuple(self._words)

    @property
    def aborted(self) -> bool:
        return self._aborted

    @property
    def ended(self) -> bool:
        """Whether no further audio can come; what is there may not have been delivered yet."""
        return self._aborted or self._ended

    @property
    def drained(self) -> bool:
        """Whether the consumer has had everything it will ever get."""
        with self._lock:
            return self._aborted or (self._ended and not self._pending)

    # -- event loop ---------------------------------------------------------------------------------------------------

    async def next_chunk(self) -> AudioChunk | None:
        """The next chunk, None at the end (also after an abort). Raises what fail() was given."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(event.set)
        try:
            while True:
                event.clear()
                with self._lock:
                    if self._aborted:
                        return None
                    if self._pending and self._flowing and not self._paused:
                        return self._take()
                    if self._ended and not self._pending:
                        if self._error is not None:
                            raise self._error
                        return None
                await event.wait()
        finally:
            self._wake = None

    # -- under the lock -----------------------------------------------------------------------------------------------

    def _note_written(self, samples: Pcm) -> None:
        now = self._now()
        if len(samples):
            self.timing.frame_decoded(now)
        if self._playout.refill(self.generated_ms, now):
            self.timing.underruns += 1
        if self.timing.leading_silence_ms is None and (loud := first_audible(samples)) is not None:
            self.timing.leading_silence_ms = self.generated_ms + 1000 * loud / self.sample_rate
        self.generated_samples += len(samples)

    def _append(self, piece: Pcm, num_samples: int, *, is_final: bool) -> None:
        words, self._unsent_words = tuple(self._unsent_words), []
        chunk = AudioChunk(
            utterance_id=self.utterance_id,
            voice_id=self.voice_id,
            pcm=piece,
            sample_rate=self.sample_rate,
            index=self._index,
            start_ms=float(self._index * CHUNK_MS),
            text_end=self._text_end,
            num_samples=num_samples,
            is_final=is_final,
            words=words,
        )
        self._index += 1
        self._pending.append(chunk)
        if self._flowing:
            self.timing.chunk_available(self._now())

    def _flow(self) -> None:
        """From now on chunks are handed over as they come."""
        if not self._flowing:
            self._flowing = True
            for _ in self._pending:
                self.timing.chunk_available(self._now())

    def _take(self) -> AudioChunk:
        chunk = self._pending.popleft()
        self.delivered_samples += chunk.num_samples
        self._playout.start(self._now())
        return chunk

    def _notify(self) -> None:
        wake = self._wake
        if wake is None:
            return
        try:
            wake()
        except RuntimeError:  # the consumer's event loop is closed: nobody will ever read this stream
            with self._lock:
                self._aborted = True
                self._pending.clear()
