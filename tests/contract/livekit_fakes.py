"""A session that is made, an audio output that plays when told, and an utterance that notes what it is told."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace

from livekit import rtc
from livekit.agents.voice import io

from agent_tts.engine import AbortAck
from agent_tts.livekit.streams import UTTERANCE_KEY
from agent_tts.types import WordTime
from tests.fakes import SAMPLE_RATE


class FakeUtterance:
    """Notes what it is told."""

    words = (WordTime("one", 0, 3, 0.0, 200.0),)

    def __init__(self, name: str = "utterance") -> None:
        self.id = name
        self.reports: list[float] = []
        self.calls: list[str] = []

    def report_playout(self, played_ms: float) -> None:
        self.reports.append(played_ms)

    def heard_text(self, played_ms: float) -> str:
        return f"the text heard by {played_ms:.0f} ms"

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def abort(self) -> AbortAck:
        self.calls.append("abort")
        return AbortAck(0.0, Future())


class FakeSink(io.AudioOutput):
    """Takes frames; plays when told."""

    position_s = 0.0

    def __init__(self) -> None:
        super().__init__(label="FakeSink", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=SAMPLE_RATE)
        self.calls: list[str] = []

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)

    def flush(self) -> None:
        super().flush()

    def clear_buffer(self) -> None:
        self.calls.append("clear")

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


class FakeSession(rtc.EventEmitter[str]):
    """As much of an AgentSession as bind() touches."""

    def __init__(self, *, min_words: int = 0) -> None:
        super().__init__()
        self.sink = FakeSink()
        self.output = SimpleNamespace(audio=self.sink)
        self.input = SimpleNamespace(audio=None)
        self.options = SimpleNamespace(interruption={"min_words": min_words})
        self.current_speech = SimpleNamespace(allow_interruptions=True)
        self.interrupts = 0
        self.cleared_turns = 0
        self.user_state = "listening"

    def clear_user_turn(self) -> None:
        self.cleared_turns += 1

    def interrupt(self) -> None:
        self.interrupts += 1

    def agent(self, old: str, new: str) -> None:
        self.emit("agent_state_changed", SimpleNamespace(old_state=old, new_state=new))

    def user(self, old: str, new: str) -> None:
        self.user_state = new
        self.emit("user_state_changed", SimpleNamespace(old_state=old, new_state=new))

    def hears(self, words: str) -> None:
        self.emit("user_input_transcribed", SimpleNamespace(transcript=words, is_final=True))


def frame(utterance: FakeUtterance, *, ms: int = 20) -> rtc.AudioFrame:
    made = rtc.AudioFrame.create(SAMPLE_RATE, 1, SAMPLE_RATE * ms // 1000)
    made.userdata[UTTERANCE_KEY] = utterance
    return made
