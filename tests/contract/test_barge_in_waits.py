"""A caller who is suspected and then heard no more: how long a reply waits, once for LiveKit's and Pipecat's binding.

On a virtual clock. Whatever does not come any more (the VAD, its end, the STT, the caller), the reply goes on or has
ended when the policy says, and nothing holds it for ever.
"""

from __future__ import annotations

import asyncio
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import SimpleNamespace

import pytest

from agent_tts.audio.onset import Activity
from agent_tts.barge_in import PRESETS
from evals import virtual_time

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]

SELECTIVE = PRESETS["selective"]
assert SELECTIVE is not None
CONFIRM_S, UNDECIDED_S = SELECTIVE.confirm_within_ms / 1000, SELECTIVE.undecided_ms / 1000
FOR_EVER_S = 120.0


class Call(ABC):
    """A reply is being heard; the caller is what the test says."""

    @abstractmethod
    async def onset(self, activity: Activity) -> None: ...

    @abstractmethod
    async def vad(self, *, speaks: bool) -> None: ...

    @abstractmethod
    async def hang_up(self) -> None: ...

    @property
    @abstractmethod
    def held(self) -> bool:
        """The output waits."""

    @property
    @abstractmethod
    def cut(self) -> bool:
        """The reply was ended for good."""

    async def near(self) -> None:
        await self.onset(Activity.STARTED)
        assert self.held or self.cut
        await self.onset(Activity.NEAR)

    async def goes_on_after(self) -> float:
        """Seconds until the output waits no more."""
        began_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(FOR_EVER_S):
            while self.held:  # noqa: ASYNC110 - the clock is virtual
                await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began_s


@asynccontextmanager
async def livekit(preset: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Call]:
    from livekit.agents.voice import io

    from agent_tts.livekit import binding as module
    from tests.contract.livekit_fakes import FakeSession, FakeSink, FakeUtterance, frame

    clock = SimpleNamespace(monotonic=asyncio.get_running_loop().time)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "RoomAudioOutput", FakeSink)  # else it would not pause on a suspicion
    session = FakeSession()
    session.input.audio = io.AudioInput(label="microphone")
    binding = module.bind(session, preset=preset)  # type: ignore[arg-type]
    await session.output.audio.capture_frame(frame(FakeUtterance()))
    session.agent("thinking", "speaking")

    class LiveKitCall(Call):
        async def onset(self, activity: Activity) -> None:
            binding._on_activity(activity)

        async def vad(self, *, speaks: bool) -> None:
            session.user(*(("listening", "speaking") if speaks else ("speaking", "listening")))

        async def hang_up(self) -> None:
            session.emit("close", SimpleNamespace())

        @property
        def held(self) -> bool:
            return session.sink.calls[-1:] == ["pause"] and not self.cut

        @property
        def cut(self) -> bool:
            return session.interrupts > 0

    yield LiveKitCall()


@asynccontextmanager
async def pipecat(preset: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Call]:
    from pipecat.frames.frames import CancelFrame, VADUserStartedSpeakingFrame, VADUserStoppedSpeakingFrame

    from tests.contract.pipecat_line import open_line

    async with open_line(preset, monkeypatch) as line:
        await line.speak(seconds=60)

        class PipecatCall(Call):
            async def onset(self, activity: Activity) -> None:
                line.barge_in.heard(activity)

            async def vad(self, *, speaks: bool) -> None:
                frame = (
                    VADUserStartedSpeakingFrame(start_secs=0.1)
                    if speaks
                    else VADUserStoppedSpeakingFrame(stop_secs=0.2)
                )
                await line.worker.queue_frame(frame)
                await line.passed(type(frame))

            async def hang_up(self) -> None:
                await line.worker.queue_frame(CancelFrame())
                await line.ended.wait()

            @property
            def held(self) -> bool:
                return line.barge_in.output_filter.holding

            @property
            def cut(self) -> bool:
                return line.interruptions > 0

        yield PipecatCall()


BINDINGS: dict[str, Callable[[str, pytest.MonkeyPatch], AbstractAsyncContextManager[Call]]] = {
    "livekit": livekit,
    "pipecat": pipecat,
}


@pytest.fixture(params=BINDINGS)
def play(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plays a story on a virtual clock, over a reply of a minute."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"needs {request.param}")

    def played(preset: str, story: Callable[[Call], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with BINDINGS[request.param](preset, monkeypatch) as call:
                await story(call)

        virtual_time.run(whole())

    return played


@pytest.mark.parametrize("preset", ["immediate", "selective"])
def test_a_suspicion_that_nothing_follows_costs_half_a_second(play: Callable[..., None], preset: str) -> None:
    async def story(call: Call) -> None:
        await call.onset(Activity.STARTED)
        assert call.held
        assert await call.goes_on_after() == pytest.approx(CONFIRM_S, abs=0.05)
        assert not call.cut

    play(preset, story)


def test_a_caller_who_was_near_and_is_heard_no_more_is_waited_for_three_seconds(play: Callable[..., None]) -> None:
    """Nobody tells that a muted microphone has fallen silent: the reply stayed paused for ever."""

    async def story(call: Call) -> None:
        await call.near()
        assert await call.goes_on_after() == pytest.approx(UNDECIDED_S, abs=0.05)
        assert not call.cut

    play("selective", story)


def test_immediate_ends_the_reply_when_a_near_caller_is_not_heard_by_the_vad(play: Callable[..., None]) -> None:
    async def story(call: Call) -> None:
        await call.near()
        await asyncio.sleep(0.1)
        assert call.cut

    play("immediate", story)


def test_a_vad_that_starts_and_never_ends_does_not_hold_the_reply(play: Callable[..., None]) -> None:
    async def story(call: Call) -> None:
        await call.onset(Activity.STARTED)
        await call.vad(speaks=True)
        await call.onset(Activity.NEAR)
        assert await call.goes_on_after() == pytest.approx(UNDECIDED_S, abs=0.05)
        await asyncio.sleep(40)
        assert not call.held
        assert not call.cut

    play("selective", story)


def test_an_stt_that_has_died_does_not_hold_the_reply(play: Callable[..., None]) -> None:
    async def story(call: Call) -> None:
        await call.near()
        await call.vad(speaks=True)
        await call.onset(Activity.ENDED)
        await call.vad(speaks=False)
        await asyncio.sleep(0.1)
        assert not call.held
        await asyncio.sleep(40)
        assert not call.held
        assert not call.cut

    play("selective", story)


@pytest.mark.parametrize("preset", ["immediate", "selective"])
def test_a_caller_who_hangs_up_in_a_pause_leaves_nothing_held(play: Callable[..., None], preset: str) -> None:
    async def story(call: Call) -> None:
        await call.onset(Activity.STARTED)
        assert call.held
        await call.hang_up()
        assert not call.held
        await call.onset(Activity.STARTED)  # what was still being computed
        await asyncio.sleep(1)
        assert not call.held

    play(preset, story)
