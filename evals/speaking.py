"""Runs replies against a peer and records what came when. Collects only; every figure is computed in metrics/."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from agent_tts import AgentTTSError
from evals.load import ClosedLoop, Load, OpenLoop
from evals.metrics.reply import longest_ms
from evals.metrics.stream import Arrival, ReplyRecord
from evals.peers.base import Peer, Reply, ReplyFailedError
from evals.texts import Token, at_once

Feed = Callable[[str], Sequence[Token]]
Progress = Callable[[int, int], None]

STUCK_S = 60.0
"""Longest wait for the next piece of audio; then the reply has failed."""
SLOWEST = 3
"""A reply that takes so many times as long as its text could at most sound has failed too, however it trickles."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How replies are asked for: the pace of their text, and the voice."""

    feed: Feed = at_once
    voice: str = "default"


AT_ONCE = Manner()


async def speak(
    peer: Peer, text: str, manner: Manner = AT_ONCE, *, planned_s: float | None = None, load: str = ""
) -> ReplyRecord:
    """One reply from its first text to its last sample. Errors of the peer end up in the record, not here.

    One that does not stop is cut off where it cannot be speech of this text any more: a runaway, and no failure.
    """
    now = asyncio.get_running_loop().time
    started_s = now()
    reply = peer.reply(voice=manner.voice)
    pushed: list[float] = []
    feeding = asyncio.create_task(_feed(reply, manner.feed(text), pushed))
    arrivals: list[Arrival] = []
    pieces: list[np.ndarray] = []
    error: str | None = None
    left = longest_ms(text) * peer.sample_rate / 1000
    end_s = started_s + max(STUCK_S, SLOWEST * longest_ms(text) / 1000)
    try:
        async with asyncio.timeout(STUCK_S) as patience:
            async for piece in reply:
                arrivals.append(Arrival(now(), len(piece.pcm)))
                pieces.append(piece.pcm)
                patience.reschedule(min(now() + STUCK_S, end_s))
                left -= len(piece.pcm)
                if left < 0:
                    reply.abort()
                    break
            else:
                await feeding
        await reply.released()
    except TimeoutError:
        error = "too slow" if arrivals and now() - arrivals[-1].at_s < STUCK_S else "stuck"
    except peer_errors() as failure:
        error = name_of(failure)
    finally:
        feeding.cancel()
        if error is not None:
            reply.abort()
    begin = pushed[0] if pushed else started_s
    return ReplyRecord(
        text=text,
        sample_rate=peer.sample_rate,
        planned_s=started_s if planned_s is None else planned_s,
        started_s=started_s,
        first_text_s=begin,
        last_text_s=pushed[-1] if pushed else begin,
        arrivals=tuple(arrivals),
        pcm=np.concatenate(pieces) if pieces else np.zeros(0, np.int16),
        error=error,
        load=load,
        voice=manner.voice,
        engine=reply.facts(),
    )


def name_of(error: Exception) -> str:
    """What a failed reply is called: what the peer says it is, else the error's class."""
    return str(error) if isinstance(error, ReplyFailedError) else type(error).__name__


def peer_errors() -> tuple[type[Exception], ...]:
    """What a peer may raise: agent_tts's tree, what networks and libraries do, aiohttp's where it is installed."""
    usual = (AgentTTSError, OSError, RuntimeError, ValueError)
    try:
        import aiohttp
    except ImportError:
        return usual
    return (*usual, aiohttp.ClientError)


async def run_load(
    peer: Peer, load: Load, texts: Iterator[str], manner: Manner, progress: Progress = lambda done, total: None
) -> list[ReplyRecord]:
    """All replies of a load, in the order in which they were planned."""
    if isinstance(load, ClosedLoop):
        return await _run_closed(peer, load, texts, manner, progress)
    return await _run_open(peer, load, texts, manner, progress)


async def _run_open(
    peer: Peer, load: OpenLoop, texts: Iterator[str], manner: Manner, progress: Progress
) -> list[ReplyRecord]:
    loop, done = asyncio.get_running_loop(), 0
    begin_s = loop.time()

    async def one(at_s: float, text: str) -> ReplyRecord:
        nonlocal done
        await asyncio.sleep(begin_s + at_s - loop.time())
        record = await speak(peer, text, manner, planned_s=begin_s + at_s, load=load.name)
        done += 1
        progress(done, len(load.starts_s))
        return record

    return list(await asyncio.gather(*(one(at_s, next(texts)) for at_s in load.starts_s)))


async def _run_closed(
    peer: Peer, load: ClosedLoop, texts: Iterator[str], manner: Manner, progress: Progress
) -> list[ReplyRecord]:
    records: list[ReplyRecord] = []
    left = iter(range(load.num_replies))

    async def worker() -> None:
        for _ in left:
            records.append(await speak(peer, next(texts), manner, load=load.name))
            progress(len(records), load.num_replies)

    await asyncio.gather(*(worker() for _ in range(load.in_flight)))
    return records


async def _feed(reply: Reply, tokens: Sequence[Token], pushed: list[float]) -> None:
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for token in tokens:
        if (wait_s := begin_s + token.at_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        pushed.append(loop.time())
        reply.push_text(token.text)
    reply.end_text()
