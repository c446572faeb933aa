"""What a TTS owes whoever uses it, written once and run over the engine, its socket client, LiveKit and Pipecat."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from agent_tts import EngineConfig, FinishReason
from agent_tts.errors import EngineUnavailableError
from tests.contract.speakers import KINDS, Said, Speaker, SpellingRunner, Stage, Trouble

# Pipecat and what it imports warn about their own deprecations.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.filterwarnings("error:.*agent_tts.*")]

TEXT = "Hello there, my good friend. How are you today?"
LONG = "This is a long story about many small things. " * 20
SOON_S = 20.0

OpenStage = Callable[..., AsyncIterator[Stage]]


@pytest.fixture(params=KINDS)
def stage(request):
    """Opens an engine and what speaks with it; when it is left everything has been given back."""
    kind = KINDS[request.param]
    if kind.needs and importlib.util.find_spec(kind.needs.split(".")[0]) is None:
        pytest.skip(f"needs {kind.needs}")

    @asynccontextmanager
    async def opened(runner: SpellingRunner | None = None, config: EngineConfig | None = None) -> AsyncIterator[Stage]:
        async with asyncio.timeout(SOON_S), kind.stage(runner or SpellingRunner(), config) as stage:
            yield stage
            await stage.let_go()

    return opened


def check_frames(said: Said, speaker: Speaker) -> None:
    """20 ms each at the engine's rate. LiveKit keeps 10 ms back until the last, or until it fears to run dry."""
    size = speaker.engine.sample_rate // 50
    halves = {size // 2, size} if speaker.held_back_ms else {size}
    assert {len(frame) for frame in said.frames} <= halves
    assert len(said.pcm) % size == 0


async def test_text_becomes_frames_of_20_ms_at_the_engines_rate(stage):
    async with stage() as on, on.speaker() as speaker:
        said = await speaker.say(TEXT)
        assert said.error is None
        assert np.abs(said.pcm).max() > 1000
        spoken = len(TEXT.split()) * 4 * 960
        assert spoken <= len(said.pcm) <= spoken + 480, "the last one may be padded"
        check_frames(said, speaker)


@pytest.mark.parametrize("pieces", [(), ("",), (" ", "\n")])
async def test_nothing_to_say_ends_clean_and_emits_nothing(stage, pieces):
    async with stage() as on, on.speaker() as speaker:
        said = await speaker.say(*pieces)
        assert (said.error, said.words, len(said.frames)) == (None, [], 0)
        assert len((await speaker.say("Still here.")).frames) > 0


@pytest.mark.parametrize("cut", ["characters", "words", "odd"])
async def test_the_audio_does_not_depend_on_how_the_text_arrives(stage, cut):
    pieces = {
        "characters": list(TEXT),
        "words": [f"{word} " for word in TEXT.split()],
        "odd": [TEXT[:3], TEXT[3:4], TEXT[4:31], TEXT[31:]],
    }[cut]
    async with stage() as on, on.speaker() as speaker:
        whole, piecewise = await speaker.say(TEXT), await speaker.say(*pieces)
        assert (whole.pcm == piecewise.pcm).all()
        assert whole.words == piecewise.words


async def test_words_are_complete_and_their_times_increase_and_lie_in_the_audio(stage):
    async with stage() as on, on.speaker() as speaker:
        said = await speaker.say(TEXT)
        assert [word.text for word in said.words] == TEXT.split()
        ends = [word.end_ms for word in said.words]
        assert all(before < after for before, after in itertools.pairwise(ends))
        assert ends[0] > 0
        assert ends[-1] <= 1000 * len(said.pcm) / speaker.engine.sample_rate


async def test_utterances_at_once_do_not_mix(stage):
    texts = {"default": "one two three four", "other": "five six seven eight nine"}
    gate = threading.Event()
    async with (
        stage(SpellingRunner(gate=gate)) as on,
        on.speaker("default") as one,
        on.speaker("other") as two,
    ):
        gate.set()
        alone = [await one.say(texts["default"]), await two.say(texts["other"])]
        await on.let_go()
        gate.clear()
        both = asyncio.gather(one.say(texts["default"]), two.say(texts["other"]))
        while on.engine.stats().open < 2:  # noqa: ASYNC110 - so that steps have both of them
            await asyncio.sleep(0)
        gate.set()
        together = await both
        for expected, heard in zip(alone, together, strict=True):
            assert (expected.pcm == heard.pcm).all()
            assert expected.words == heard.words
        assert not (alone[0].pcm[:960] == alone[1].pcm[:960]).all(), "the voices must differ for this to tell"


async def test_after_an_interruption_nothing_comes_and_the_next_utterance_is_whole(stage):
    async with stage() as on, on.speaker() as speaker:
        expected = await speaker.say(TEXT)
        async with speaker.speech() as speech:
            await speech.push(LONG)
            for _ in range(5):
                assert await speech.next() is not None
            await speech.stop()
            heard = len(speech.said.frames)
            await speech.rest()
            assert len(speech.said.frames) == heard
            assert speech.said.error is None
        await on.let_go()
        assert (await speaker.say(TEXT)).pcm.tobytes() == expected.pcm.tobytes()


async def test_interrupted_speech_has_metrics_too(stage):
    async with stage() as on, on.speaker() as speaker:
        async with speaker.speech() as speech:
            await speech.push(LONG)
            await speech.next()
            await speech.stop()
        metrics = await speaker.metrics.get()
        assert metrics.finish_reason is FinishReason.ABORTED
        assert metrics.cancellation_latency_ms is not None
        assert metrics.delivered_audio_ms <= metrics.generated_audio_ms
        assert metrics.ttfa_first_frame_ms is not None
        await speaker.say(TEXT)
        assert (await speaker.metrics.get()).finish_reason is FinishReason.COMPLETED


async def test_a_pause_loses_no_sample(stage):
    async with stage() as on, on.speaker() as speaker:
        unbroken = await speaker.say(TEXT)
        async with speaker.speech() as speech:
            await speech.push(TEXT)
            await speech.end()
            await speech.next()
            for _ in range(3):
                speech.pause()
                await asyncio.sleep(0)
                speech.resume()
                await speech.next()
            assert (await speech.rest()).pcm.tobytes() == unbroken.pcm.tobytes()


async def test_a_failing_model_is_a_typed_error_without_the_text_and_the_next_utterance_is_well(stage):
    failing = [True]
    async with stage(SpellingRunner(fail_on=lambda row: failing[0])) as on, on.speaker() as speaker:
        said = await speaker.say("confidential words")
        assert speaker.is_error(said.error, Trouble.FAILED), said.error
        assert "confidential" not in f"{said.error!r} {said.error}"
        failing[0] = False
        await on.let_go()
        assert (await speaker.say("well again")).error is None


async def test_a_full_engine_is_a_typed_error(stage):
    async with stage(config=EngineConfig(max_waiting=1)) as on, on.speaker() as speaker:
        async with on.engine.utterance():
            said = await speaker.say(TEXT)
        assert speaker.is_error(said.error, Trouble.BUSY), said.error
        assert "max_waiting is 1" in f"{said.error!r} {said.error}"


async def test_an_unknown_voice_is_a_typed_error_that_names_those_there_are(stage):
    async with stage() as on, on.speaker("nobody") as speaker:
        said = await speaker.say(TEXT)
        assert speaker.is_error(said.error, Trouble.UNKNOWN_VOICE), said.error
        assert "'default', 'other'" in f"{said.error!r} {said.error}"


async def test_a_closed_engine_is_a_typed_error(stage):
    async with stage() as on, on.speaker() as speaker:
        await on.engine.close()
        said = await speaker.say(TEXT)
        assert speaker.is_error(said.error, Trouble.CLOSED), said.error


async def test_a_thread_that_dies_in_the_middle_is_a_typed_error(stage):
    frames = itertools.count()

    def die(plan: object) -> None:
        if next(frames) == 10:
            raise SystemExit  # what no step survives

    async with stage(SpellingRunner(on_step=die)) as on, on.speaker() as speaker:
        for text in (LONG, TEXT, TEXT, TEXT, TEXT):  # each turn ends, and says it anew
            said = await speaker.say(text)
            assert len(said.frames) > 1 or text is TEXT
            elsewhere = isinstance(said.error, EngineUnavailableError)  # another one may be started at its address
            assert elsewhere or speaker.is_error(said.error, Trouble.CLOSED), said.error
            assert text is LONG or (said.words, len(said.frames)) == ([], 0)


async def test_an_engine_that_is_closed_in_the_middle_ends_the_utterance_as_an_abort_does(stage):
    async with stage() as on, on.speaker() as speaker:
        async with speaker.speech() as speech:
            await speech.push(LONG)
            await speech.next()
            await on.engine.close()
            await speech.end()
            assert (await speech.rest()).error is None
        assert speaker.is_error((await speaker.say(TEXT)).error, Trouble.CLOSED)


async def test_a_reply_of_ten_thousand_characters_is_spoken_whole(stage):
    text = (("sentences " * 9 + "they end. ") * 100).strip()
    fast = EngineConfig(lead_ms=1e6, num_pages=1024)
    async with stage(SpellingRunner(frames_per_word=1), fast) as on, on.speaker() as speaker:
        said = await speaker.say(*(text[at : at + 700] for at in range(0, len(text), 700)))
        assert said.error is None
        assert [word.text for word in said.words] == text.split()
        assert len(said.pcm) >= len(text.split()) * 960


@pytest.mark.parametrize(
    "text",
    [
        "**Bold**, _so_ to say. \U0001f600",
        "See https://example.com/a?b=1&c=2 now.",
        "It is $3.50, or 100%.",
        "a\n\n- b\n",
    ],
    ids=["markup", "address", "numbers", "lines"],
)
async def test_every_word_of_odd_text_has_its_time(stage, text):
    async with stage() as on, on.speaker() as speaker:
        said = await speaker.say(text)
        assert said.error is None
        assert "".join(word.text for word in said.words).split() == "".join(text.split()).split()


async def test_callers_who_share_an_engine_end_apart(stage):
    async with stage() as on, on.speaker() as staying:
        alone = await staying.say(TEXT)
        async with staying.speech() as speech:
            await speech.push(TEXT)
            await speech.next()
            async with on.speaker() as leaving, leaving.speech() as other:
                await other.push(LONG)
                await other.next()
                await other.stop()
            await speech.end()
            assert (await speech.rest()).pcm.tobytes() == alone.pcm.tobytes()


async def test_a_script_that_the_voice_cannot_read_is_silent_and_said_in_the_log(stage, caplog):
    """A reply in Chinese was silence, and nothing told why."""
    async with stage(SpellingRunner(frames_per_word=0)) as on, on.speaker() as speaker:
        said = await speaker.say("\u4f60\u597d")
        assert said.error is None
        assert not said.pcm.any()
        await speaker.say("...")
        await on.let_go()
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    (warning,) = {text for text in warnings if "script" in text}
    assert warning.startswith("voice default can say none of")
