"""What a TTS owes LiveKit Agents, over the real engine with a tone for a model. No server, no weights, no torch."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")

from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APITimeoutError
from livekit.agents import tts as lk_tts
from livekit.agents.types import USERDATA_TIMED_TRANSCRIPT
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agent_tts import Engine, EngineConfig, FinishReason, TtsMetrics
from agent_tts.errors import CheckpointError
from agent_tts.livekit import TTS
from tests.doors import connected, engine_process
from tests.fakes import SAMPLE_RATE, FakeText, ToneRunner

TEXT = "Hello there, my good friend."
NO_RETRY = APIConnectOptions(max_retry=0)


class Reader(ToneRunner):
    """Says words alone, as a voice's front end does; what has no letter is for the eye."""

    class Text(FakeText):
        def _words(self) -> list[tuple[int, int, str]]:
            return [word for word in super()._words() if any(map(str.isalpha, word[2]))]

    def new_text(self, voice: str) -> FakeText:
        return self.Text(self.frames_per_word)


class Setup:
    """One TTS over one engine, and everything it emitted."""

    def __init__(self, tts: TTS, engine: Engine) -> None:
        self.tts = tts
        self.engine = engine
        self.metrics: list[object] = []
        self.errors: list[lk_tts.TTSError] = []
        self.utterances: list[TtsMetrics] = []
        tts.on("metrics_collected", self.metrics.append)
        tts.on("error", self.errors.append)
        tts.on("utterance_metrics", self.utterances.append)

    async def speak(self, *texts: str, options: APIConnectOptions = NO_RETRY) -> list[lk_tts.SynthesizedAudio]:
        """Push, end, and collect all there is."""
        async with self.tts.stream(conn_options=options) as stream:
            for text in texts:
                stream.push_text(text)
            stream.end_input()
            return [audio async for audio in stream]

    async def books_balanced(self) -> None:
        """Every abort has been acknowledged, and nothing is held."""
        await until(lambda: not self.engine.stats().open)
        stats = self.engine.stats()
        assert (stats.running, stats.waiting, stats.free_slots) == (0, 0, stats.total_slots)


@asynccontextmanager
async def setup(runner: ToneRunner | None = None, config: EngineConfig | None = None) -> AsyncIterator[Setup]:
    before = asyncio.all_tasks()
    async with asyncio.timeout(20), Engine.from_runner(runner or ToneRunner(), config) as engine:
        tts = TTS(engine=engine)
        yield Setup(tts, engine)
        await tts.aclose()
    assert asyncio.all_tasks() <= before, "a task outlived its stream"


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until it is so."""
    while not condition():  # noqa: ASYNC110 - what is waited for happens on the engine's thread
        await asyncio.sleep(0)


def words_of(audio: list[lk_tts.SynthesizedAudio]) -> list[object]:
    return [word for item in audio for word in item.frame.userdata.get(USERDATA_TIMED_TRANSCRIPT, [])]


# -- audio ------------------------------------------------------------------------------------------------------------


async def test_a_stream_speaks_in_frames_of_20_ms_with_one_id_and_one_metrics_event() -> None:
    async with setup() as world:
        audio = await world.speak("Hello there, ", "my good ", "friend.")
        sizes = [item.frame.samples_per_channel for item in audio]
        assert set(sizes[1:-1]) == {SAMPLE_RATE // 50}
        assert sizes[0] + sizes[-1] == SAMPLE_RATE // 50  # the framework keeps 10 ms back to mark the end
        assert [item.is_final for item in audio] == [False] * (len(audio) - 1) + [True]
        assert len({item.request_id for item in audio}) == len({item.segment_id for item in audio}) == 1
        assert audio[0].segment_id
        (metrics,) = world.metrics
        assert metrics.segment_id == audio[0].segment_id
        assert metrics.characters_count == len(TEXT)
        assert metrics.ttfb > 0
        assert metrics.audio_duration == pytest.approx(sum(item.frame.duration for item in audio))


async def test_a_chunked_stream_has_the_same_audio_and_exactly_one_metrics_event() -> None:
    async with setup() as world:
        streamed = b"".join(bytes(item.frame.data) for item in await world.speak(TEXT))
        world.metrics.clear()
        async with world.tts.synthesize(TEXT) as stream:
            frame = await stream.collect()
        assert bytes(frame.data) == streamed
        assert [metrics.streamed for metrics in world.metrics] == [False]


@pytest.mark.parametrize("texts", [(), ("",)])
async def test_an_empty_stream_emits_nothing(texts: tuple[str, ...]) -> None:
    async with setup() as world:
        assert await world.speak(*texts) == []
        assert world.metrics == world.errors == world.utterances == []


async def test_text_without_a_word_becomes_a_short_silence_because_the_framework_fails_on_none() -> None:
    async with setup(ToneRunner(frames_per_word=0)) as world:
        audio = await world.speak("...")
        assert sum(item.frame.samples_per_channel for item in audio) == SAMPLE_RATE // 50
        assert not any(any(item.frame.data) for item in audio)
        assert world.errors == []


async def test_flush_speaks_what_is_there_and_the_stream_goes_on() -> None:
    async with setup() as world, world.tts.stream(conn_options=NO_RETRY) as stream:
        stream.push_text("one")  # no space follows: only the flush says that the word is whole
        stream.flush()
        first = await anext(stream)
        assert first.frame.duration > 0
        assert not first.is_final
        stream.end_input()
        rest = [audio async for audio in stream]
        assert rest[-1].is_final


async def test_timed_words_put_together_are_the_pushed_text() -> None:
    async with setup() as world:
        words = words_of(await world.speak("Hello the", "re, my good friend."))
        assert "".join(str(word) for word in words) == TEXT
        times = [time for word in words for time in (word.start_time, word.end_time)]
        assert times == sorted(times)


@pytest.mark.parametrize("behind", [" \U0001f600", ' ")'])
async def test_what_stands_behind_the_last_word_is_in_the_timed_text_too(behind: str) -> None:
    """The transcript, and with it the LLM's history, lost what is for the eye at the end of a reply."""
    async with setup(Reader()) as world:
        words = words_of(await world.speak(TEXT + behind))
        assert "".join(str(word) for word in words) == TEXT + behind
        assert words[-1].start_time == pytest.approx(len(TEXT.split()) * 4 * 0.04)


# -- interruption -----------------------------------------------------------------------------------------------------


async def test_closing_a_stream_aborts_the_engine_and_reports_what_the_framework_does_not() -> None:
    async with setup() as world:
        async with world.tts.stream(conn_options=NO_RETRY) as stream:
            stream.push_text(TEXT * 100)
            await anext(stream)
        await world.books_balanced()
        (metrics,) = world.utterances
        assert metrics.finish_reason is FinishReason.ABORTED
        assert metrics.cancellation_latency_ms is not None
        assert metrics.generated_audio_ms <= 1000 + 2 * 40  # the lead limit, and the step in flight
        assert world.metrics == []  # if this fails, the framework reports interrupted speech now: drop the remark


async def test_an_utterance_aborted_by_someone_else_ends_the_stream_without_error_or_retry() -> None:
    gate = threading.Event()
    async with setup(ToneRunner(gate=gate)) as world:
        async with world.tts.stream() as stream:
            stream.push_text(TEXT)
            stream.end_input()
            await until(lambda: stream.utterance is not None)
            stream.utterance.abort()
            assert [audio async for audio in stream] == []
            gate.set()
        assert world.errors == []
        await world.books_balanced()


# -- errors -----------------------------------------------------------------------------------------------------------


async def failure(world: Setup, *, max_retry: int = 0, timeout_s: float = 10.0) -> APIError:
    with pytest.raises(APIError) as caught:
        await world.speak(TEXT, options=APIConnectOptions(max_retry=max_retry, retry_interval=0, timeout=timeout_s))
    assert world.metrics == []
    return caught.value


async def test_a_closed_engine_is_not_asked_again() -> None:
    async with setup() as world:
        await world.engine.close()
        error = await failure(world, max_retry=3)
        assert isinstance(error, APIConnectionError)
        assert not error.retryable
        assert [event.recoverable for event in world.errors] == [False]


async def test_an_unknown_voice_is_not_asked_again_and_names_those_that_exist() -> None:
    async with setup() as world:
        world.tts.update_options(voice="nobody")
        error = await failure(world, max_retry=3)
        assert (error.status_code, error.retryable) == (404, False)
        assert "'nobody'" in str(error)
        assert "'default'" in str(error)


async def test_a_failed_step_is_retried_with_all_the_text() -> None:
    fails = iter([True])
    async with setup(ToneRunner(fail_on=lambda row: next(fails, False))) as world:
        audio = await world.speak("Hello there, ", "my good friend.", options=APIConnectOptions(retry_interval=0))
        assert "".join(map(str, words_of(audio))) == TEXT
        assert [event.recoverable for event in world.errors] == [True]
        await world.books_balanced()  # metrics come when the engine has let go, a moment after the last chunk
        assert [metrics.finish_reason for metrics in world.utterances] == [
            FinishReason.FAILED,
            FinishReason.COMPLETED,
        ]


async def test_an_engine_that_stalls_is_a_timeout_and_four_error_events() -> None:
    gate = threading.Event()
    async with setup(ToneRunner(gate=gate)) as world:
        error = await failure(world, max_retry=3, timeout_s=0.01)
        assert isinstance(error, APITimeoutError)
        assert [event.recoverable for event in world.errors] == [True, True, True, False]
        gate.set()
        await world.books_balanced()


# -- options, loading, import -----------------------------------------------------------------------------------------


async def test_options_are_taken_when_a_stream_is_opened() -> None:
    async with setup() as world:
        async with world.tts.stream(conn_options=NO_RETRY) as stream:
            world.tts.update_options(voice="other")
            stream.push_text(TEXT)
            stream.end_input()
            assert [audio async for audio in stream]
        await world.speak(TEXT)
        assert [metrics.voice_id for metrics in world.utterances] == ["default", "other"]


async def test_prewarm_returns_at_once_and_the_engine_is_loaded_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    loading = asyncio.Event()
    engine = Engine.from_runner(ToneRunner(sample_rate=16_000, frame_samples=640))

    async def load(model: str, *, config: EngineConfig | None = None) -> Engine:
        loads.append(model)
        await loading.wait()
        return engine

    monkeypatch.setattr(Engine, "load", load)
    tts = TTS(engine="a-model")
    assert (tts.model, tts.provider, loads) == ("a-model", "agent_tts", [])
    tts.prewarm()
    tts.prewarm()
    async with tts.stream() as stream:
        stream.push_text(TEXT)
        stream.end_input()
        loading.set()
        audio = [item async for item in stream]
    assert loads == ["a-model"]
    assert audio[0].frame.sample_rate == tts.sample_rate == 16_000
    await tts.aclose()
    assert engine.closed


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "tcp://there:1"),
        ({"engine": "a-model", "config": EngineConfig(model="other")}, "a-model"),
        ({"config": EngineConfig(model="other")}, "other"),
        ({"config": EngineConfig(max_slots=2)}, "tcp://there:1"),
    ],
)
def test_the_model_is_the_one_that_is_named_then_the_configs_then_the_environments(
    given: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The config's model was never loaded: a TTS without `engine` took the bundled voice, and said nothing."""
    monkeypatch.setenv("AGENT_TTS_ENGINE", "tcp://there:1")
    assert TTS(**given).model == expected  # type: ignore[arg-type]


async def test_closing_twice_is_harmless_and_a_stream_afterwards_is_one_typed_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine.from_runner(ToneRunner())

    async def load(model: str, *, config: EngineConfig | None = None) -> Engine:
        return engine

    monkeypatch.setattr(Engine, "load", load)
    tts = TTS(engine="a-model")
    async with tts.stream(conn_options=NO_RETRY) as stream:
        stream.push_text(TEXT)
        await anext(stream)
        await tts.aclose()
        await tts.aclose()
    async with tts.stream() as stream:
        stream.push_text(TEXT)
        stream.end_input()
        with pytest.raises(APIConnectionError) as caught:
            await anext(stream)
    assert not caught.value.retryable
    await tts.aclose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_an_engine_of_its_own_that_has_died_is_loaded_anew_for_the_next_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stayed closed for the rest of the call."""
    frames = itertools.count()

    def die(plan: object) -> None:
        if next(frames) == 10:
            raise SystemExit  # what no step survives

    runners = iter([ToneRunner(on_step=die), ToneRunner(sample_rate=16_000, frame_samples=640)])
    loaded: list[Engine] = []

    async def load(model: str, *, config: EngineConfig | None = None) -> Engine:
        loaded.append(Engine.from_runner(next(runners)))
        return loaded[-1]

    monkeypatch.setattr(Engine, "load", load)
    tts = TTS(engine="a-model")
    world = Setup(tts, await tts.load_engine())
    with pytest.raises(APIConnectionError, match="its thread has stopped"):
        await world.speak(TEXT * 9)
    audio = await world.speak(TEXT)
    assert "".join(map(str, words_of(audio))) == TEXT
    assert audio[0].frame.sample_rate == tts.sample_rate == 16_000
    await until(lambda: not loaded[-1].stats().open)
    assert [metrics.finish_reason for metrics in world.utterances][1:] == [FinishReason.COMPLETED]
    await tts.aclose()
    assert [engine.closed for engine in loaded] == [True, True]


async def test_an_engine_process_that_was_killed_is_spoken_with_again_when_it_is_back() -> None:
    with tempfile.TemporaryDirectory(prefix="agent-tts-") as folder:
        address = f"unix://{folder}/engine.sock"
        tts = TTS(engine=address)

        async def refused() -> None:
            async with tts.stream(conn_options=NO_RETRY) as stream:
                stream.push_text(TEXT)
                stream.end_input()
                with pytest.raises(APIConnectionError, match="agent-tts serve") as caught:
                    await anext(stream)
            assert caught.value.retryable

        await refused()  # it has not been started yet
        async with asyncio.timeout(30), engine_process(address, "--step-ms", "2") as process:
            world = Setup(tts, await connected(address))
            await world.engine.close()
            async with tts.stream(conn_options=NO_RETRY) as stream:
                stream.push_text(TEXT * 50)
                await anext(stream)
                process.kill()
                await process.wait()
                with pytest.raises(APIConnectionError):
                    _ = [audio async for audio in stream]
            for _ in range(4):
                await refused()
            async with engine_process(address, "--step-ms", "2"):
                engine = await tts.load_engine()
                while not engine.stats().free_slots:  # noqa: ASYNC110 - another process starts
                    await asyncio.sleep(0.01)
                assert "".join(map(str, words_of(await world.speak(TEXT)))) == TEXT
                await tts.aclose()


async def test_two_sessions_on_one_engine_hear_of_their_own_utterances_only() -> None:
    async with setup() as world:
        other, told = TTS(engine=world.engine), list[TtsMetrics]()
        other.on("utterance_metrics", told.append)
        await world.speak(TEXT)
        async with other.stream(conn_options=NO_RETRY) as stream:
            stream.push_text(TEXT)
            stream.end_input()
            assert [audio async for audio in stream]
        await world.books_balanced()
        await other.aclose()
        await world.speak(TEXT)
        await world.books_balanced()
        assert (len(world.utterances), len(told)) == (2, 1)


async def test_an_engine_that_was_handed_in_is_left_open() -> None:
    async with setup() as world:
        await TTS(engine=world.engine).aclose()
        assert not world.engine.closed


async def test_a_model_that_cannot_be_loaded_is_one_error_and_no_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(model: str, *, config: EngineConfig | None = None) -> Engine:
        raise CheckpointError(f"{model!r} is no folder")

    monkeypatch.setattr(Engine, "load", load)
    tts = TTS(engine="/no/such/checkpoint")
    async with tts.stream() as stream:
        stream.push_text(TEXT)
        stream.end_input()
        with pytest.raises(APIError, match="/no/such/checkpoint"):
            await anext(stream)
    await tts.aclose()


def test_prewarm_without_an_event_loop_waits_for_first_use() -> None:
    TTS(engine="bundled").prewarm()


def test_importing_the_plugin_loads_no_torch_and_starts_no_thread() -> None:
    code = (
        "import sys, threading; from livekit.plugins import agent_tts; "
        "assert 'torch' not in sys.modules; assert threading.active_count() == 1, threading.enumerate(); "
        "from livekit.agents import Plugin; "
        "print([plugin.title for plugin in Plugin.registered_plugins], agent_tts.TTS.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['livekit.plugins.agent_tts'] agent_tts.livekit.tts"


# -- traces -----------------------------------------------------------------------------------------------------------


async def test_an_interrupted_utterance_leaves_spans_for_first_chunk_and_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("livekit.agents.telemetry.tracer._tracer", provider.get_tracer("test"))

    async with setup() as world:
        async with world.tts.stream(conn_options=NO_RETRY) as stream:
            stream.push_text(TEXT * 100)
            await anext(stream)
        await world.books_balanced()
    spans: dict[str, ReadableSpan] = {span.name: span for span in exporter.get_finished_spans()}
    utterance = spans["agent_tts.utterance"]
    assert utterance.parent is not None
    assert utterance.parent.span_id == spans["tts_request_run"].context.span_id
    assert utterance.attributes is not None
    assert utterance.attributes["agent_tts.finish_reason"] == "aborted"
    measured = {name for name in utterance.attributes if name.startswith("agent_tts.")}
    assert {"agent_tts.queue_ms", "agent_tts.rtf", "agent_tts.cancellation_latency_ms"} <= measured
    assert spans["agent_tts.abort"].parent == spans["agent_tts.first_chunk"].parent == utterance.context
    ours = [span for name, span in spans.items() if name.startswith("agent_tts.")]
    assert not any("friend" in str(span.attributes) for span in ours)
