"""What lies below Engine and Utterance: a door to whoever computes, in this process or in another one. No policy.

Engine    ─▶ Door   in process: local_door.py          behind a socket: agent_tts/remote/door.py
Utterance ─▶ Line   a Request of the engine's loop     messages of one connection
          ◀─ AudioStream, the same class on both sides
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.types import EngineStats, FinishReason, SamplingParams, TtsMetrics


@dataclass(frozen=True, slots=True)
class Order:
    """What an utterance is opened with. `lead_ms` of None is the engine's own."""

    utterance_id: str
    voice: str
    sampling: SamplingParams
    lead_ms: float | None


class Line(Protocol):
    """One utterance on its way to whoever computes it. Any thread may call it; nothing here waits or raises late."""

    @property
    def stream(self) -> AudioStream: ...

    @property
    def finish_reason(self) -> FinishReason | None: ...

    def open(self, on_retired: Callable[[], None]) -> None:
        """Start. `on_retired` is called once, on a thread of the door's, when everything it held is back."""
        ...

    def push(self, text: str) -> None: ...

    def flush(self) -> None: ...

    def end(self) -> None: ...

    def abort(self) -> None:
        """Ask for the end. The stream has been aborted before, so that nothing more is delivered."""
        ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def metrics(self) -> TtsMetrics:
        """The books of the utterance; good once it is retired and its stream drained."""
        ...


class Door(Protocol):
    """A way to an engine that is loaded."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_ms(self) -> float: ...

    @property
    def model_name(self) -> str: ...

    @property
    def voices(self) -> tuple[str, ...]: ...

    @property
    def max_waiting(self) -> int: ...

    @property
    def closed(self) -> bool: ...

    def line(self, order: Order) -> Line:
        """A new line, not open yet. Raises AgentTTSError when the engine can't be reached now."""
        ...

    def stats(self, num_open: int) -> EngineStats:
        """The engine now; `num_open` utterances are open on this side of the door."""
        ...

    def close(self) -> None:
        """End what is open and every thread of this door. Blocks."""
        ...
