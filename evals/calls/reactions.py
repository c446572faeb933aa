"""When an agent reacts to what it hears of the caller: the seam for barge-in policies, and a plain VAD as the control.

A reaction is given the caller's audio as the agent's microphone gets it, 20 ms at a time, and says what follows. It
never sees a scenario, an onset or an expectation.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import numpy as np

from evals.metrics.audio import Samples, as_float

HEARING_RATE = 16_000
"""Hz of the caller's audio as the agent hears it."""


class Signal(Enum):
    """What a reaction wants the agent to do now."""

    DIP = "dip"
    """Be quieter or pause: a suspicion."""
    RESTORE = "restore"
    """It was nothing: go on."""
    INTERRUPT = "interrupt"
    """The caller takes the turn: abort."""


class Reaction(Protocol):
    """Decides about barge-in from the caller's audio."""

    name: str

    def hear(self, samples: Samples, at_s: float, *, agent_speaks: bool) -> list[Signal]:
        """20 ms of the caller; `at_s` is when the last of these samples was heard."""
        ...


class EnergyReaction:
    """The control: interrupts as soon as the level has been high for `min_ms`, whatever made the sound.

    Two windows of 32 ms are what frameworks ask of a VAD by default; 60 ms is the nearest in whole frames.
    """

    name = "energy"

    def __init__(self, *, level: float = 0.02, min_ms: float = 60.0) -> None:
        self._level = level
        self._min_ms = min_ms
        self._loud_ms = 0.0

    def hear(self, samples: Samples, at_s: float, *, agent_speaks: bool) -> list[Signal]:
        values = as_float(samples)
        loud = float(np.sqrt(np.mean(values**2))) > self._level
        self._loud_ms = self._loud_ms + 1000 * len(values) / HEARING_RATE if loud else 0.0
        return [Signal.INTERRUPT] if agent_speaks and self._loud_ms >= self._min_ms else []


class NeverReaction:
    """Another control: never stops. Perfect on backchannels, hopeless on interruptions."""

    name = "never"

    def hear(self, samples: Samples, at_s: float, *, agent_speaks: bool) -> list[Signal]:
        return []
