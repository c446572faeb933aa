"""One utterance of one client of the engine server: its messages in, its chunks out as messages. Knows no connection.

    TEXT, FLUSH, END, ABORT, PAUSE, RESUME, PLAYOUT ─▶ handle()        speak() ─▶ AUDIO ... ENDED, and then RELEASED

Where the listener is comes from the client, always; one that stands still sends no more positions, and the lead limit
stops its utterances.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from agent_tts.engine import Engine, Utterance
from agent_tts.errors import AgentTTSError, EngineClosedError, TextAfterEndError
from agent_tts.remote.values import error_to_json, metrics_to_json, stats_to_json
from agent_tts.remote.wire import Kind, Message, ProtocolError, pack_audio, pack_json, read_playout, read_text
from agent_tts.types import TtsMetrics

MAX_CHARACTERS = 1_000_000
"""Text of one utterance."""
OF_AN_UTTERANCE = (Kind.TEXT, Kind.FLUSH, Kind.END, Kind.ABORT, Kind.PAUSE, Kind.RESUME, Kind.PLAYOUT)
"""What a client may send for an utterance that is open."""


class Speaking:
    """An utterance under the number its client gave it."""

    def __init__(self, number: int, utterance: Utterance) -> None:
        self.number = number
        self.utterance = utterance
        self._num_characters = 0
        self._aborted = False
        """By its client; otherwise an abort comes from the engine's end."""
        utterance.report_playout(0)  # from now on nothing is assumed

    def handle(self, message: Message) -> None:
        """Carry out what the client says. Raises ProtocolError."""
        utterance = self.utterance
        with contextlib.suppress(TextAfterEndError, EngineClosedError):  # late: it ended while this was on its way
            match message.kind:
                case Kind.TEXT:
                    self._push(read_text(message))
                case Kind.FLUSH:
                    utterance.flush()
                case Kind.END:
                    utterance.end_text()
                case Kind.ABORT:
                    self._aborted = True
                    utterance.abort()
                case Kind.PAUSE:
                    utterance.pause()
                case Kind.RESUME:
                    utterance.resume()
                case Kind.PLAYOUT:
                    utterance.report_playout(read_playout(message))

    async def speak(self, engine: Engine) -> AsyncGenerator[bytes, None]:
        """Messages with its chunks, then one that they have ended; goes on until the engine has let go of it."""
        error: AgentTTSError | None = None
        try:
            async for chunk in self.utterance:
                yield pack_audio(self.number, chunk)
        except AgentTTSError as failure:
            error = failure
        if engine.closed and not self._aborted:
            error = EngineClosedError()
        yield ended(self.number, error)
        await self.utterance.released()

    def _push(self, text: str) -> None:
        self._num_characters += len(text)
        if self._num_characters > MAX_CHARACTERS:
            raise ProtocolError(f"more than {MAX_CHARACTERS} characters in one utterance")
        self.utterance.push_text(text)


def ended(number: int, error: AgentTTSError | None) -> bytes:
    """No more AUDIO comes."""
    return pack_json(Kind.ENDED, number, {"error": error_to_json(error) if error else None})


def released(number: int, engine: Engine, metrics: TtsMetrics | None) -> bytes:
    """The number is free again; `metrics` of None = it never began."""
    books = {"stats": stats_to_json(engine.stats())}
    return pack_json(Kind.RELEASED, number, books | {"metrics": metrics and metrics_to_json(metrics)})
