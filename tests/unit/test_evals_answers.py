"""A server that answers as it should not: refused in a sentence that says what to do, or measured for what it says."""

import asyncio

import numpy as np
import pytest

from evals import speaking
from evals.metrics.latency import errors, failures
from evals.metrics.reply import Defect, defect
from evals.peers import answers
from evals.peers.base import PeerUnavailableError
from evals.peers.rate import SpokenRate
from evals.peers.requests import Place, check_template, plain_request
from evals.peers.wav_stream import PcmStream
from evals.peers.wire import WirePeer
from evals.speaking import Manner, speak
from tests.strange_server import RATE, start, tone, wav

TEXT = "Hello there, this is a sentence."


@pytest.fixture
async def address():
    runner, url = await start()
    yield url
    await runner.cleanup()


def peer_at(address: str, way: str, **more: object) -> WirePeer:
    values = {"key": "sk-secret", "key_name": "MY_KEY", "model": "tts-9", "timeout_s": 0.5}
    return WirePeer("openai", f"{address}/{way}", **values | more)


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("html", r"answers text/html; allowed: raw 16-bit PCM or WAV: is --url the API's address\?"),
        ("hidden-html", r"answers HTML under another label.*is --url the API's address"),
        ("hangs", r"stood still \(no byte for 0\.5 s\).*--timeout-s"),
        ("hangs-after-headers", r"stood still \(no byte for 0\.5 s\).*--timeout-s"),
        ("breaks-off", r"connection closed in mid-answer: the server's own log"),
        ("empty", r"has no audio in it"),
        ("silence", r"is silence"),
        ("noise", r"noise and no speech: is it 16-bit"),
        ("mp3", r"answers audio/mpeg; allowed: raw 16-bit PCM or WAV: set the server to that"),
        ("hidden-mp3", r"answers MP3 under another label"),
        ("busy", r"HTTP 429 \(Slow down\.\): too many requests, it asks for 2 s"),
        ("500", r"HTTP 500 \(Out of memory\.\): the server failed; its own log"),
        ("401", r"HTTP 401 \(Incorrect API key provided: <key>\.\): the server refuses the key in MY_KEY.*--key-env"),
        (
            "404",
            r"HTTP 404 \(The model does not exist\. .{100,140}\.\.\.\): is --url right.*--model tts-9 and --voice alto",
        ),
        ("422", r"HTTP 422 \(voice: unknown\): does the server know --model tts-9 and --voice alto\?"),
        ("stereo", r"2 channels, 16 bits; allowed: 16-bit PCM mono: set the server to that"),
        ("8-bit", r"1 channels, 8 bits; allowed"),
        ("raw-48k-wav-24k", r"raw audio at about 48 kHz.*it was read at 24000 Hz: state its --rate"),
        ("endless", r"it does not stop, or is not at 24000 Hz"),
    ],
)
async def test_what_is_no_speech_is_refused_before_anything_is_measured(address, way, says):
    with pytest.raises(PeerUnavailableError, match=says) as refusal:
        await asyncio.wait_for(peer_at(address, way, voices=("alto",)).open(), 20)
    assert "sk-secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("way", "rate"),
    [
        ("well", RATE),
        ("endless-wav", RATE),
        ("wav-per-sentence", RATE),
        ("48k", 48_000),
        ("raw-48k", 48_000),
        ("bytewise", 8_000),
        ("events", RATE),
        ("wav-only", 16_000),
        ("mp3-unless-wav", RATE),
    ],
)
async def test_odd_but_sound_answers_are_measured_for_what_they_say(address, way, rate):
    peer = peer_at(address, way)
    await peer.open()
    record = await speak(peer, TEXT)
    await peer.close()
    assert defect(record) is None
    assert record.sample_rate == rate
    assert record.audio_ms == pytest.approx(60 * len(TEXT), abs=1)
    np.testing.assert_array_equal(record.pcm, np.frombuffer(tone(TEXT, rate), "<i2"))


@pytest.mark.parametrize(
    ("way", "stated", "says"),
    [
        ("48k", 24_000, "audio at 48000 Hz, as the answer itself says, and --rate says 24000: leave --rate out"),
        ("bytewise", 24_000, "audio at 8000 Hz"),
        ("raw-48k", 24_000, "raw audio at 48000 Hz, .* not at 24000: --rate 48000"),
    ],
)
async def test_another_rate_than_stated_is_refused(address, way, stated, says):
    with pytest.raises(PeerUnavailableError, match=says):
        await peer_at(address, way, sample_rate=stated).open()


async def test_a_rate_that_is_stated_and_right_is_taken(address):
    peer = peer_at(address, "raw-48k", sample_rate=48_000)
    await peer.open()
    await peer.close()
    assert (peer.sample_rate, peer.rate_known_by) == (48_000, "as --rate says")


async def test_failures_are_counted_by_what_the_server_said(address):
    peer = peer_at(address, "500-now-and-then")
    await peer.open()
    records = [await speak(peer, f"{number} {TEXT}") for number in range(8)]
    await peer.close()
    assert failures(records)["failed"] == 2
    assert errors(records) == {"HTTP 500": 2}


@pytest.mark.parametrize(("patient", "failed"), [(True, 0), (False, 2)])
async def test_a_busy_server_is_asked_again_only_where_no_time_is_measured(address, patient, failed):
    peer = peer_at(address, "busy-now-and-then", patient=patient)
    await peer.open()
    records = [await speak(peer, f"{number} {TEXT}") for number in range(8)]
    await peer.close()
    assert sum(defect(record) is Defect.FAILED for record in records) == failed


async def test_a_reply_without_end_is_a_runaway_and_is_cut_off(address):
    peer = peer_at(address, "endless")
    peer._session = None
    with pytest.raises(PeerUnavailableError):
        await peer.open()
    import aiohttp

    peer._session = aiohttp.ClientSession()
    record = await asyncio.wait_for(speak(peer, TEXT), 20)
    await peer.close()
    assert defect(record) is Defect.RUNAWAY


async def test_a_reply_that_trickles_is_too_slow(monkeypatch):
    monkeypatch.setattr(speaking, "STUCK_S", 0.05)
    monkeypatch.setattr(speaking, "longest_ms", lambda text: 30.0)

    class Trickle:
        id, words, generated_ms = "one", (), 0.0

        def push_text(self, text): ...

        def end_text(self): ...

        def abort(self): ...

        def facts(self):
            return {}

        async def __aiter__(self):
            while True:
                await asyncio.sleep(0.01)
                yield type("Piece", (), {"pcm": np.zeros(1, np.int16)})()

    class Peer:
        sample_rate = RATE

        def reply(self, *, voice):
            return Trickle()

    record = await asyncio.wait_for(speak(Peer(), TEXT), 10)
    assert record.error == "too slow"


def test_a_header_is_known_to_lie_about_its_length_and_to_tell_it():
    audio = tone("abc")
    for size in (0, 0x7FFF_FFFF, 0xFFFF_FFFF, 100):
        stream = PcmStream()
        np.testing.assert_array_equal(stream.push(wav(audio, size=size)), np.frombuffer(audio, "<i2"))
    stream = PcmStream()
    whole = wav(audio, size=len(audio)) + b"LIST\x04\x00\x00\x00INFO" + wav(audio, size=len(audio))
    got = np.concatenate([stream.push(whole[at : at + 1]) for at in range(len(whole))])
    np.testing.assert_array_equal(got, np.frombuffer(2 * audio, "<i2"))
    with pytest.raises(ValueError, match="they must be equal"):
        stream.push(wav(audio, 8_000))


def test_a_rate_is_found_out_by_the_length_of_two_answers():
    rate = SpokenRate(None, 24_000)
    rate.against(1_000, 1_100, 22_050)
    assert rate.hz == 22_050
    resampled = SpokenRate(24_000, 24_000)
    resampled.against(24_000, 44_100, 44_100)
    assert resampled.hz == 24_000
    with pytest.raises(ValueError, match="about 44 kHz"):
        SpokenRate(24_000, 24_000).against(44_100, 24_000, 24_000)


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        ("", "json", {"text": 'Say "this" {voice}.', "voice": "v"}),
        (
            '{"tts": {"in": "{text}"}, "speaker": "{voice}", "n": 1}',
            "json",
            {"tts": {"in": 'Say "this" {voice}.'}, "speaker": "v", "n": 1},
        ),
        ("tts_text={text}&spk_id={voice}", "form", {"tts_text": 'Say "this" {voice}.', "spk_id": "v"}),
    ],
)
def test_any_server_is_asked_by_a_template(body, kind, sent):
    request = plain_request(Place("http://host/say", "k", body=body), "v", 'Say "this" {voice}.')
    assert (request.kind, request.body, request.headers) == (kind, sent, {"Authorization": "Bearer k"})


def test_a_text_in_the_address_makes_it_a_get():
    request = plain_request(Place("http://host/tts?text={text}&speaker={voice}"), "a b", "One & two?")
    assert (request.kind, request.url) == ("get", "http://host/tts?text=One%20%26%20two%3F&speaker=a%20b")


@pytest.mark.parametrize(("body", "says"), [('{"a": 1}', "no {text}"), ('{"text": "{text}"', "is no JSON")])
def test_a_template_that_cannot_be_asked_with_says_why(body, says):
    with pytest.raises(ValueError, match=says):
        check_template(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"detail": [{"loc": ["voice"], "msg": "field required"}]}', "field required"),
        (b'{"error": "no such voice"}', "no such voice"),
        (b"plain  text\nsk-1", "plain text <key>"),
        (b"<html><head><title>502 Bad Gateway</title>", "a web page, '502 Bad Gateway'"),
        (b'{"error": null}', ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_a_server_s_message_is_found_wherever_it_stands(body, says):
    assert answers.message_of(body, "sk-1") == says


def test_an_address_is_shown_without_what_may_be_secret():
    assert answers.shown("https://me:pass@host/v1?token=abc") == "https://host/v1"


async def test_an_address_without_a_scheme_says_what_one_looks_like():
    with pytest.raises(PeerUnavailableError, match=r"--url has no scheme; such as http://127\.0\.0\.1:8000/v1"):
        await WirePeer("openai", "127.0.0.1:8000/v1").open()


async def test_released_means_that_the_connection_is_closed(address):
    peer = peer_at(address, "endless-wav")
    await peer.open()
    reply = peer.reply()
    reply.push_text("x" * 4_000)
    reply.end_text()
    async for _ in reply:
        reply.abort()
    await reply.released()
    assert not peer._session.connector._acquired
    await peer.close()
    assert Manner().voice == "default"
