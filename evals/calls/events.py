"""What is recorded of one event of a call: the ear, the replies, the moments. Values only.

All moments are seconds of the event loop's clock. The ear is one contiguous recording at the peer's rate whose frames
carry which reply, and which sample of it, they came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agent_tts import WordTime
from evals.metrics.audio import Samples
from evals.peers.base import Pcm

FRAME_MS = 20


@dataclass(frozen=True, slots=True, eq=False)
class EarFrame:
    """20 ms at the ear. `reply_id` is None in silence; `media_start` is the reply's sample it begins with."""

    reply_id: str | None
    media_start: int
    pcm: Pcm


@dataclass(slots=True)
class EarTrack:
    """Everything that sounded, from `begin_s` on."""

    sample_rate: int
    begin_s: float
    frames: list[EarFrame] = field(default_factory=list)
    underruns_s: list[float] = field(default_factory=list)
    """Moments at which the player had nothing to play in the middle of a reply."""
    held_s: list[float] | None = None
    """Frames that a reply was held back from, or that were turned down; None: this ear cannot tell (a real line)."""
    late_frames: int = 0
    """Frames that were silent because the player itself was late: this machine's doing, not the peer's."""

    @property
    def frame_samples(self) -> int:
        return self.sample_rate * FRAME_MS // 1000

    def at_s(self, index: int) -> float:
        """When a frame begins to sound."""
        return self.begin_s + index * FRAME_MS / 1000

    def pcm(self) -> Pcm:
        return np.concatenate([frame.pcm for frame in self.frames]) if self.frames else np.zeros(0, np.int16)

    def of_reply(self, reply_id: str) -> Pcm:
        """The recording with everything else silenced."""
        parts = [frame.pcm if frame.reply_id == reply_id else np.zeros_like(frame.pcm) for frame in self.frames]
        return np.concatenate(parts) if parts else np.zeros(0, np.int16)


@dataclass(slots=True)
class ReplyTrace:
    """One reply of the agent.

    Attributes:
        text: What the LLM wrote for it, all of it.
        claimed: What the agent says was heard of it.
        stale_frames: Frames handed to the transport after abort() had returned.
        facts: What the peer itself says about it.
    """

    text: str
    reply_id: str = ""
    asked_s: float | None = None
    first_text_s: float | None = None
    first_frame_s: float | None = None
    last_frame_s: float | None = None
    abort_s: float | None = None
    released_s: float | None = None
    completed: bool = False
    claimed: str | None = None
    stale_frames: int = 0
    words: tuple[WordTime, ...] = ()
    facts: dict[str, float | int | None] = field(default_factory=dict)
    error: str | None = None


@dataclass(slots=True)
class Moments:
    """What the agent did about one event; None = did not happen."""

    suspicion_s: float | None = None
    dip_s: float | None = None
    """Ducked or paused."""
    restored_s: float | None = None
    held_ms: float | None = None
    """All dips of an event together, where the ear cannot tell which of its silences were one (a real line)."""
    vad_s: float | None = None
    """The framework's VAD reported speech."""
    decision_s: float | None = None
    cleared_s: float | None = None


@dataclass(slots=True)
class EventRecord:
    """One event: who spoke over which reply, what should have happened, and what was recorded.

    Attributes:
        expect: "yield" or "absent".
        reply: The reply that was spoken over; `next_reply` the one after it, when there was one.
        transport_ms: Audio the agent's transport may hold.
        neighbour_underruns: Stand-stills of other calls shortly after the abort; `neighbour_gap_ms`: the longest.
    """

    key: str
    scenario: str
    kind: str
    expect: str
    onset_s: float
    caller_end_s: float
    transport_ms: float
    ear: EarTrack
    reply: ReplyTrace
    moments: Moments
    next_reply: ReplyTrace | None = None
    neighbour_underruns: int | None = None
    neighbour_gap_ms: float | None = None
    mouth: Samples | None = None
    mouth_rate: int = 16_000
    mouth_start_s: float = 0.0
