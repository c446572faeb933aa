"""What an STT would have told the agent, and when: real transcripts of what was heard, with a stated delay.

On a virtual clock a transcript takes no time, so its delay is added: what the same model took when it was measured.
Two manners: `final` writes down each stretch of speech once the VAD has ended it, as LiveKit does around an STT that
does not stream; `partial` also writes down what has been said so far, every PARTIAL_S.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from agent_tts.barge_in import Event
from evals.judges import FasterWhisper, JudgeUnavailableError, Listener, Moonshine, Wave
from evals.peers.base import PeerUnavailableError

RATE = 16_000
BEFORE_S = 0.5
"""Audio before the VAD's start that is written down too: the VAD is late."""
PARTIAL_S = 0.3
PARTIAL_DELAY_S = 0.25
"""moonshine tiny, one thread of a quiet machine: about 0.2 s for each transcript."""
FINAL_DELAY_S = 1.1
"""whisper base, int8, one thread of a quiet machine."""
MODELS = Path(".cache")
OF_SILENCE = re.compile(r"^\s*(?:you\b|\?)\s*", re.IGNORECASE)
"""What moonshine writes for the digital silence before a made clip; no line has it."""
STTS = ("none", "moonshine", "whisper")


class Stt:
    """Hears one call.

    Args:
        transcribe: The words of a recording at RATE.
        delay_s: From the moment a transcript is asked for until it is there.
        partial_s: How often words so far are asked for; None = only whole stretches of speech are.
    """

    def __init__(self, transcribe: Callable[[Wave], str], delay_s: float, partial_s: float | None) -> None:
        self._transcribe = transcribe
        self._delay_s = delay_s
        self._partial_s = partial_s
        self._heard: list[Wave] = []
        self._speaking = False
        self._asked_s = 0.0
        self._due: list[tuple[float, Event, str]] = []

    def hear(self, samples: Wave, at_s: float, vad: Sequence[Event]) -> list[tuple[Event, str]]:
        """Add what was heard and what the VAD said of it; the words that have arrived by now."""
        self._heard.append(samples)
        for event in vad:
            self._speaking = event is Event.SPEECH_STARTED
            if event is Event.SPEECH_ENDED:
                self._ask(at_s, Event.WORDS)
            self._asked_s = at_s
        if not self._speaking:
            self._heard = self._heard[-round(BEFORE_S * RATE / len(samples)) :]
        elif self._partial_s is not None and at_s - self._asked_s >= self._partial_s:
            self._ask(at_s, Event.PARTIAL_WORDS)
        arrived = [(kind, words) for due_s, kind, words in self._due if due_s <= at_s]
        self._due = [item for item in self._due if item[0] > at_s]
        return arrived

    def _ask(self, at_s: float, kind: Event) -> None:
        self._asked_s = at_s
        if words := OF_SILENCE.sub("", self._transcribe(np.concatenate(self._heard))).strip():
            self._due.append((at_s + self._delay_s, kind, words))


def stt_maker(name: str) -> Callable[[], Stt | None]:
    """A fresh STT for each call; the model is loaded once, and remembers what it has heard before."""
    if name == "none":
        return lambda: None
    try:
        listener: Listener = Moonshine() if name == "moonshine" else FasterWhisper(MODELS)
    except JudgeUnavailableError as error:
        raise PeerUnavailableError(str(error)) from error
    memory = Memory(listener, MODELS / f"heard-{name}.json")
    if name == "moonshine":
        return lambda: Stt(memory.hear, PARTIAL_DELAY_S, PARTIAL_S)
    return lambda: Stt(memory.hear, FINAL_DELAY_S, None)


class Memory:
    """Writes each recording down once; the same audio comes again in every run on a virtual clock."""

    def __init__(self, listener: Listener, path: Path) -> None:
        self._listener = listener
        self._path = path
        self._known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        atexit.register(self.save)

    def hear(self, samples: Wave) -> str:
        key = hashlib.sha1(np.round(samples * 32767).astype(np.int16).tobytes()).hexdigest()
        if key not in self._known:
            self._known[key] = self._listener.hear(samples)
        return self._known[key]

    def save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._known))
