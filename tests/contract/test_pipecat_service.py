"""What Pipecat may expect of AgentTTSService, through Pipecat's own run_test, with the real engine around a tone."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

pipecat = pytest.importorskip("pipecat")

from pipecat.frames.frames import (  # noqa: E402
    AggregatedTextFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    MetricsFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    TTSUpdateSettingsFrame,
)
from pipecat.pipeline.pipeline import Pipeline  # noqa: E402
from pipecat.pipeline.worker import PipelineParams  # noqa: E402
from pipecat.processors.aggregators.llm_context import LLMContext  # noqa: E402
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair  # noqa: E402
from pipecat.services.tts_service import TextAggregationMode  # noqa: E402
from pipecat.tests.utils import SleepFrame, run_test  # noqa: E402

from agent_tts.config import EngineConfig  # noqa: E402
from agent_tts.engine import Engine  # noqa: E402
from agent_tts.pipecat import AgentTTSService, AgentTTSSettings  # noqa: E402
from agent_tts.types import FinishReason, TtsMetrics  # noqa: E402
from tests.contract.pipecat_harness import pipeline_of  # noqa: E402
from tests.fakes import ToneRunner  # noqa: E402

# Pipecat and what it imports warn about their own deprecations.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]


@asynccontextmanager
async def tone_engine(runner: ToneRunner | None = None, **config: object) -> AsyncIterator[Engine]:
    async with Engine.from_runner(runner or ToneRunner(), EngineConfig(**config)) as engine:  # type: ignore[arg-type]
        yield engine


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), timeout=30))  # type: ignore[arg-type]


def turn(*texts: str) -> list[Frame]:
    return [LLMFullResponseStartFrame(), *(LLMTextFrame(text) for text in texts), LLMFullResponseEndFrame()]


async def down(service: AgentTTSService, frames: Sequence[Frame], **kwargs: object) -> list[Frame]:
    received, _ = await run_test(service, frames_to_send=frames, **kwargs)  # type: ignore[arg-type]
    return list(received)


def of(frames: Sequence[Frame], kind: type[Frame]) -> list[Frame]:
    return [frame for frame in frames if isinstance(frame, kind)]


def words(frames: Sequence[Frame]) -> list[str]:
    return [frame.text for frame in frames if isinstance(frame, TTSTextFrame)]


def test_a_turn_is_started_audio_words_stopped_in_this_order() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            frames = await down(AgentTTSService(engine=engine), turn("Hello there. ", "How are you?"))
        kinds = [type(frame) for frame in frames]
        started, stopped = kinds.index(TTSStartedFrame), kinds.index(TTSStoppedFrame)
        audio = [index for index, kind in enumerate(kinds) if kind is TTSAudioRawFrame]
        assert started < audio[0] < audio[-1] < stopped
        assert kinds.count(TTSStartedFrame) == kinds.count(TTSStoppedFrame) == 1, "one turn, one context"
        assert kinds[0] is LLMFullResponseStartFrame
        assert kinds[-1] is LLMFullResponseEndFrame
        assert words(frames) == ["Hello", "there.", "How", "are", "you?"]

    run(story)


def test_the_sentences_of_one_turn_share_one_utterance() -> None:
    async def story() -> None:
        metrics: list[TtsMetrics] = []
        async with tone_engine() as engine:
            engine.on_metrics(metrics.append)
            frames = await down(
                AgentTTSService(engine=engine), [*turn("First. ", "Second. ", "Third."), *turn("Next.")]
            )
        assert len(metrics) == 2
        assert len({frame.context_id for frame in frames if isinstance(frame, TTSAudioRawFrame)}) == 2

    run(story)


def test_each_word_comes_behind_the_chunk_that_ends_it() -> None:
    """In line with the audio, not by the clock: a pause or an underrun must not let words pass that nobody heard."""

    async def story() -> None:
        async with tone_engine() as engine:
            frames = await down(AgentTTSService(engine=engine), turn("One two three."))
        spoken = [type(frame) for frame in frames if isinstance(frame, TTSAudioRawFrame | TTSTextFrame)]
        chunks_before = [
            spoken[:index].count(TTSAudioRawFrame) for index, kind in enumerate(spoken) if kind is TTSTextFrame
        ]
        assert chunks_before == [8, 16, 24], "160 ms a word, 20 ms a chunk"
        assert not any(frame.pts for frame in frames if isinstance(frame, TTSTextFrame))

    run(story)


def test_words_can_be_delayed_by_the_way_to_the_ear() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            frames = await down(AgentTTSService(engine=engine, word_delay_ms=100), turn("One two three."))
        spoken = [type(frame) for frame in frames if isinstance(frame, TTSAudioRawFrame | TTSTextFrame)]
        chunks_before = [
            spoken[:index].count(TTSAudioRawFrame) for index, kind in enumerate(spoken) if kind is TTSTextFrame
        ]
        assert chunks_before[:2] == [13, 21]

    run(story)


def test_tokens_of_one_turn_are_spoken_as_they_were_written() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            service = AgentTTSService(engine=engine, text_aggregation_mode=TextAggregationMode.TOKEN)
            frames = await down(service, turn("Hel", "lo the", "re. How", " are you", "?"))
        assert words(frames) == ["Hello", "there.", "How", "are", "you?"]

    run(story)


def test_nothing_follows_an_interruption_and_the_engine_is_free() -> None:
    async def story() -> None:
        async with tone_engine(ToneRunner(frames_per_word=50)) as engine:
            service = AgentTTSService(engine=engine)
            aborted: asyncio.Future[TtsMetrics] = asyncio.get_running_loop().create_future()

            @service.event_handler("on_utterance_aborted")  # type: ignore[untyped-decorator]
            async def on_aborted(service: AgentTTSService, context_id: str, ack: object, metrics: TtsMetrics) -> None:
                aborted.set_result(metrics)

            async with pipeline_of(service) as (worker, line):
                await worker.queue_frames(turn("This is a long story about " + "very " * 40 + "much."))
                await line.until_seen(TTSAudioRawFrame)
                await worker.queue_frame(InterruptionFrame())
                metrics = await aborted
                await line.until_seen(InterruptionFrame)
                assert engine.stats().open == engine.stats().running == 0
        assert metrics.finish_reason is FinishReason.ABORTED
        assert metrics.generated_audio_ms <= 1000 + 2 * 40, "the lead limit bounds what an abort can waste"
        after = line.frames[[type(frame) for frame in line.frames].index(InterruptionFrame) + 1 :]
        assert not [frame for frame in after if isinstance(frame, TTSAudioRawFrame | TTSTextFrame | TTSStoppedFrame)]

    run(story)


def test_text_that_cannot_be_spoken_ends_cleanly_and_never_mutes_the_service() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            service = AgentTTSService(engine=engine, max_consecutive_zero_audio_contexts=2)
            service_errors: list[object] = []
            service.add_event_handler("on_error", lambda service, error: service_errors.append(error))
            silent = [frame for _ in range(3) for frame in turn("\u200b")]
            frames = await down(service, [*silent, *turn(""), *turn("Still here.")])
        assert not service_errors
        assert words(frames)[-2:] == ["Still", "here."]

    run(story)


def test_a_slow_engine_is_waited_for() -> None:
    """Three contexts of silence in a row mute a service for good; a slow machine may need seconds."""

    async def story() -> None:
        gate = threading.Event()
        async with tone_engine(ToneRunner(gate=gate)) as engine:
            service = AgentTTSService(engine=engine)
            asyncio.get_running_loop().call_later(3.2, gate.set)  # real time is the subject: Pipecat's limit is 3 s
            frames = await down(service, turn("Patience."))
        assert words(frames) == ["Patience."]
        assert len(of(frames, TTSStoppedFrame)) == 1

    run(story)


def fails_after(frames: int) -> ToneRunner:
    """A model that fails once, in the middle of the first reply."""
    seen = itertools.count()
    return ToneRunner(fail_on=lambda row: next(seen) == frames)


@pytest.mark.parametrize("mode", [TextAggregationMode.SENTENCE, TextAggregationMode.TOKEN])
def test_a_model_that_fails_in_a_turn_leaves_in_the_context_what_was_heard(mode: TextAggregationMode) -> None:
    """Pipecat takes the rest of a context without word times for spoken, and the caller's next words answer nothing."""

    async def story() -> None:
        async with tone_engine(fails_after(2 * 4 + 1)) as engine:
            service = AgentTTSService(engine=engine, text_aggregation_mode=mode)
            context = LLMContext()
            assistant = LLMContextAggregatorPair(context).assistant()
            first = [*turn("One two three four. ", "And more of it. ", "And more.")]
            _, up = await run_test(
                Pipeline([service, assistant]), frames_to_send=[*first, SleepFrame(0.2), *turn("Well again.")]
            )
        said = [message["content"] for message in context.messages]
        assert said == ["One two", "Well again."]
        assert len(of(up, ErrorFrame)) == 1, "one word about it, not one for each sentence"

    run(story)


def test_a_turn_that_the_engine_refused_is_one_error_and_no_word_in_the_context() -> None:
    async def story() -> None:
        async with tone_engine(max_waiting=1) as engine, engine.utterance():
            received, up = await run_test(
                AgentTTSService(engine=engine), frames_to_send=turn("No room. ", "Still none.")
            )
        assert words(received) == []
        assert len([frame for frame in of(up, ErrorFrame) if "max_waiting" in frame.error]) == 1

    run(story)


def test_voice_changes_hold_from_the_next_turn_and_an_unknown_voice_is_refused() -> None:
    async def story() -> None:
        voices: list[str] = []
        async with tone_engine() as engine:
            engine.on_metrics(lambda metrics: voices.append(metrics.voice_id))
            service = AgentTTSService(engine=engine)
            change = [TTSUpdateSettingsFrame(delta=AgentTTSSettings(voice=name)) for name in ("other", "nobody")]
            await down(service, [*turn("One."), change[0], *turn("Two."), change[1], *turn("Three.")])
        assert voices == ["default", "other", "other"]

    run(story)


def test_a_speak_frame_is_spoken_whole() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            frames = await down(AgentTTSService(engine=engine), [TTSSpeakFrame("Hold the line, please.")])
        assert words(frames) == ["Hold", "the", "line,", "please."]
        assert of(frames, AggregatedTextFrame)

    run(story)


def test_metrics_name_ttfb_ttfa_and_characters() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            params = PipelineParams(enable_metrics=True, enable_usage_metrics=True)
            frames = await down(AgentTTSService(engine=engine), turn("Count me."), pipeline_params=params)
        seen = {type(item).__name__ for frame in frames if isinstance(frame, MetricsFrame) for item in frame.data}
        assert {"TTFBMetricsData", "TTFAMetricsData", "TTSUsageMetricsData"} <= seen

    run(story)


def test_the_end_of_the_pipeline_does_not_wait_for_text_that_never_ends() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            frames = await down(
                AgentTTSService(engine=engine), [LLMFullResponseStartFrame(), LLMTextFrame("One. Two.")]
            )
        assert words(frames) == ["One."], "Pipecat ends the service before it flushes the rest of an open turn"

    run(story)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "tcp://there:1"),
        ({"settings": AgentTTSSettings(model="named"), "config": EngineConfig(model="other")}, "named"),
        ({"config": EngineConfig(model="other")}, "other"),
        ({"config": EngineConfig(max_slots=2)}, "tcp://there:1"),
    ],
)
def test_the_model_is_the_one_that_is_named_then_the_configs_then_the_environments(
    given: dict[str, object], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in LiveKit's adapter. A model in the settings and AGENT_TTS_ENGINE were passed over without a word."""
    monkeypatch.setenv("AGENT_TTS_ENGINE", "tcp://there:1")

    async def story() -> None:
        loaded: list[str | None] = []
        async with tone_engine() as engine:

            async def load(model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
                loaded.append(model)
                return engine

            monkeypatch.setattr(Engine, "load", load)
            await down(AgentTTSService(**given), turn("Hello."))  # type: ignore[arg-type]
        assert loaded == [expected]

    run(story)


def test_a_model_cannot_change_while_the_pipeline_runs() -> None:
    """Metrics named the new one; the old one went on speaking."""

    async def story() -> None:
        async with tone_engine() as engine:
            service = AgentTTSService(engine=engine)
            change = TTSUpdateSettingsFrame(delta=AgentTTSSettings(model="another", voice="other"))
            frames = await down(service, [change, *turn("One.")])
            assert (service._settings.model, service._settings.voice) == ("tone", "other")
        assert words(frames) == ["One."]

    run(story)


def test_cleaning_up_twice_is_harmless() -> None:
    async def story() -> None:
        async with tone_engine() as engine:
            service = AgentTTSService(engine=engine)
            await down(service, turn("One."))
            await service.cleanup()
            assert not engine.closed, "whoever loaded it closes it"

    run(story)


def test_settings_are_complete_in_the_service_and_empty_as_a_delta() -> None:
    from dataclasses import fields

    from pipecat.utils.types import is_given

    service = AgentTTSService(settings=AgentTTSSettings(voice="other"))
    store, delta = service._settings, AgentTTSSettings()
    named = [item.name for item in fields(AgentTTSSettings) if item.name != "extra"]
    assert all(is_given(getattr(store, name)) for name in named)
    assert not any(is_given(getattr(delta, name)) for name in named)
    assert store.voice == "other"
