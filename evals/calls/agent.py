"""The agent around a TTS, as small as one can be: speaks replies into a player, hears the caller, stops when told to.

It is the same for every peer, so that what differs between two runs belongs to the peer. Everything it does is noted in
a ReplyTrace and in Moments; it judges nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from evals.calls.events import EarFrame, Moments, ReplyTrace
from evals.calls.player import Player
from evals.calls.reactions import Reaction, Signal
from evals.metrics.audio import Samples
from evals.peers.base import Peer, Reply
from evals.speaking import name_of, peer_errors
from evals.texts import Token

DUCKED = 0.2
RELEASE_PATIENCE_S = 5.0


@dataclass(slots=True, eq=False)
class Turn:
    """A reply in the making, with the anchors that a scenario can wait for."""

    trace: ReplyTrace
    reply: Reply | None = None
    task: asyncio.Task[None] | None = None
    anchors: dict[str, asyncio.Event] = field(default_factory=dict)

    def anchor(self, name: str) -> asyncio.Event:
        return self.anchors.setdefault(name, asyncio.Event())


class Agent:
    """One end of a call.

    Args:
        dip: What a suspicion does to the reply: "duck" or "pause".
        llm_delay_s: From the decision to reply until the LLM's first token.
    """

    def __init__(
        self, peer: Peer, player: Player, reaction: Reaction, *, dip: str = "pause", llm_delay_s: float = 0.15
    ) -> None:
        self.peer = peer
        self.player = player
        self.reaction = reaction
        self.moments = Moments()
        self.turn: Turn | None = None
        self._dip = dip
        self._llm_delay_s = llm_delay_s

    # -- speaking -----------------------------------------------------------------------------------------------------

    def say(self, text: str, tokens: Sequence[Token], *, voice: str = "default") -> Turn:
        """Begin a reply whose text comes as `tokens` say."""
        turn = Turn(ReplyTrace(text, asked_s=self._now()))
        turn.task = asyncio.create_task(self._speak(turn, tokens, voice))
        self.turn = turn
        self.moments = Moments()
        return turn

    @property
    def speaks(self) -> bool:
        """A reply has been asked for and has not been heard to its end."""
        return self.turn is not None and not self.turn.anchor("over").is_set()

    async def _speak(self, turn: Turn, tokens: Sequence[Token], voice: str) -> None:
        turn.anchor("reply_start").set()
        await asyncio.sleep(self._llm_delay_s)
        turn.reply = reply = self.peer.reply(voice=voice)
        turn.trace.reply_id = reply.id
        feeding = asyncio.create_task(self._feed(turn, reply, tokens))
        following = asyncio.create_task(self._follow(turn, reply))
        try:
            await self._carry(turn, reply)
            await feeding
            turn.anchor("last_frame").set()
            self.player.end_of_reply(reply.id)
            await self.player.drained()
            turn.trace.completed = True
            turn.trace.claimed = turn.trace.text
            await self._settle(turn)
        except peer_errors() as error:
            turn.trace.error = name_of(error)
        finally:
            feeding.cancel()
            following.cancel()
            turn.anchor("over").set()

    async def _feed(self, turn: Turn, reply: Reply, tokens: Sequence[Token]) -> None:
        begin_s = self._now()
        for token in tokens:
            await asyncio.sleep(max(0.0, begin_s + token.at_s - self._now()))
            turn.trace.first_text_s = turn.trace.first_text_s or self._now()
            self.push(reply, token.text)
            turn.anchor("first_token").set()
        reply.end_text()

    def push(self, reply: Reply, text: str) -> None:
        """Hand a token of the LLM to the TTS."""
        reply.push_text(text)

    async def _carry(self, turn: Turn, reply: Reply) -> None:
        """From the peer to the transport, in frames."""
        size, start, held = self.player.frame_samples, 0, np.zeros(0, np.int16)
        async for piece in reply:
            held = np.concatenate([held, piece.pcm])
            while len(held) >= size:
                await self.hand_over(turn, EarFrame(reply.id, start, held[:size]))
                start, held = start + size, held[size:]
        if len(held):
            padded = np.concatenate([held, np.zeros(size - len(held), np.int16)])
            await self.hand_over(turn, EarFrame(reply.id, start, padded))

    async def hand_over(self, turn: Turn, frame: EarFrame) -> None:
        """One frame to the transport."""
        await self.player.put(frame)
        trace = turn.trace
        trace.first_frame_s = trace.first_frame_s or self._now()
        trace.last_frame_s = self._now()
        trace.stale_frames += trace.abort_s is not None
        turn.anchor("first_frame").set()

    async def _follow(self, turn: Turn, reply: Reply) -> None:
        """Report playout, so that the peer can keep its lead limit; note when the reply is first heard."""
        await self.player.started_event(reply.id).wait()
        turn.anchor("steady").set()
        while True:
            reply.report_playout(self.player.played_ms(reply.id))
            await asyncio.sleep(0.02)

    # -- hearing ------------------------------------------------------------------------------------------------------

    def hear(self, samples: Samples) -> None:
        """20 ms of the caller have been heard."""
        for signal in self.reaction.hear(samples, self._now(), agent_speaks=self.speaks):
            match signal:
                case Signal.DIP:
                    self.moments.suspicion_s = self.moments.suspicion_s or self._now()
                    self.dip()
                case Signal.RESTORE:
                    self.restore()
                case Signal.INTERRUPT if self.speaks and self.moments.decision_s is None:
                    self.moments.decision_s = self._now()
                    self.interrupt()

    def dip(self) -> None:
        """Be quieter, or pause, without losing anything."""
        self.moments.dip_s = self.moments.dip_s or self._now()
        if self._dip == "duck":
            self.player.gain = DUCKED
            return
        self.player.paused = True
        if self.turn is not None and self.turn.reply is not None:
            self.turn.reply.pause()

    def restore(self) -> None:
        """Go on where dip() was."""
        self.moments.restored_s = self._now()
        self.player.gain = 1.0
        self.player.paused = False
        if self.turn is not None and self.turn.reply is not None:
            self.turn.reply.resume()

    def interrupt(self) -> None:
        """Abort the reply: engine, transport, and the task between them."""
        turn = self.turn
        assert turn is not None
        self.stop(turn)

    def stop(self, turn: Turn) -> None:
        """Everything an abort has to reach."""
        trace, reply = turn.trace, turn.reply
        if reply is not None:
            trace.words = reply.words
            trace.claimed = reply.heard_text(self.player.played_ms(reply.id))
            reply.abort()
        trace.abort_s = self._now()
        self.player.clear()
        self.moments.cleared_s = self._now()
        self.player.paused, self.player.gain = False, 1.0
        if turn.task is not None:
            turn.task.cancel()
        turn.anchor("over").set()  # the task does not come to it when it had not begun to speak
        turn.task = asyncio.create_task(self._settle(turn))

    async def _settle(self, turn: Turn) -> None:
        """Wait for the peer to let go, then note what it says of the reply."""
        if turn.reply is None:
            turn.trace.released_s = self._now()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(turn.reply.released(), RELEASE_PATIENCE_S)
            turn.trace.released_s = self._now()
        turn.trace.facts = turn.reply.facts()
        turn.trace.words = turn.reply.words

    async def end(self) -> None:
        """The call is over: stop what still speaks and wait until the peer has let go of it."""
        turn = self.turn
        if turn is None or turn.task is None:
            return
        if self.speaks and turn.trace.abort_s is None:
            # The call ends, not the reply: nothing of this belongs into the ledger.
            turn.task.cancel()
            if turn.reply is not None:
                self.player.end_of_reply(turn.reply.id)
                turn.reply.abort()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(turn.reply.released(), RELEASE_PATIENCE_S)
        await asyncio.gather(turn.task, return_exceptions=True)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
