"""agent_tts's own barge-in policy as a Reaction: its onset test, a VAD as frameworks have it, and its state machine.

Silero's weights are taken from whichever of LiveKit's, Pipecat's or Silero's own package is installed. Without an STT
(stt.py) there are no words: the policy then decides by sound and duration alone, as it must in the first second.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agent_tts.audio.onset import WINDOW, OnsetDetector, Silero
from agent_tts.barge_in import HEARD, Action, BargeIn, Event, policy_of
from evals.calls.reactions import EnergyReaction, NeverReaction, Reaction, Signal
from evals.calls.stt import Stt
from evals.metrics.audio import Samples, as_float
from evals.peers.base import PeerUnavailableError

SPEECH = 0.5
SILENCE = 0.35
START_WINDOWS = 2
"""Windows of 32 ms in a row above SPEECH: what LiveKit's Silero asks for by default."""
END_WINDOWS = 17
"""About 550 ms below SILENCE."""

PLACES = (
    ("pipecat", "audio/vad/data/silero_vad.onnx"),
    ("livekit", "plugins/silero/resources/silero_vad.onnx"),
    ("silero_vad", "data/silero_vad.onnx"),
)
SIGNALS = {Action.PAUSE: Signal.DIP, Action.RESUME: Signal.RESTORE, Action.COMMIT: Signal.INTERRUPT}


class Vad:
    """Speech started, speech ended: the rule of a framework around Silero."""

    def __init__(self, probability: Callable[[npt.NDArray[np.float32]], float]) -> None:
        self._probability = probability
        self._held = np.zeros(0, np.float32)
        self._run = 0
        self._speaking = False

    def push(self, samples: npt.NDArray[np.float32]) -> list[Event]:
        self._held = np.concatenate([self._held, samples])
        events = []
        while len(self._held) >= WINDOW:
            window, self._held = self._held[:WINDOW], self._held[WINDOW:]
            if (event := self._window(self._probability(window))) is not None:
                events.append(event)
        return events

    def _window(self, probability: float) -> Event | None:
        counts = probability < SILENCE if self._speaking else probability > SPEECH
        self._run = self._run + 1 if counts else 0
        if self._run < (END_WINDOWS if self._speaking else START_WINDOWS):
            return None
        self._run, self._speaking = 0, not self._speaking
        return Event.SPEECH_STARTED if self._speaking else Event.SPEECH_ENDED


class PolicyReaction:
    """One of agent_tts's presets. "framework" has no policy of ours: the VAD's start of speech interrupts."""

    def __init__(self, preset: str, model: Path, stt: Stt | None = None) -> None:
        self.name = preset
        policy = policy_of(preset)
        self._machine = BargeIn(policy) if policy is not None else None
        self._onset = OnsetDetector(Silero(model))
        self._vad = Vad(Silero(model))
        self._stt = stt
        self._spoke = False

    def hear(self, samples: Samples, at_s: float, *, agent_speaks: bool) -> list[Signal]:
        self._onset.agent_speaks = agent_speaks
        changes = self._onset.push((as_float(samples) * 32767).astype(np.int16))
        speech = self._vad.push(as_float(samples))
        words = self._stt.hear(as_float(samples), at_s, speech) if self._stt is not None else []
        if self._machine is None:
            return [Signal.INTERRUPT] if agent_speaks and Event.SPEECH_STARTED in speech else []
        events = [HEARD[change] for change in changes]
        if agent_speaks != self._spoke:
            events.insert(0, Event.AGENT_STARTED if agent_speaks else Event.AGENT_STOPPED)
            self._spoke = agent_speaks
        actions = [self._machine.handle(event, at_s) for event in (*events, *speech, Event.TICK)]
        actions += [self._machine.handle(event, at_s, text) for event, text in words]
        return [SIGNALS[action] for action in actions if action is not None]


def silero_model() -> Path:
    """The first silero_vad.onnx that an installed package carries."""
    for package, place in PLACES:
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or []) if found else []:
            if (path := Path(folder) / place).exists():
                return path
    raise PeerUnavailableError("the policies need Silero's weights: pip install livekit-plugins-silero or pipecat-ai")


def reaction_maker(name: str, make_stt: Callable[[], Stt | None] = lambda: None) -> Callable[[], Reaction]:
    """A fresh reaction for each call: energy, never, or a preset of agent_tts."""
    if name == "energy":
        return EnergyReaction
    if name == "never":
        return NeverReaction
    model = silero_model()
    return lambda: PolicyReaction(name, model, make_stt())


REACTIONS = ("selective", "immediate", "framework", "energy", "never")
SELECTIVE = ("selective",)
"""Reactions that promise to tell an interruption from a backchannel; only these fail a run by a false stop."""
