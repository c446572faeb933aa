"""One caller of a soak: lets a reply begin, interrupts it at a chosen moment, and counts whatever should not have been.

Uses the engine's public face only, so that the same caller runs on a virtual clock, in real time and over a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from agent_tts import AgentTTSError, AudioChunk, Engine, FinishReason, SamplingParams, TtsMetrics, Utterance
from agent_tts.barge_in import Action, BargeIn, Event, policy_of
from agent_tts.errors import TextAfterEndError
from evals.texts import llm_pace, text_of_words

PATIENCE_S = 30.0
"""For everything that must come; a limit for what is broken, not a measurement."""
SLACK_MS = 400.0
"""Beyond the lead: the step in flight, and the pause that an aligned model puts between two segments."""
WRONG = (
    "stale frames",
    "chunk lost or repeated",
    "chunk of another utterance",
    "failed",
    "stuck",
    "not released",
    "computed beyond the lead",
    "control reply changed",
    "the policy did not commit",
    "something is still held",
)
"""What must never be seen, by name."""
CONTROL_TEXT = "This reply is always the same."
CONTROL_SEED = 7


class Moment(Enum):
    """Where the interruption hits a reply."""

    BEFORE_TEXT = "before the first token"
    PREFILL = "at prefill"
    FIRST_FRAME = "at the first frame"
    STEADY = "steady"
    PAUSED = "while paused"
    LAST_FRAME = "at the last frame"
    TWICE = "twice"
    NEXT_STARTS = "while the next starts"
    CANCELLED = "its task is cancelled"
    POLICY = "by the policy"


@dataclass(slots=True)
class Tally:
    """What a soak has seen. `wrong` counts by name; everything in it must be 0."""

    interruptions: Counter[Moment] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(WRONG, 0)))
    completed: int = 0
    resumed: int = 0
    controls: int = 0
    frames_wasted: array[float] = field(default_factory=lambda: array("d"))
    release_ms: array[float] = field(default_factory=lambda: array("d"))
    """Arrays, so that what the soak remembers is not what it measures."""

    @property
    def num_interruptions(self) -> int:
        return self.interruptions.total()


Heard = list[np.ndarray]


def chunks(count: int) -> Callable[[AudioChunk, int], bool]:
    """Until so many have been taken."""
    return lambda chunk, taken: taken >= count


@dataclass(slots=True)
class Caller:
    """Speaks and interrupts until it is told to stop.

    Args:
        check: Called after every interruption; raises AssertionError when the books do not balance.
    """

    engine: Engine
    tally: Tally
    numbers: random.Random
    lead_ms: float
    check: Callable[[], None] = lambda: None

    async def interrupt(self, moment: Moment) -> None:
        """One reply that is interrupted there."""
        ways: dict[Moment, Callable[[], Awaitable[None]]] = {
            Moment.BEFORE_TEXT: self._before_text,
            Moment.PREFILL: self._at_prefill,
            Moment.FIRST_FRAME: lambda: self._after_chunks(1),
            Moment.STEADY: lambda: self._after_chunks(self.numbers.randrange(2, 60)),
            Moment.PAUSED: self._while_paused,
            Moment.LAST_FRAME: self._at_the_last_frame,
            Moment.TWICE: self._twice,
            Moment.NEXT_STARTS: self._while_the_next_starts,
            Moment.CANCELLED: self._cancelled,
            Moment.POLICY: self._by_the_policy,
        }
        await ways[moment]()
        self.tally.interruptions[moment] += 1

    async def control(self, expected: np.ndarray | None) -> np.ndarray:
        """A reply to its end that must be what it was before, whoever had its slot and its pages since."""
        utterance = self.engine.utterance(lead_ms=self.lead_ms, sampling=SamplingParams(seed=CONTROL_SEED))
        utterance.push_text(CONTROL_TEXT)
        utterance.end_text()
        pieces = await self._hear(utterance, lambda chunk, _: chunk.is_final)
        metrics = await self._released(utterance)
        self.tally.controls += 1
        self.tally.wrong["failed"] += metrics is None or metrics.delivered_audio_ms < metrics.generated_audio_ms
        spoken = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
        if expected is not None:
            self.tally.wrong["control reply changed"] += not alike(spoken, expected)
        return spoken

    # -- the moments --------------------------------------------------------------------------------------------------

    async def _before_text(self) -> None:
        utterance = self._open()
        await asyncio.sleep(self.numbers.choice((0.0, 0.0, 0.03)))
        await self._abort(utterance)

    async def _at_prefill(self) -> None:
        utterance = self._open()
        utterance.push_text(self._text(12))
        await asyncio.sleep(self.numbers.choice((0.0, 0.002, 0.01)))
        await self._abort(utterance)

    async def _after_chunks(self, count: int) -> None:
        async with self._reply() as utterance:
            await self._hear(utterance, chunks(count))
            await self._abort(utterance)

    async def _while_paused(self) -> None:
        async with self._reply() as utterance:
            await self._hear(utterance, chunks(self.numbers.randrange(1, 30)))
            utterance.pause()
            await asyncio.sleep(self.numbers.uniform(0.0, 0.4))
            if self.numbers.random() < 0.3:
                utterance.resume()
                utterance.pause()
            await self._abort(utterance)

    async def _at_the_last_frame(self) -> None:
        """Alternately when the last chunk has been taken, and when it has been made but not taken."""
        async with self._reply(num_words=self.numbers.randrange(1, 3)) as utterance:
            early = self.numbers.random() < 0.5
            await self._hear(utterance, lambda chunk, _: chunk.is_final or (early and bool(utterance.finish_reason)))
            await self._abort(utterance)

    async def _twice(self) -> None:
        """The reply, again the same reply, and the answer to the interruption."""
        async with self._reply() as utterance:
            await self._hear(utterance, chunks(self.numbers.randrange(1, 20)))
            utterance.abort()
            await self._abort(utterance)
        await self._after_chunks(1)

    async def _while_the_next_starts(self) -> None:
        async with self._reply() as utterance:
            await self._hear(utterance, chunks(self.numbers.randrange(1, 20)))
            following = self._open()
            following.push_text(self._text(8))
            following.end_text()
            await self._abort(utterance)
            await self._hear(following, chunks(3))
            await self._abort(following)

    async def _cancelled(self) -> None:
        """As frameworks do it: the consumer's task ends, and leaving its block is the abort."""
        opened: list[Utterance] = []

        async def consume() -> None:
            async with self._reply() as utterance:
                opened.append(utterance)
                await self._hear(utterance, lambda chunk, _: chunk.is_final)

        task = asyncio.create_task(consume())
        await asyncio.sleep(self.numbers.uniform(0.0, 0.8))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for utterance in opened:
            await self._abort(utterance)

    async def _by_the_policy(self) -> None:
        """The state machine of both adapters: suspicion, pause, and then either end; a pause must lose nothing."""
        now, policy = asyncio.get_running_loop().time, policy_of("selective")
        assert policy is not None
        machine = BargeIn(policy)
        async with self._reply() as utterance:
            heard = len(await self._hear(utterance, chunks(self.numbers.randrange(2, 20))))
            machine.handle(Event.AGENT_STARTED, now())
            for _ in range(self.numbers.randrange(3)):  # sounds that were nothing
                self._carry_out(machine.handle(Event.SUSPICION, now()), utterance)
                await asyncio.sleep(self.numbers.uniform(0.05, 0.3))
                self._carry_out(machine.handle(Event.QUIET, now()), utterance)
                heard += len(await self._hear(utterance, chunks(3), after=heard))
                self.tally.resumed += 1
            self._carry_out(machine.handle(Event.SUSPICION, now()), utterance)
            await asyncio.sleep(0.1)
            self._carry_out(machine.handle(Event.NEAR, now()), utterance)
            await asyncio.sleep(0.3)
            action = machine.handle(Event.WORDS, now(), "no wait the other one")
            self.tally.wrong["the policy did not commit"] += action is not Action.COMMIT
            await self._abort(utterance)

    # -- a reply ------------------------------------------------------------------------------------------------------

    def _open(self) -> Utterance:
        return self.engine.utterance(voice=self.numbers.choice(self.engine.voices), lead_ms=self.lead_ms)

    @asynccontextmanager
    async def _reply(self, num_words: int | None = None) -> AsyncIterator[Utterance]:
        """An utterance whose text comes at the pace of an LLM until it ends or is aborted."""
        async with self._open() as utterance:
            feeding = asyncio.create_task(self._feed(utterance, num_words or self.numbers.randrange(3, 12)))
            try:
                yield utterance
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, utterance: Utterance, num_words: int) -> None:
        tokens = llm_pace(self._text(num_words), self.numbers.randrange(2**31), tokens_per_s=60)
        begin_s = asyncio.get_running_loop().time()
        with contextlib.suppress(TextAfterEndError):  # it was aborted while the LLM wrote
            for token in tokens:
                await asyncio.sleep(max(0.0, begin_s + token.at_s - asyncio.get_running_loop().time()))
                utterance.push_text(token.text)
            utterance.end_text()

    def _text(self, num_words: int) -> str:
        return text_of_words(self.numbers.randrange(2**31), num_words)

    async def _hear(self, utterance: Utterance, until: Callable[[AudioChunk, int], bool], *, after: int = 0) -> Heard:
        """Take chunks in the time of a player until one of them is the last wanted; `after` were taken before.

        None may be missing, come twice, or be somebody else's.
        """
        now, pcm = asyncio.get_running_loop().time, []
        start_s, stream = None, aiter(utterance)
        try:
            while (chunk := await asyncio.wait_for(anext(stream, None), PATIENCE_S)) is not None:
                self.tally.wrong["chunk lost or repeated"] += chunk.index != after + len(pcm)
                self.tally.wrong["chunk of another utterance"] += chunk.utterance_id != utterance.id
                pcm.append(chunk.pcm)
                start_s = now() - chunk.start_ms / 1000 if start_s is None else start_s
                await asyncio.sleep(max(0.0, start_s + chunk.start_ms / 1000 - now()))
                if until(chunk, len(pcm)):
                    break
        except TimeoutError:
            self.tally.wrong["stuck"] += 1
        except AgentTTSError:
            self.tally.wrong["failed"] += 1
        return pcm

    def _carry_out(self, action: Action | None, utterance: Utterance) -> None:
        if action is Action.PAUSE:
            utterance.pause()
        elif action is Action.RESUME:
            utterance.resume()

    # -- its end ------------------------------------------------------------------------------------------------------

    async def _abort(self, utterance: Utterance) -> None:
        """Interrupt; then nothing may come, everything must come back, and the books must balance."""
        heard_ms = utterance.played_ms
        utterance.abort()
        try:
            async with asyncio.timeout(PATIENCE_S):
                async for _ in utterance:
                    self.tally.wrong["stale frames"] += 1
        except TimeoutError:
            self.tally.wrong["stuck"] += 1
        except AgentTTSError:
            self.tally.wrong["failed"] += 1
        metrics = await self._released(utterance)
        if metrics is not None:
            self.tally.completed += metrics.finish_reason is FinishReason.COMPLETED
            ahead_ms = metrics.generated_audio_ms - heard_ms
            self.tally.wrong["computed beyond the lead"] += ahead_ms > self.lead_ms + SLACK_MS
            self.tally.frames_wasted.append(metrics.frames_wasted)
            if metrics.cancellation_latency_ms is not None:
                self.tally.release_ms.append(metrics.cancellation_latency_ms)
        self.check()

    async def _released(self, utterance: Utterance) -> TtsMetrics | None:
        try:
            return await asyncio.wait_for(utterance.released(), PATIENCE_S)
        except TimeoutError:
            self.tally.wrong["not released"] += 1
            return None


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """The same speech; a batch of another size may round a sample differently."""
    return len(one) == len(other) and int(np.abs(one.astype(np.int32) - other).max(initial=0)) <= 8
