"""One request and its state machine: an utterance as the scheduler sees it. No tensors, no audio.

One request carries one utterance: its segments are turns of the same live context, so that KV and codec state go on
from one to the next, and everything it holds comes back in one retire().

    WAITING ──admit──▶ RUNNING ──model done, abort, failure──▶ STOPPING ──retire──▶ RETIRED
       └────────────────────────abort────────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from agent_tts.cache.radix import Match
from agent_tts.runtime.audio_stream import AudioStream
from agent_tts.runtime.step import TextSource
from agent_tts.types import FinishReason, SamplingParams


class RequestState(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    RETIRED = "retired"


@dataclass(slots=True, eq=False)
class Request:
    """What the engine knows of one utterance. `stop()` and `paused` may be set by any thread; the rest by its own."""

    id: str
    voice: str
    sampling: SamplingParams
    seed: int
    source: TextSource
    stream: AudioStream
    lead_limit_ms: float
    max_frames: int
    frame_ms: float
    state: RequestState = RequestState.WAITING
    paused: bool = False
    finish_reason: FinishReason | None = None
    slot: int | None = None
    opened: bool = False
    num_frames: int = 0
    compute_s: float = 0.0
    # KV: `pages` hold positions [first_position, position); those before have left the window.
    pages: list[int] = field(default_factory=list)
    first_position: int = 0
    position: int = 0
    prefix: Match | None = None
    context_tokens: int = 0
    reused_tokens: int = 0
    """Of the context that begins with the next step; counted once it has run."""
    prompt_tokens: int = 0
    cached_tokens: int = 0

    def stop(self, reason: FinishReason) -> None:
        """Ask for the end. The first reason stays: exactly one transition wins."""
        if self.finish_reason is None:
            self.finish_reason = reason

    @property
    def stopped(self) -> bool:
        return self.finish_reason is not None
