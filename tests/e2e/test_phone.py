"""The measuring phone in calls on loopback: to a small answering machine of ours, and to sipp where it is on PATH."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from agents.demo.processes import free_port
from evals.live.tracks import RATE, Pcm
from evals.phone import sip as phone_sip
from evals.phone.mulaw import decode
from evals.phone.phone import CallEndedError, Phone, in_packets, phone_call
from evals.phone.rtp import PACKET, SILENCE
from evals.phone.sip import CallRefusedError
from tests.e2e.answering_machine import answering_machine

NUMBER = "+15550100"
GIVE_UP_S = 30.0
TONE: Pcm = np.round(9000 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)).astype(np.int16)
needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="needs sipp (Debian: apt-get install sip-tester)")


async def test_what_is_said_goes_out_in_order_and_comes_back_sample_by_sample() -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine() as machine:
        async with phone_call(machine.peer, NUMBER) as phone:
            await speak(phone)
            packets = await phone.packets()
        headers = [struct.unpack_from("!BBHII", packet) for packet in machine.packets]
        assert {header[:2] for header in headers} == {(0x80, 0)}
        assert len({header[4] for header in headers}) == 1
        assert set(np.diff([header[2] for header in headers]) % 2**16) == {1}
        assert set(np.diff([header[3] for header in headers]) % 2**32) == {PACKET}
        sent = [packet[12:] for packet in machine.packets]
        assert [payload for payload in sent if payload != SILENCE] == in_packets(TONE)[1] == loud_payloads(phone)
        assert packets is not None
        assert packets.received <= len(sent)
        assert (packets.lost, packets.reordered, packets.ms_each) == (0, 0, pytest.approx(20.0))
        assert machine.heard == ["INVITE", "ACK", "BYE"]


async def test_the_line_narrows_a_clip_and_keeps_its_waveform() -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine() as machine:
        async with phone_call(machine.peer, NUMBER) as phone:
            await speak(phone)
        came = decode(b"".join(loud_payloads(phone))).astype(float)
    clean = TONE[:: RATE // 8000].astype(float)
    error = came[: len(clean)] - clean
    inside = slice(80, -80)  # a tone that begins at full level rings at its edges when it is narrowed
    assert np.std(error[inside]) < np.std(clean) / 10**1.5  # mu-law's noise is some 38 dB below the signal
    said = np.concatenate([frame.pcm for frame in phone.hearing.said if frame.pcm.any()])
    assert np.array_equal(said, TONE)


async def test_it_speaks_again_after_it_has_spoken() -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine() as machine:
        async with phone_call(machine.peer, NUMBER) as phone:
            await speak(phone)
            await speak(phone)
        assert len(loud_payloads(phone)) == 2 * len(TONE) // (RATE // 50)


async def test_a_lost_invite_is_sent_again() -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine(misses=1) as machine:
        async with phone_call(machine.peer, NUMBER):
            pass
        assert machine.heard == ["INVITE", "INVITE", "ACK", "BYE"]


@pytest.mark.parametrize("status", ["486 Busy Here", "404 Not Found", "503 Service Unavailable", "302 Moved"])
async def test_a_refusal_says_why_and_is_acknowledged(status: str) -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine(status) as machine:
        with pytest.raises(CallRefusedError, match=rf"\+15550100 was refused: {status}"):
            async with phone_call(machine.peer, NUMBER):
                pass
        await machine.heard_of("ACK")
        assert machine.heard == ["INVITE", "ACK"]


async def test_an_answer_with_another_codec_is_no_call() -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine(codec=9) as machine:
        with pytest.raises(CallRefusedError, match="without PCMU"):
            async with phone_call(machine.peer, NUMBER):
                pass
        assert machine.heard == ["INVITE", "ACK", "BYE"]


async def test_nothing_there_is_said_at_once() -> None:
    async with asyncio.timeout(GIVE_UP_S):
        with pytest.raises(CallRefusedError, match=r"nothing listens for SIP at 127\.0\.0\.1"):
            async with phone_call(("127.0.0.1", 9), NUMBER):
                pass


async def test_nobody_picks_up_and_the_call_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_sip, "RING_S", 0.2)
    async with asyncio.timeout(GIVE_UP_S), answering_machine("") as machine:
        with pytest.raises(CallRefusedError, match="nobody answered"):
            async with phone_call(machine.peer, NUMBER):
                pass
        await machine.heard_of("CANCEL")


async def test_the_other_end_hangs_up_while_we_speak() -> None:
    async with asyncio.timeout(GIVE_UP_S), answering_machine() as machine:
        async with phone_call(machine.peer, NUMBER) as phone:
            saying = asyncio.create_task(phone.say(np.tile(TONE, 20)))
            await phone.hearing.speech(0.1)
            machine.hang_up()
            with pytest.raises(CallEndedError):
                await saying
            await machine.heard_of("200 to BYE")
        assert "BYE" not in machine.heard, "who was hung up on does not hang up"


@needs_sipp
async def test_sipp_sends_back_what_it_was_told(tmp_path: Path) -> None:
    async with asyncio.timeout(GIVE_UP_S), sipp(tmp_path, "-sn", "uas", "-rtp_echo") as (peer, _):
        async with phone_call(peer, NUMBER) as phone:
            await speak(phone)
            packets = await phone.packets()
        assert packets is not None
        assert (packets.lost, packets.reordered) == (0, 0)
        assert loud_payloads(phone) == in_packets(TONE)[1]


@needs_sipp
@pytest.mark.parametrize("status", ["486 Busy Here", "404 Not Found"])
async def test_sipp_refuses(tmp_path: Path, status: str) -> None:
    scenario = tmp_path / "refuse.xml"
    scenario.write_text(REFUSAL.replace("STATUS", status))
    async with asyncio.timeout(GIVE_UP_S), sipp(tmp_path, "-sf", str(scenario)) as (peer, process):
        with pytest.raises(CallRefusedError, match=status):
            async with phone_call(peer, NUMBER):
                pass
        assert await process.wait() == 0, "sipp saw the call that its scenario has"


REFUSAL = """<?xml version="1.0"?>
<scenario name="refuse">
  <recv request="INVITE"/>
  <send><![CDATA[
SIP/2.0 STATUS
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
  <recv request="ACK"/>
</scenario>
"""


@asynccontextmanager
async def sipp(folder: Path, *scenario: str) -> AsyncIterator[tuple[tuple[str, int], asyncio.subprocess.Process]]:
    """sipp as the other end, for one call; yields where it listens. It ends by itself, or with the block."""
    port, media = free_port(), free_port()
    command = ["sipp", *scenario, "-i", "127.0.0.1", "-mi", "127.0.0.1", "-p", str(port), "-mp", str(media), "-m", "1"]
    with (folder / "sipp.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, "-nostdin", stdout=log, stderr=log, cwd=folder)
    try:
        await is_taken(port)
        yield ("127.0.0.1", port), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def is_taken(port: int) -> None:
    """Wait until somebody has that UDP port: an INVITE that comes earlier finds nobody."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        await asyncio.sleep(0.02)


async def speak(phone: Phone) -> None:
    """Say the tone, and wait until it has come back."""
    heard = asyncio.ensure_future(phone.hearing.speech(len(TONE) / RATE - 0.02))
    await asyncio.gather(phone.say(TONE), heard)
    await phone.hearing.silence(0.04)


def loud_payloads(phone: Phone) -> list[bytes]:
    return [packet.payload for packet in phone.came if packet.payload != SILENCE]
