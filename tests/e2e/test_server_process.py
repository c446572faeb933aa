"""The engine in a process of its own: what either side does when the other is killed, stopped or told to go."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent_tts import Engine, FinishReason
from agent_tts.errors import EngineUnavailableError
from agent_tts.remote.process import EngineProcess
from tests import doors
from tests.doors import tone_command

ROOT = Path(__file__).resolve().parents[2]
SOON_S = 30.0
"""A limit for a broken build, not a measurement."""
LONG = "word " * 200
CLIENT = """
import asyncio, sys
from agent_tts import Engine

async def main():
    async with await Engine.load(sys.argv[1]) as engine:
        utterance = engine.utterance(lead_ms=60_000)
        utterance.push_text("word " * int(sys.argv[2]))
        if sys.argv[2] == "2":
            utterance.end_text()
        count = 0
        async for chunk in utterance:
            count += 1
            if count == 4:
                print("speaking", flush=True)
        print(count, "torch" in sys.modules, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def address():
    with tempfile.TemporaryDirectory(prefix="agent-tts-") as folder:
        yield f"unix://{folder}/engine.sock"


def has_file(address: str) -> bool:
    return Path(address.removeprefix("unix://")).exists()


@asynccontextmanager
async def engine_process(address: str, *options: str):
    """The server as a child that takes clients."""
    async with doors.engine_process(address, *options) as process:
        await eventually(lambda: has_file(address))
        yield process


async def eventually(condition) -> None:
    for _ in range(int(SOON_S / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


async def client_process(address: str, num_words: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, address, str(num_words), cwd=ROOT, stdout=subprocess.PIPE
    )


async def test_a_client_process_speaks_without_ever_importing_torch(address):
    async with engine_process(address):
        client = await client_process(address, 2)
        output, _ = await asyncio.wait_for(client.communicate(), SOON_S)
        assert output.split() == [b"speaking", b"17", b"False"]


async def test_a_killed_client_gives_its_slot_back_while_others_speak_on(address):
    async with engine_process(address, "--step-ms", "5"), await Engine.load(address) as mine:
        victim = await client_process(address, 2000)
        assert await asyncio.wait_for(victim.stdout.readline(), SOON_S) == b"speaking\n"
        utterance = mine.utterance()
        utterance.push_text(LONG)
        stream = aiter(utterance)
        await anext(stream)
        await eventually(lambda: mine.stats().running == 2)
        victim.kill()
        await victim.wait()
        await eventually(lambda: mine.stats().running == 1)
        assert mine.stats().free_slots == 3
        first = await anext(stream)
        assert [(await anext(stream)).index for _ in range(20)] == list(range(first.index + 1, first.index + 21))
        await utterance.abort().released()
        assert mine.stats().free_pages == mine.stats().total_pages


async def test_a_killed_server_is_an_error_at_once_and_its_successor_is_found(address):
    async with engine_process(address) as server:
        client = await Engine.load(address)
        utterances = [client.utterance() for _ in range(3)]
        utterances[0].push_text(LONG)
        stream = aiter(utterances[0])
        await anext(stream)
        server.kill()
        await server.wait()
        with pytest.raises(EngineUnavailableError):
            _ = [chunk async for chunk in stream]
        for utterance in utterances[1:]:
            with pytest.raises(EngineUnavailableError):
                await asyncio.wait_for(anext(aiter(utterance)), SOON_S)
        with pytest.raises(EngineUnavailableError, match="connecting again"):
            client.utterance()
    async with engine_process(address):  # the file the dead one left is stale
        await eventually(lambda: client.stats().free_slots > 0)
        utterance = client.utterance()
        utterance.push_text("back again ")
        assert await asyncio.wait_for(anext(aiter(utterance)), SOON_S)
        await client.close()


async def test_a_server_killed_under_load_leaves_nobody_waiting(address):
    async with engine_process(address, "--step-ms", "5") as server, await Engine.load(address) as client:

        async def speak(utterance) -> str:
            try:
                async for _ in utterance:
                    started.add(utterance)
            except EngineUnavailableError:
                return "told"
            return "ended"

        started, utterances = set(), [client.utterance() for _ in range(32)]
        for utterance in utterances:
            utterance.push_text(LONG)
        speaking = [asyncio.create_task(speak(utterance)) for utterance in utterances]
        await eventually(lambda: len(started) >= 4)
        acks = [utterance.abort() for utterance in utterances[:8]]
        server.kill()
        outcomes = await asyncio.wait_for(asyncio.gather(*speaking), SOON_S)
        assert outcomes == ["ended"] * 8 + ["told"] * 24
        for ack in acks:
            await asyncio.wait_for(ack.released(), SOON_S)
        reasons = [(await utterance.released()).finish_reason for utterance in utterances]
        assert reasons == [FinishReason.ABORTED] * 8 + [FinishReason.FAILED] * 24


async def test_a_stopped_server_is_noticed_by_its_silence(address):
    async with engine_process(address) as server, await Engine.load(f"{address}?timeout_s=0.5") as client:
        utterance = client.utterance()
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineUnavailableError, match="silent"):
            await asyncio.wait_for(anext(aiter(utterance)), SOON_S)
        assert (await utterance.released()).finish_reason is FinishReason.FAILED
        server.send_signal(signal.SIGCONT)
        await eventually(lambda: client.stats().free_slots == 4)


async def test_sigterm_ends_it_cleanly(address):
    async with engine_process(address) as server, await Engine.load(address) as client:
        utterance = client.utterance()
        utterance.push_text(LONG)
        stream = aiter(utterance)
        await anext(stream)
        server.terminate()
        assert await asyncio.wait_for(server.wait(), SOON_S) == 0
        with pytest.raises(EngineUnavailableError):
            _ = [chunk async for chunk in stream]
        assert not has_file(address)


async def test_a_second_server_does_not_take_the_place_of_the_first(address):
    async with engine_process(address), await Engine.load(address) as client:
        second = await asyncio.create_subprocess_exec(*tone_command(address), cwd=ROOT, stderr=subprocess.PIPE)
        _, complaint = await asyncio.wait_for(second.communicate(), SOON_S)
        assert second.returncode != 0
        assert b"A server listens on" in complaint
        assert client.stats().free_slots == 4


def test_an_engine_beside_a_worker_starts_before_it_is_used_and_ends_with_it(address):
    with EngineProcess.start(tone_command(address), address, cwd=ROOT, timeout_s=SOON_S) as engine:
        assert engine.stats().free_slots == 4
        assert engine.load() == 0.0
        pid = engine.pid
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_engine_whose_worker_is_killed_ends_by_itself(address):
    """The worker holds the other end of the engine's standard input: the kernel closes it, however the worker dies."""
    script = (
        "import os, sys; from agent_tts.remote.process import EngineProcess;"
        "engine = EngineProcess.start(sys.argv[2:], sys.argv[1], timeout_s=30);"
        "print(engine.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    worker = [sys.executable, "-c", script, address, *tone_command(address)]
    output = subprocess.run(worker, cwd=ROOT, stdout=subprocess.PIPE, check=False, timeout=SOON_S).stdout
    assert int(output) > 0

    async def gone() -> None:
        await eventually(lambda: not has_file(address))

    asyncio.run(gone())


def test_an_engine_that_dies_is_started_anew(address):
    with EngineProcess.start(tone_command(address), address, cwd=ROOT, timeout_s=SOON_S) as engine:
        first = engine.pid
        os.kill(first, signal.SIGKILL)

        async def back() -> None:
            await eventually(lambda: engine.pid != first and engine.stats().free_slots == 4)

        asyncio.run(back())


def test_an_engine_that_cannot_start_says_why(address):
    with pytest.raises(EngineUnavailableError, match="ended with exit code 3"):
        EngineProcess.start([sys.executable, "-c", "raise SystemExit(3)"], address, timeout_s=SOON_S)
