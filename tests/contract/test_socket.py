"""What the second door adds to the contract: leases, a connection that breaks and comes back, bad clients.

Server and clients run on one event loop here, over real unix and TCP sockets; tests/e2e has them in processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import stat
from contextlib import asynccontextmanager
from dataclasses import fields

import numpy as np
import pytest

from agent_tts import Engine, EngineConfig, FinishReason
from agent_tts.errors import ConfigError, EngineBusyError, EngineUnavailableError, GenerationError
from agent_tts.remote import wire
from agent_tts.remote.address import Address, parse_address, unix_address
from agent_tts.remote.values import RANGES, Welcome, welcome_to_json
from agent_tts.remote.wire import Kind, pack, pack_json
from agent_tts.server.engine_server import EngineServer
from agent_tts.server.listening import listen_on
from agent_tts.server.session import Limits
from agent_tts.types import AudioChunk, EngineStats
from tests.doors import serving
from tests.fakes import ToneRunner

LONG = "word " * 100
NOTHING = EngineStats(**{item.name: 0 for item in fields(EngineStats)})
SOON_S = 5.0
"""Nothing here may take longer; it is a limit for a broken build, not a measurement."""


@asynccontextmanager
async def client_of(server: EngineServer, options: str = ""):
    async with await Engine.load(f"{server.addresses[0]}{options}") as client:
        yield client


async def eventually(condition) -> None:
    """Return when the condition holds: an order of events, not a time."""
    for _ in range(int(SOON_S / 0.002)):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it never came to that")


def mode_of(path: str) -> int | None:
    """Permissions of a file, None when there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


async def hear(utterance, count: int) -> list[AudioChunk]:
    stream = aiter(utterance)
    return [await anext(stream) for _ in range(count)]


class RawClient:
    """A client that says whatever a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def connect(cls, address: Address, *, greet: bool = True):
        if address.is_unix:
            raw = cls(*await asyncio.open_unix_connection(address.path))
        else:
            raw = cls(*await asyncio.open_connection(address.host, address.port))
        try:
            if greet:
                raw.writer.write(pack_json(Kind.HELLO, 0, {"agent_tts": wire.PROTOCOL}))
                assert (await wire.read_message(raw.reader)).kind is Kind.WELCOME
            yield raw
        finally:
            raw.writer.transport.abort()
            await asyncio.sleep(0)

    def open(self, number: int, **changes) -> None:
        order = {"utterance_id": f"raw-{number}", "voice": "default", "sampling": {}, "lead_ms": None}
        self.writer.write(pack_json(Kind.OPEN, number, order | changes))

    async def next(self, *kinds: Kind):
        """The next message of these kinds; others are read over. None at the end."""
        async with asyncio.timeout(SOON_S):
            while (message := await wire.read_message(self.reader)) is not None:
                if message.kind in kinds:
                    return message
        return None

    async def refusal(self) -> str:
        """Why the server refused us; and it has closed the connection."""
        message = await self.next(Kind.REFUSED)
        assert message is not None, "closed without a word"
        assert await self.next(*Kind) is None
        return wire.read_json(message)["reason"]


# -- abort ------------------------------------------------------------------------------------------------------------


async def test_an_abort_is_measured_on_both_sides_and_only_what_was_delivered_counts():
    async with serving(ToneRunner()) as (engine, server), client_of(server) as client:
        utterance = client.utterance()
        utterance.push_text(LONG)
        await hear(utterance, 5)
        metrics = await utterance.abort().released()
        assert metrics.delivered_audio_ms == 100
        assert 0 <= metrics.engine_cancellation_ms <= metrics.cancellation_latency_ms
        assert metrics.frames_wasted == (metrics.generated_audio_ms - 100) // 40
        assert engine.stats().free_slots == engine.stats().total_slots


async def test_chunks_that_were_on_their_way_when_it_was_aborted_are_dropped():
    """A server that goes on sending after the abort: its chunks must not reach anyone, not even the next utterance."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        welcome = Welcome(24_000, 40.0, "late", ("default",), 8, 0.5, NOTHING)
        await wire.read_message(reader)
        writer.write(pack_json(Kind.WELCOME, 0, welcome_to_json(welcome)))
        while (message := await wire.read_message(reader)) is not None:
            chunk = AudioChunk("", "", np.full(480, message.number, np.int16), 24_000, 0, 0.0, 0, 480, False)
            if message.kind is Kind.OPEN:
                writer.write(wire.pack_audio(message.number, chunk))
            if message.kind is Kind.ABORT:
                writer.write(wire.pack_audio(message.number, chunk) * 20)
                writer.write(pack_json(Kind.ENDED, message.number, {"error": None}))
                nothing = {"stats": welcome_to_json(welcome)["stats"], "metrics": None}
                writer.write(pack_json(Kind.RELEASED, message.number, nothing))
                writer.write(wire.pack_audio(message.number, chunk) * 20)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with await Engine.load(f"tcp://127.0.0.1:{port}") as client:
        first = client.utterance()
        await hear(first, 1)
        ack = first.abort()
        assert [chunk async for chunk in first] == []
        await ack.released()
        second = client.utterance()
        (chunk,) = await hear(second, 1)
        assert set(chunk.pcm) == {2}
    server.close()


async def test_an_abort_stops_the_engine_although_the_client_reads_nothing():
    async with (
        serving(ToneRunner(), EngineConfig(max_slots=1)) as (engine, server),
        RawClient.connect(server.addresses[0]) as raw,
    ):
        raw.open(1)
        raw.writer.write(wire.text_messages(1, LONG))
        await eventually(lambda: engine.stats().running == 1 and engine.stats().frames)
        raw.writer.write(pack(Kind.ABORT, 1))
        await eventually(lambda: engine.stats().free_slots == 1 and engine.stats().open == 0)


# -- leases -----------------------------------------------------------------------------------------------------------


async def test_a_client_that_vanishes_gives_its_slots_back_and_disturbs_nobody():
    async with serving(ToneRunner(), EngineConfig(max_slots=4)) as (engine, server), client_of(server) as well:
        utterance = well.utterance(lead_ms=60_000)
        utterance.push_text("hello there")
        async with RawClient.connect(server.addresses[0]) as raw:
            for number in (1, 2, 3):
                raw.open(number)
                raw.writer.write(wire.text_messages(number, LONG))
            await eventually(lambda: engine.stats().free_slots == 0)
        await eventually(lambda: engine.stats().free_slots == 3 and server.num_clients == 1)
        utterance.end_text()
        assert len([chunk async for chunk in utterance]) == 17
        await utterance.released()
        assert engine.stats().free_pages == engine.stats().total_pages


async def test_a_silent_tcp_client_loses_its_lease():
    async with serving(ToneRunner(), limits=Limits(lease_s=0.1)) as (engine, _):
        server = EngineServer(engine, Limits(lease_s=0.1))
        await server.start([parse_address("tcp://127.0.0.1:0")])
        async with RawClient.connect(server.addresses[0]) as raw:
            raw.open(1)
            assert "silent" in await raw.refusal()
            await eventually(lambda: engine.stats().open == 0)
        async with await Engine.load(str(server.addresses[0])) as client:
            utterance = client.utterance()
            await asyncio.sleep(
                0.3
            )  # real time is the subject: pings keep the lease of a client that has nothing to say
            utterance.push_text("still here ")
            assert await hear(utterance, 1)
        await server.close()


async def test_who_listens_to_nothing_is_generated_no_further_than_the_lead():
    async with serving(ToneRunner()) as (engine, server), client_of(server) as client:
        utterance = client.utterance(lead_ms=400)
        utterance.push_text(LONG)
        await eventually(lambda: utterance.generated_ms >= 400)
        await asyncio.sleep(0.1)  # real time is the subject: nobody took a chunk, so no time passes for the listener
        assert engine.stats().frames == 10
        await hear(utterance, 2)
        await eventually(lambda: engine.stats().frames > 10)


async def test_a_client_that_does_not_read_stops_only_itself_and_is_hung_up_on():
    limits = Limits(stall_s=0.3)
    async with (
        serving(ToneRunner(), limits=limits) as (engine, server),
        client_of(server) as well,
        RawClient.connect(server.addresses[0]) as raw,
    ):
        raw.reader._transport.pause_reading()
        for number in range(1, 4):
            raw.open(number, lead_ms=1e9)
            raw.writer.write(wire.text_messages(number, "word " * 800))
        await eventually(lambda: engine.stats().running == 3)
        for _ in range(20):
            utterance = well.utterance(lead_ms=60_000)
            utterance.push_text("hello there")
            utterance.end_text()
            assert len([chunk async for chunk in utterance]) == 17
        await eventually(lambda: server.num_clients == 1)
        await eventually(lambda: engine.stats().free_slots == engine.stats().total_slots)


# -- a connection that breaks -----------------------------------------------------------------------------------------


async def test_when_the_server_dies_utterances_end_with_a_typed_error_and_the_client_comes_back():
    runner = ToneRunner()
    async with serving(runner) as (engine, server), client_of(server) as client:
        address = server.addresses[0]
        speaking, waiting, aborted = (client.utterance() for _ in range(3))
        speaking.push_text(LONG)
        stream = aiter(speaking)
        await anext(stream)
        ack = aborted.abort()
        await server.close()
        with pytest.raises(EngineUnavailableError, match=r"closed the connection"):
            _ = [chunk async for chunk in stream]
        with pytest.raises(EngineUnavailableError):
            await hear(waiting, 1)
        assert (await ack.released()).finish_reason is FinishReason.ABORTED
        assert (await speaking.released()).finish_reason is FinishReason.FAILED
        with pytest.raises(EngineUnavailableError, match="connecting again"):
            client.utterance()
        assert client.stats().free_slots == 0
        assert not client.closed
        speaking.push_text("into the void")
        speaking.pause()
        speaking.resume()

        again = EngineServer(engine)
        await again.start([address])
        await eventually(lambda: client._door.connected)
        utterance = client.utterance(lead_ms=60_000)
        utterance.push_text("back")
        utterance.end_text()
        assert len([chunk async for chunk in utterance]) == 9
        await again.close()


async def test_silence_is_a_policy_for_who_would_rather_have_that():
    async with serving(ToneRunner()) as (_, server), client_of(server, "?when_lost=silence") as client:
        utterance = client.utterance()
        utterance.push_text(LONG)
        stream = aiter(utterance)
        await anext(stream)
        await server.close()
        rest = [chunk async for chunk in stream]
        assert rest[-1].is_final
        assert (await utterance.released()).finish_reason is FinishReason.FAILED
        with pytest.raises(EngineUnavailableError):
            client.utterance()


async def test_a_server_that_says_nothing_more_is_noticed():
    async def freeze(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.read_message(reader)
        welcome = Welcome(24_000, 40.0, "frozen", ("default",), 8, 0.5, NOTHING)
        writer.write(pack_json(Kind.WELCOME, 0, welcome_to_json(welcome)))
        while await reader.read(1024):
            pass
        writer.close()

    server = await asyncio.start_server(freeze, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with await Engine.load(f"tcp://127.0.0.1:{port}?timeout_s=0.2") as client:
        utterance = client.utterance()
        utterance.push_text("anyone? ")
        with pytest.raises(EngineUnavailableError, match=r"silent for 0\.2 s"):
            await asyncio.wait_for(hear(utterance, 1), SOON_S)
    server.close()


async def test_an_engine_that_ends_takes_its_server_along_and_says_so_to_its_clients():
    async with serving(ToneRunner()) as (engine, server), client_of(server) as client:
        utterance = client.utterance()
        utterance.push_text(LONG)
        stream = aiter(utterance)
        await anext(stream)
        await engine.close()
        await asyncio.wait_for(server.wait_for_engine(), SOON_S)
        with pytest.raises(EngineUnavailableError, match="shutting down"):
            _ = [chunk async for chunk in stream]


async def test_nobody_at_the_address_is_said_at_once():
    with pytest.raises(EngineUnavailableError, match=r"No engine at unix:///nowhere/engine\.sock: No such file"):
        await Engine.load("unix:///nowhere/engine.sock")
    with pytest.raises(EngineUnavailableError, match=r"tcp://127\.0\.0\.1:1"):
        await Engine.load("tcp://127.0.0.1:1")


async def test_what_is_no_engine_server_is_refused_by_the_client():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    with pytest.raises(EngineUnavailableError, match="does not speak our protocol"):
        await Engine.load(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()


# -- many clients -----------------------------------------------------------------------------------------------------


async def test_clients_do_not_mix_even_under_one_name_and_hear_their_own():
    async with (
        serving(ToneRunner(), EngineConfig(max_slots=2)) as (_, server),
        client_of(server) as one,
        client_of(server) as two,
    ):
        utterances = [client.utterance(utterance_id="same", lead_ms=60_000) for client in (one, two)]
        for words, utterance in enumerate(utterances, start=1):
            utterance.push_text("word " * words)
            utterance.end_text()
        heard = [[chunk async for chunk in utterance] for utterance in utterances]
        assert [sum(chunk.num_samples for chunk in chunks) for chunks in heard] == [4 * 960, 8 * 960]
        assert {chunk.utterance_id for chunks in heard for chunk in chunks} == {"same"}


async def test_an_engine_that_others_have_filled_says_so():
    async with (
        serving(ToneRunner(), EngineConfig(max_waiting=1)) as (_, server),
        client_of(server) as one,
        client_of(server) as two,
    ):
        first = one.utterance()
        first.push_text("hello ")
        await hear(first, 1)
        with pytest.raises(EngineBusyError, match="max_waiting is 1"):
            await hear(two.utterance(), 1)
        await first.abort().released()
        assert await eventually_speaks(two)


async def eventually_speaks(client: Engine) -> bool:
    utterance = client.utterance()
    utterance.push_text("hello ")
    return bool(await hear(utterance, 1))


async def test_free_slots_are_told_to_clients_that_ask_for_nothing_else():
    limits = Limits(heartbeat_s=0.02)
    async with (
        serving(ToneRunner(), EngineConfig(max_slots=2), limits) as (_, server),
        client_of(server) as busy,
        client_of(server) as watcher,
    ):
        assert watcher.stats().free_slots == 2
        utterance = busy.utterance()
        utterance.push_text("hello ")
        await eventually(lambda: watcher.stats().free_slots == 1)
        await utterance.abort().released()
        assert busy.stats().free_slots == 2
        await eventually(lambda: watcher.stats().free_slots == 2)


async def test_a_model_that_fails_is_a_typed_error_with_nothing_of_the_text_in_it():
    runner = ToneRunner(fail_on=lambda row: row.request_id == "bad")
    async with serving(runner) as (_, server), client_of(server) as client:
        utterance = client.utterance(utterance_id="bad")
        utterance.push_text("confidential ")
        with pytest.raises(GenerationError) as caught:
            await hear(utterance, 1)
        assert "confidential" not in str(caught.value)
        assert await eventually_speaks(client)


async def test_one_client_more_than_allowed_is_refused():
    async with serving(ToneRunner(), limits=Limits(max_clients=1)) as (_, server), client_of(server):
        with pytest.raises(EngineUnavailableError):
            await Engine.load(str(server.addresses[0]))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 40,
        pack(Kind.PING),
        pack(Kind.HELLO, 0, b"not json"),
        pack(Kind.HELLO, 0, b"[1]"),
        pack(Kind.HELLO, 0, b"{" * 1000),
        pack(Kind.HELLO, 0, b" " * 2000),
    ],
)
async def test_garbage_in_place_of_hello_gets_one_line_and_the_end(garbage):
    async with serving(ToneRunner()) as (_, server), client_of(server) as well:
        async with RawClient.connect(server.addresses[0], greet=False) as raw:
            raw.writer.write(garbage)
            answer = await asyncio.wait_for(raw.reader.read(), SOON_S)
            assert answer.startswith(b"agent-tts refuses this connection: ")
            assert answer.count(b"\n") == 1
        assert await eventually_speaks(well)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff" * 9, "a message of 4294967295 bytes"),
        (pack(Kind.TEXT, 1, b" " * 40_000), "a message of 40000 bytes"),
        (b"\0\0\0\0\x63\0\0\0\0", "unknown kind 99"),
        (pack(Kind.AUDIO, 1), "AUDIO is not for a client to send"),
        (pack(Kind.OPEN, 2, b"{}"), "OPEN message that is not whole"),
        (pack(Kind.OPEN, 2, b'{"lead_ms": NaN}'), "not JSON"),
        (pack(Kind.TEXT, 1, b"\xff\xfe"), "not UTF-8"),
        (pack(Kind.PLAYOUT, 1, b"123"), "not one number"),
        (wire.pack_playout(1, float("nan")), "position is not possible"),
        (wire.pack_playout(1, -5.0), "position is not possible"),
        (pack_json(Kind.OPEN, 0, {}), "number 0, which is taken"),
        (pack_json(Kind.OPEN, 1, {}), "number 1, which is taken"),
        (wire.text_messages(1, "x" * 4096) * 250, "more than 1000000 characters"),
    ],
)
async def test_what_breaks_the_protocol_ends_that_client_only(message, reason):
    async with serving(ToneRunner()) as (engine, server), client_of(server) as well:
        async with RawClient.connect(server.addresses[0]) as raw:
            raw.open(1)
            raw.writer.write(message)
            assert reason in await raw.refusal()
        assert await eventually_speaks(well)
        await eventually(lambda: engine.stats().running <= 1)


async def test_no_message_whatever_it_holds_reaches_another_client(caplog):
    """Random messages of every kind: refused, ignored or obeyed, but nothing breaks and nothing of them is logged."""
    generator = random.Random(11)
    async with serving(ToneRunner()) as (engine, server), client_of(server) as well:
        for _ in range(100):
            async with RawClient.connect(server.addresses[0]) as raw:
                raw.open(1)
                raw.writer.write(wire.text_messages(1, "hello "))
                for _ in range(8):
                    payload = generator.choice([b"", b"secret", b'{"voice":"secret"}', generator.randbytes(8)])
                    raw.writer.write(pack(generator.choice(list(Kind)), generator.randrange(3), payload))
        assert await eventually_speaks(well)
        await eventually(lambda: server.num_clients == 1 and engine.stats().running == 1)
        assert engine.stats().failed == 0
        assert not [record for record in caplog.records if record.exc_info or "secret" in record.getMessage()]


async def test_a_flood_of_openings_is_refused_one_by_one_and_disturbs_nobody():
    async with (
        serving(ToneRunner(), EngineConfig(max_slots=2, max_waiting=8)) as (engine, server),
        client_of(server) as well,
        RawClient.connect(server.addresses[0]) as raw,
    ):
        mine = well.utterance(lead_ms=60_000)
        mine.push_text("hello there")
        await eventually(lambda: engine.stats().open == 1)
        for number in range(1, 1001):
            raw.open(number)
        refusals = []
        while len(refusals) < 1000 - 7:
            failure = wire.read_json(await raw.next(Kind.ENDED))["error"]
            refusals.append((failure["kind"], failure["limit"]))
        assert set(refusals) == {("busy", 8)}
        mine.end_text()
        assert len([chunk async for chunk in mine]) == 17
        assert engine.stats().open == 7


async def test_a_client_that_asks_on_and_on_and_reads_no_answer_is_hung_up_on():
    async with serving(ToneRunner()) as (_, server), client_of(server) as well:
        async with RawClient.connect(server.addresses[0]) as raw:
            raw.reader._transport.pause_reading()
            with contextlib.suppress(ConnectionError):
                for number in range(1, 20_000):
                    raw.open(number, voice="nobody")
                    await raw.writer.drain()
            await eventually(lambda: server.num_clients == 1)
        assert await eventually_speaks(well)


async def test_random_bytes_of_many_clients_end_those_clients_only():
    numbers = random.Random(11)
    async with serving(ToneRunner()) as (engine, server), client_of(server) as well:
        mine = well.utterance(lead_ms=60_000)
        mine.push_text("word " * 20)
        mine.end_text()
        for _ in range(200):
            async with RawClient.connect(server.addresses[0]) as raw:
                raw.open(1)
                kind = numbers.choice([*Kind, 0, 255])
                payload = numbers.randbytes(numbers.randrange(200))
                noise = (
                    numbers.randbytes(numbers.randrange(1, 300)),
                    len(payload).to_bytes(4, "big") + bytes([kind]) + (1).to_bytes(4, "big") + payload,
                    pack_json(Kind.OPEN, 2, {"utterance_id": [], "voice": {}, "sampling": 1, "lead_ms": "x"}),
                )
                raw.writer.write(numbers.choice(noise))
                await raw.writer.drain()
        assert len([chunk async for chunk in mine]) == 20 * 4 * 2 + 1
        await eventually(lambda: server.num_clients == 1 and engine.stats().open == 0)
        assert engine.stats().free_pages == engine.stats().total_pages


async def test_another_version_is_told_which_one_is_spoken():
    async with serving(ToneRunner()) as (_, server), RawClient.connect(server.addresses[0], greet=False) as raw:
        raw.writer.write(pack_json(Kind.HELLO, 0, {"agent_tts": 999}))
        assert "speaks protocol 1" in await raw.refusal()


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": {"temperature": "hot"}},
        {"sampling": {"temperature": -1}},
        {"sampling": {"top_k": 1.5}},
        {"sampling": {"seed": True}},
        {"sampling": {"seed": 2**70}},
        {"sampling": {"warmth": 1}},
        {"lead_ms": -1},
        {"lead_ms": "long"},
        {"voice": ["default"]},
        {"voice": "x" * 1000},
        {"utterance_id": ""},
    ],
)
async def test_a_wish_that_cannot_be_met_is_an_error_of_that_utterance_only(changes):
    """A value of the wrong type must never reach a step: it is shared with other clients."""
    async with serving(ToneRunner()) as (engine, server), RawClient.connect(server.addresses[0]) as raw:
        raw.open(1, **changes)
        ended = await raw.next(Kind.ENDED)
        assert wire.read_json(ended)["error"]["kind"] == "config"
        assert await raw.next(Kind.RELEASED)
        raw.open(2)
        raw.writer.write(wire.text_messages(2, "hello "))
        assert await raw.next(Kind.AUDIO)
        assert engine.stats().failed == 0
    assert {"seed", "top_k", "lead_ms"} <= set(RANGES)


async def test_messages_for_an_utterance_that_is_gone_are_late_not_wrong():
    async with serving(ToneRunner()) as (_, server), RawClient.connect(server.addresses[0]) as raw:
        raw.open(1)
        raw.writer.write(pack(Kind.ABORT, 1) + pack(Kind.END, 1) + wire.text_messages(1, "late") + pack(Kind.FLUSH, 1))
        assert await raw.next(Kind.RELEASED)
        late = (Kind.ABORT, Kind.END, Kind.FLUSH, Kind.PAUSE, Kind.RESUME)
        raw.writer.write(b"".join(pack(kind, 1) for kind in late))
        raw.open(1)
        raw.writer.write(wire.text_messages(1, "hello "))
        assert await raw.next(Kind.AUDIO)


async def test_who_never_says_hello_is_not_waited_for():
    async with (
        serving(ToneRunner(), limits=Limits(hello_s=0.05)) as (_, server),
        RawClient.connect(server.addresses[0], greet=False) as raw,
    ):
        assert b"silent" in await asyncio.wait_for(raw.reader.read(), SOON_S)


# -- the socket file --------------------------------------------------------------------------------------------------


async def test_the_socket_belongs_to_its_owner_alone_and_goes_with_its_server():
    async with serving(ToneRunner()) as (_, server):
        path = server.addresses[0].path
        assert mode_of(path) == 0o600
        await server.close()
        assert mode_of(path) is None


async def test_a_stale_socket_is_replaced_and_a_live_one_refused():
    async with serving(ToneRunner()) as (engine, server):
        address = server.addresses[0]
        with pytest.raises(ConfigError, match="A server listens on"):
            await EngineServer(engine).start([address])
        await server.close()
        left_behind = listen_on(address)
        left_behind.sock.close()  # as if killed: the file stays
        assert mode_of(address.path) == 0o600
        again = EngineServer(engine)
        await again.start([address])
        async with client_of(again) as client:
            assert await eventually_speaks(client)
        await again.close()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="not a socket"):
        listen_on(Address(path=str(path)))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:0", "tcp://192.168.1.1:0", "tcp://example.test:0"])
def test_tcp_is_for_this_machine_unless_one_insists(text):
    with pytest.raises(ConfigError, match="--trust-network"):
        listen_on(parse_address(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://x:1", "neither unix:// nor tcp://"),
        ("tcp://localhost", "no host and port"),
        ("tcp://:80", "no host and port"),
        ("tcp://x:99999999", "no host and port"),
        ("unix://relative.sock", "not absolute"),
        ("unix:///" + "x" * 120, "121 bytes; 107 are allowed"),
        ("unix:///a.sock?whenlost=error", "Did you mean 'when_lost'"),
        ("unix:///a.sock?when_lost=panic", "allowed: error, silence"),
        ("unix:///a.sock?timeout_s=soon", "seconds from 0.1 to 3600"),
    ],
)
def test_an_address_that_is_none_says_what_is_wrong(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_address(text)


def test_addresses_read_as_they_were_written():
    for text in ("unix:///run/agent-tts.sock", "tcp://127.0.0.1:7788", "tcp://[::1]:7788"):
        assert str(parse_address(text)) == text
    assert parse_address("unix:///a?when_lost=silence&timeout_s=2") == Address("/a", when_lost="silence", timeout_s=2.0)
    assert unix_address("/a").is_unix
