"""The caller: a WebRTC client in a process of its own that asks, listens, interrupts, listens and hangs up.

It decides by what it hears, never by the clock. It prints one JSON object a line for each thing it does, with the time
of the machine's monotonic clock, and leaves its recording (mouth and ear, sample-synchronous) in a file.

    python -m agents.demo.caller '{"url": ..., "questions": [wav, ...], "interruption": wav, "recording": npz, ...}'
"""

from __future__ import annotations

import asyncio
import fractions
import json
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from av import AudioFrame, AudioResampler

from agents.demo.ear import FRAME_S, FRAME_SAMPLES, RATE, Ear, Mouth
from agents.demo.loopback import use_loopback
from agents.demo.speech import read_wav

SHORT_PAUSE_MS = 600.0
END_OF_REPLY_MS = 1500.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What the caller is to do.

    Attributes:
        url: The agent's offer endpoint.
        questions: Speech files; the next one is asked when a reply was too short to be interrupted.
        interruption: Said into the reply.
        interrupt_after_ms: Sound heard of the reply before it is interrupted.
        answer_ms: The caller hangs up when the answer has ended, or when so much of it was heard.
        recording: Where mouth and ear are left.
    """

    url: str
    questions: list[str]
    interruption: str
    interrupt_after_ms: float
    answer_ms: float
    recording: str


def tell(event: str, **details: Any) -> None:
    print(json.dumps({"event": event, "at": time.monotonic(), **details}), flush=True)


class Microphone(MediaStreamTrack):
    """The mouth as a WebRTC track, 20 ms at a time, in real time."""

    kind = "audio"

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self.start_s: float | None = None
        self._mouth = mouth
        self._num_frames = 0

    async def recv(self) -> AudioFrame:
        if self.start_s is None:
            self.start_s = time.monotonic()
        self._num_frames += 1
        await asyncio.sleep(max(0.0, self.start_s + self._num_frames * FRAME_S - time.monotonic()))
        frame = AudioFrame.from_ndarray(self._mouth.next_frame()[None, :], layout="mono")
        frame.sample_rate = RATE
        frame.time_base = fractions.Fraction(1, RATE)
        frame.pts = (self._num_frames - 1) * FRAME_SAMPLES
        return frame


class Line:
    """One call: connects, carries both directions, records them."""

    def __init__(self) -> None:
        self.mouth, self.ear = Mouth(), Ear()
        self._microphone = Microphone(self.mouth)
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._listening: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self._peer.on("track", self._on_track)

    async def dial(self, url: str) -> None:
        self._peer.addTrack(self._microphone)
        self._peer.createDataChannel("messages")
        await self._peer.setLocalDescription(await self._peer.createOffer())
        local = self._peer.localDescription
        answer = await asyncio.to_thread(_post, url, {"sdp": local.sdp, "type": local.type})
        await self._peer.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))

    async def hang_up(self, recording: Path) -> None:
        """Save what was said and heard, then close."""
        start_s = self._microphone.start_s
        assert start_s is not None, "a call that was never connected has no recording"
        mouth = np.concatenate(self.mouth.frames)
        ear = self.ear.recording(start_s, len(mouth))
        np.savez(recording, start_s=start_s, rate=RATE, mouth=mouth, ear=ear, sent=self.ear.sent_times())
        if self._listening is not None:
            self._listening.cancel()
        await self._peer.close()

    def _on_track(self, track: MediaStreamTrack) -> None:
        if track.kind == "audio":
            self._listening = asyncio.ensure_future(self._listen(track))

    async def _listen(self, track: MediaStreamTrack) -> None:
        mono = AudioResampler(format="s16", layout="mono", rate=RATE)
        try:
            while True:
                frame = await track.recv()
                now_s = time.monotonic()
                pieces = [piece.to_ndarray().reshape(-1) for piece in mono.resample(frame)]
                pcm = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
                await self.ear.hear(pcm, now_s, float(frame.pts * frame.time_base))
        except MediaStreamError:
            self.closed.set()


async def converse(line: Line, plan: Plan) -> None:
    """Ask, listen, interrupt, listen."""
    ear, mouth = line.ear, line.mouth
    await ear.until(lambda ear: ear.quiet_ms >= SHORT_PAUSE_MS)
    tell("connected")
    for question in plan.questions:
        tell("asks", start=mouth.say(read_wav(Path(question))), file=question)
        await mouth.until_said()
        ear.reset()
        tell("waits_for_reply")
        await ear.until(lambda ear: ear.heard_ms >= 100)
        tell("hears_reply")
        await ear.until(lambda ear: ear.heard_ms >= plan.interrupt_after_ms or ear.quiet_ms >= END_OF_REPLY_MS)
        if ear.heard_ms >= plan.interrupt_after_ms:
            break
        tell("reply_too_short")
    else:
        return
    ear.reset()
    tell("interrupts", start=mouth.say(read_wav(Path(plan.interruption))), file=plan.interruption)
    await mouth.until_said()
    await ear.until(lambda ear: ear.quiet_ms >= SHORT_PAUSE_MS)
    ear.reset()
    tell("waits_for_answer")
    await ear.until(lambda ear: ear.heard_ms >= 100)
    tell("hears_answer")
    await ear.until(lambda ear: ear.heard_ms >= plan.answer_ms or ear.quiet_ms >= END_OF_REPLY_MS)
    tell("hangs_up", heard_ms=ear.heard_ms)


def _post(url: str, body: dict[str, str]) -> dict[str, str]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answer: dict[str, str] = json.load(response)
    return answer


async def call(plan: Plan) -> None:
    use_loopback(only=True)
    line = Line()
    tell("dials")
    await line.dial(plan.url)
    talking, closed = asyncio.create_task(converse(line, plan)), asyncio.create_task(line.closed.wait())
    await asyncio.wait({talking, closed}, return_when=asyncio.FIRST_COMPLETED)
    lost = not talking.done()
    talking.cancel()
    closed.cancel()
    await line.hang_up(Path(plan.recording))
    if lost:
        tell("lost_the_line")
        sys.exit(1)
    await talking
    tell("done")


if __name__ == "__main__":
    asyncio.run(call(Plan(**json.loads(sys.argv[1]))))
