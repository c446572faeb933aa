"""When does a sound of the caller pause the agent, and when does it end the reply? A state machine, no audio, no clock.

           suspicion            VAD, or words
    PLAYING ───────▶ SUSPECTED ───────────────▶ OVERLAP ──▶ COMMITTED      what the caller wants is to be heard
       ▲   PAUSE         │ not confirmed, quiet     │ long enough, or words that are no backchannel
       └──── RESUME ─────┴──────────────────────────┘ quiet again, or a backchannel

A suspicion is allowed to be wrong: PAUSE loses no sample and RESUME goes on where it stopped. COMMIT can't be undone.
Adapters feed events with times of one clock and carry out what `handle()` returns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

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
    QUIET = "quiet"
    SPEECH_STARTED = "speech started"
    """The framework's VAD."""
    SPEECH_ENDED = "speech ended"
    WORDS = "words"
    """The caller's words so far, partial or final."""
    TICK = "tick"
    """Time passed."""


class State(Enum):
    IDLE = "idle"
    PLAYING = "playing"
    SUSPECTED = "suspected"
    OVERLAP = "overlap"
    COMMITTED = "committed"


BACKCHANNELS = frozenset(
    "ah aha alright cool exactly good gotcha great hm hmm huh i see interesting mhm mm mmhm mm-hmm nice oh okay ok "
    "really right sure true uh uh-huh uhhuh um wow yeah yep yes yup".split()
)
"""Words with which a listener says: go on."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How sure to be before a reply is cut.

    Attributes:
        pause_on_suspicion: Pause at the first sign, before the VAD is sure.
        commit_after_ms: So much speech ends the reply, whatever is said. 0 = the VAD's start of speech does.
        confirm_within_ms: A suspicion the VAD does not confirm in this time was none.
        words_after_ms: Words that arrive so long after the speech still end the reply, unless they are a backchannel.
        resume_on_quiet: Go on when the caller is quiet again, without waiting for the VAD or for words.
    """

    pause_on_suspicion: bool = True
    commit_after_ms: float = 0.0
    confirm_within_ms: float = 700.0
    words_after_ms: float = 3000.0
    resume_on_quiet: bool = True


PRESETS: dict[str, Policy | None] = {
    "immediate": Policy(commit_after_ms=0.0),
    "selective": Policy(commit_after_ms=900.0),
    "framework": None,
}
"""None: the framework decides alone."""


def policy_of(preset: str) -> Policy | None:
    """The policy of that name; ConfigError names those that exist."""
    if preset not in PRESETS:
        raise ConfigError(f"barge-in preset is {preset!r}; allowed: {', '.join(map(repr, PRESETS))}.")
    return PRESETS[preset]


def is_backchannel(words: str) -> bool:
    """Whether all that was said is of the kind that means: go on. Nothing at all counts too."""
    return all(word in BACKCHANNELS for word in re.findall(r"[a-z]+(?:-[a-z]+)*", words.lower()))


class BargeIn:
    """The state of one conversation. Not thread-safe; `handle()` never waits."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.state = State.IDLE
        self.suspicions = 0
        self.false_suspicions = 0
        self._since_s = 0.0
        self._speaking_since_s: float | None = None
        self._overlap_ended_s: float | None = None
        self._ignoring = False
        """A sound that lasted without being speech is not suspected again before it has stopped."""

    @property
    def wakes_at_s(self) -> float | None:
        """When a TICK could change something; None when only events can."""
        if self.state is State.SUSPECTED:
            return self._since_s + self.policy.confirm_within_ms / 1000
        if self.state is State.OVERLAP:
            return self._since_s + self.policy.commit_after_ms / 1000
        return None

    def handle(self, event: Event, at_s: float, words: str = "") -> Action | None:
        """What to do about an event."""
        match event:
            case Event.AGENT_STARTED:
                self._begin()
                return None
            case Event.AGENT_STOPPED:
                self.state = State.IDLE
                return None
            case Event.SUSPICION:
                return self._suspect(at_s)
            case Event.SPEECH_STARTED:
                return self._overlap(at_s)
            case Event.QUIET | Event.SPEECH_ENDED:
                return self._quiet(event, at_s)
            case Event.WORDS:
                return self._words(at_s, words)
            case Event.TICK:
                return self._tick(at_s)

    # -- one function per event ---------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self.state in (State.IDLE, State.COMMITTED):
            self.state = State.PLAYING
            self._overlap_ended_s = None

    def _suspect(self, at_s: float) -> Action | None:
        if self.state is not State.PLAYING or self._ignoring or not self.policy.pause_on_suspicion:
            return None
        self.suspicions += 1
        if self._speaking_since_s is not None:  # one long turn with a gap in it: the VAD does not start anew
            self.state, self._since_s = State.OVERLAP, self._speaking_since_s
        else:
            self.state, self._since_s = State.SUSPECTED, at_s
        return Action.PAUSE

    def _overlap(self, at_s: float) -> Action | None:
        self._speaking_since_s = at_s
        if self.state not in (State.PLAYING, State.SUSPECTED):
            return None
        paused = self.state is State.SUSPECTED
        self.state, self._since_s = State.OVERLAP, at_s
        if self.policy.commit_after_ms <= 0:
            return self._commit()
        return None if paused else Action.PAUSE

    def _quiet(self, event: Event, at_s: float) -> Action | None:
        self._ignoring = False
        if event is Event.SPEECH_ENDED:
            self._speaking_since_s = None
        if self.state is State.SUSPECTED and event is Event.QUIET:
            return self._go_on(at_s, false=True)
        if self.state is State.OVERLAP and (event is Event.SPEECH_ENDED or self.policy.resume_on_quiet):
            return self._go_on(at_s)
        return None

    def _words(self, at_s: float, words: str) -> Action | None:
        late = self._overlap_ended_s is not None and at_s - self._overlap_ended_s <= self.policy.words_after_ms / 1000
        if self.state is not State.OVERLAP and not (self.state in (State.PLAYING, State.SUSPECTED) and late):
            return None
        if not is_backchannel(words):
            return self._commit()
        return None

    def _tick(self, at_s: float) -> Action | None:
        due = self.wakes_at_s
        if due is None or at_s < due:
            return None
        if self.state is State.OVERLAP:
            return self._commit()
        self._ignoring = True
        return self._go_on(at_s, false=True)

    def _go_on(self, at_s: float, *, false: bool = False) -> Action:
        if false:
            self.false_suspicions += 1
        else:
            self._overlap_ended_s = at_s
        self.state = State.PLAYING
        return Action.RESUME

    def _commit(self) -> Action:
        self.state = State.COMMITTED
        return Action.COMMIT
