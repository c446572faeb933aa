"""When does a sound of the caller pause the agent, and when does it end the reply? A state machine, no audio, no clock.

           SUSPICION            NEAR
    PLAYING ───────▶ SUSPECTED ───────▶ OVERLAP ──▶ COMMITTED      TALKING, or words that are no backchannel
       ▲   PAUSE         │ not near      │ quiet: it was short, or a backchannel; or nothing more was heard at all
       └──── RESUME ─────┴───────────────┘ ... and words that come late still commit

A suspicion is allowed to be wrong: PAUSE loses no sample and RESUME goes on where it stopped. COMMIT can't be undone.
Sound that is far (side talk, the agent's own echo) is suspected, but never near; so neither it nor its words commit.
Adapters feed events with times of one clock and carry out what `handle()` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from agent_tts.audio.onset import Activity
from agent_tts.backchannels import URGENT, is_backchannel, meaning
from agent_tts.errors import ConfigError


class Action(Enum):
    """What the adapter does now."""

    PAUSE = "pause"
    RESUME = "resume"
    COMMIT = "commit"


class Event(Enum):
    """What the adapter saw."""

    AGENT_STARTED = "agent started"
    AGENT_STOPPED = "agent stopped"
    SUSPICION = "suspicion"
    """The onset test, as the next three: its STARTED, NEAR, TALKING and ENDED."""
    NEAR = "near"
    TALKING = "talking"
    QUIET = "quiet"
    SPEECH_STARTED = "speech started"
    """The framework's VAD."""
    SPEECH_ENDED = "speech ended"
    WORDS = "words"
    """What the caller said, as the STT has settled on it."""
    PARTIAL_WORDS = "partial words"
    """The caller's words so far: a guess that the next one may take back."""
    TICK = "tick"
    """Time passed."""


HEARD = {
    Activity.STARTED: Event.SUSPICION,
    Activity.NEAR: Event.NEAR,
    Activity.TALKING: Event.TALKING,
    Activity.ENDED: Event.QUIET,
}
"""What the onset test says, as an event."""


class State(Enum):
    IDLE = "idle"
    PLAYING = "playing"
    SUSPECTED = "suspected"
    OVERLAP = "overlap"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Policy:
    """How sure to be before a reply is cut.

    Attributes:
        pause_on_suspicion: Pause at the first sign, before anything is sure.
        commit_at_once: Speech that is near ends the reply, whatever is said; so does a suspicion the VAD agrees with.
        confirm_within_ms: A suspicion that is not near by then was none.
        undecided_ms: A caller who was near has neither talked on nor fallen silent for so long (has muted the
            microphone, is gone, hums): the reply goes on.
        backchannel_ms: So much longer a caller may talk of whom words have been understood, but none that end a reply:
            backchannels, or guesses that the next one will settle.
        words_after_ms: Words that arrive so long after the speech still end the reply, unless they are a backchannel.
        onset_test: An onset test listens and knows speech. Without one the VAD says what is near, and for how long.
        commit_after_ms: Without an onset test, so much speech is TALKING.
        resume_on_quiet: Go on when the caller is quiet again, without waiting for the VAD or for words.
    """

    pause_on_suspicion: bool = True
    commit_at_once: bool = False
    confirm_within_ms: float = 500.0
    undecided_ms: float = 3000.0
    backchannel_ms: float = 1000.0
    words_after_ms: float = 3000.0
    onset_test: bool = True
    commit_after_ms: float = 900.0
    resume_on_quiet: bool = True


PRESETS: dict[str, Policy | None] = {
    "immediate": Policy(commit_at_once=True),
    "selective": Policy(),
    "framework": None,
}
"""None: the framework decides alone."""


def policy_of(preset: str) -> Policy | None:
    """The policy of that name; ConfigError names those that exist."""
    if preset not in PRESETS:
        raise ConfigError(f"barge-in preset is {preset!r}; allowed: {', '.join(map(repr, PRESETS))}.")
    return PRESETS[preset]


class BargeIn:
    """The state of one conversation. Not thread-safe; `handle()` never waits."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = State.IDLE
        self.suspicions = 0
        self.false_suspicions = 0
        self.wakes_at_s: float | None = None
        """When a TICK could change something; None when only events can. Never None while the reply is paused."""
        self._commits_then = False
        """An overlap that lasts until then ends the reply; else the reply goes on."""
        self._suspected = False
        """The onset test hears something."""
        self._near = False
        """It is speech of the caller."""
        self._vad_agrees = False
        self._heard_near = False
        """It, or some of it earlier over the same reply, was."""
        self._talked_over = False
        """What the VAD heard last began over this reply."""
        self._outlasted = False
        """It went on when the reply had ended."""
        self._words_came = False
        """Some of its words have been understood, and they were not enough to end the reply."""
        self._guessed: frozenset[str] = frozenset()
        """Those words of the last guess that are no backchannels."""
        self._overlap_ended_s: float | None = None
        self._ignoring = False
        """A sound that lasted without being near is not suspected again before it has stopped."""

    def is_no_turn(self, words: str, *, knows_caller: bool) -> bool:
        """Whether these words are to be kept from the framework, which would answer them.

        They were said over a reply that was not ended for them, and come from far away or are a backchannel. But a
        "yeah" that lasts longer than the reply is an answer.

        Args:
            words: Told to handle() before.
            knows_caller: The onset test has heard how loud the caller usually is; before, what is far is a guess.
        """
        if not self._talked_over or self.state is State.COMMITTED:
            return False
        far = knows_caller and not self._heard_near
        return far or (not self._outlasted and is_backchannel(words))

    def handle(self, event: Event, at_s: float, words: str = "") -> Action | None:
        """What to do about an event."""
        match event:
            case Event.AGENT_STARTED:
                self._begin()
                return None
            case Event.AGENT_STOPPED:
                self._outlasted = self._vad_agrees
                return self._enter(State.IDLE)
            case Event.SUSPICION:
                return self._suspect(at_s)
            case Event.NEAR:
                return self._confirm(at_s)
            case Event.TALKING:
                return self._talking(at_s)
            case Event.SPEECH_STARTED:
                return self._vad(at_s)
            case Event.QUIET | Event.SPEECH_ENDED:
                return self._quiet(event, at_s)
            case Event.WORDS | Event.PARTIAL_WORDS:
                return self._words(at_s, words, settled=event is Event.WORDS)
            case Event.TICK:
                return self._tick(at_s)

    # -- one function per event ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self.state in (State.IDLE, State.COMMITTED):
            self._enter(State.PLAYING)
            self._overlap_ended_s = None
            self._heard_near = self._talked_over = self._outlasted = False

    def _suspect(self, at_s: float) -> Action | None:
        self._suspected, self._near, self._guessed = True, False, frozenset()
        if self.state is State.PLAYING and self.policy.commit_at_once and self._vad_agrees:
            return self._enter(State.COMMITTED)
        if self.state is not State.PLAYING or self._ignoring or not self.policy.pause_on_suspicion:
            return None
        self.suspicions += 1
        self._enter(State.SUSPECTED, at_s + self.policy.confirm_within_ms / 1000)
        return Action.PAUSE

    def _confirm(self, at_s: float) -> Action | None:
        self._near = self._heard_near = True
        if self.state not in (State.PLAYING, State.SUSPECTED):
            return None
        paused = self.state is State.SUSPECTED
        self._enter(State.OVERLAP, at_s + self.policy.undecided_ms / 1000)
        if self.policy.commit_at_once:
            return self._enter(State.COMMITTED)
        return None if paused else Action.PAUSE

    def _talking(self, at_s: float) -> Action | None:
        if not self._near or self.state not in (State.PLAYING, State.OVERLAP):
            return None
        if not self._words_came:
            return self._enter(State.COMMITTED)
        if self.state is State.OVERLAP:
            self._commit_in(self.policy.backchannel_ms, at_s)
        return None

    def _vad(self, at_s: float) -> Action | None:
        self._vad_agrees = True
        self._talked_over, self._outlasted = self.state not in (State.IDLE, State.COMMITTED), False
        self._words_came = False
        if self.policy.onset_test and not (self.policy.commit_at_once and self._suspected):
            return None
        action = self._confirm(at_s)
        if self.state is State.OVERLAP:
            self._commit_in(self.policy.commit_after_ms, at_s)
        return action

    def _quiet(self, event: Event, at_s: float) -> Action | None:
        ends_suspicion = self.state is State.SUSPECTED and event is Event.QUIET
        ends_overlap = self.state is State.OVERLAP and (event is Event.SPEECH_ENDED or self.policy.resume_on_quiet)
        action = self._go_on(at_s) if ends_suspicion or ends_overlap else None
        if event is Event.SPEECH_ENDED:
            self._vad_agrees = False
        else:
            self._suspected = False
        self._ignoring = self._near = False
        return action

    def _words(self, at_s: float, words: str, *, settled: bool) -> Action | None:
        late = self._overlap_ended_s is not None and at_s - self._overlap_ended_s <= self.policy.words_after_ms / 1000
        if self.state is not State.OVERLAP and not (self.state in (State.PLAYING, State.SUSPECTED) and late):
            return None
        guessed, self._guessed = self._guessed, meaning(words)
        self._words_came = self._words_came or bool(words.strip())
        sure = self._guessed if settled else self._guessed & guessed
        enough = sure & URGENT or (sure and len(self._guessed) > 1)
        return self._enter(State.COMMITTED) if enough else None

    def _tick(self, at_s: float) -> Action | None:
        if self.wakes_at_s is None or at_s < self.wakes_at_s:
            return None
        if self._commits_then:
            return self._enter(State.COMMITTED)
        self._ignoring = True
        return self._go_on(at_s)

    # -- moves --------------------------------------------------------------------------------------------------------

    def _go_on(self, at_s: float) -> Action | None:
        if self._near:
            self._overlap_ended_s = at_s
        else:
            self.false_suspicions += 1
        self._enter(State.PLAYING)
        return Action.RESUME

    def _commit_in(self, ms: float, at_s: float) -> None:
        self.wakes_at_s, self._commits_then = at_s + ms / 1000, True

    def _enter(self, state: State, wakes_at_s: float | None = None) -> Action | None:
        """Go to a state; what that means for the reply. PLAYING and IDLE say nothing: their callers know."""
        self.state, self.wakes_at_s, self._commits_then = state, wakes_at_s, False
        return Action.COMMIT if state is State.COMMITTED else None
