"""Is the caller beginning to talk? A sensitive test on each 10 ms of incoming audio; wrong now and then by design.

    16 kHz PCM ─▶ level of each 10 ms over a tracked noise floor ─┐
               └▶ Silero, each 32 ms, at a low threshold ─────────┴▶ STARTED ... ENDED

A VAD that must be right waits for several windows and fires 80 to 490 ms after the mouth. This one only raises a
suspicion, which costs a short pause when it is wrong; so one window is enough. Knows no agent and no framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from agent_tts.audio.pcm import to_float32
from agent_tts.types import Pcm

SAMPLE_RATE = 16_000
HOP = SAMPLE_RATE // 100
WINDOW = 512
CONTEXT = 64

SpeechProbability = Callable[[npt.NDArray[np.float32]], float]
"""The probability that a window of WINDOW samples at SAMPLE_RATE holds speech."""


class Activity(Enum):
    STARTED = "started"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class OnsetConfig:
    """When a suspicion is raised and dropped.

    Attributes:
        sure_probability: One window at least so probable is enough.
        loud_probability: So is one that is less probable, where the level stands out as well.
        over_floor_db: How far above the noise floor a level stands out.
        quiet_dbfs: A level below this never stands out.
        floor_rise_db_per_s: How fast the floor follows a level that stays high.
        end_after_ms: So long without either sign ends the activity.
    """

    sure_probability: float = 0.3
    loud_probability: float = 0.12
    over_floor_db: float = 10.0
    quiet_dbfs: float = -55.0
    floor_rise_db_per_s: float = 4.0
    end_after_ms: float = 200.0


class OnsetDetector:
    """Takes int16 mono at SAMPLE_RATE in any portions; says when activity starts and ends. Not thread-safe.

    Without a `probability` the level alone decides: it must stand out for 30 ms, and sounds that are no speech fire it.
    """

    ENERGY_ONLY_HOPS = 3

    def __init__(self, probability: SpeechProbability | None = None, config: OnsetConfig | None = None) -> None:
        self._probability = probability
        self._config = config or OnsetConfig()
        self._hops = np.empty(0, np.int16)
        self._window = np.empty(0, np.int16)
        self._floor_db: float | None = None
        self._loud_hops = 0
        self._quiet_hops = 0
        self._last = 0.0
        self.active = False

    def push(self, pcm: Pcm) -> list[Activity]:
        """Add samples; the changes they bring, in order."""
        changes: list[Activity] = []
        self._hops = np.concatenate([self._hops, pcm])
        while len(self._hops) >= HOP:
            hop, self._hops = self._hops[:HOP], self._hops[HOP:]
            if (change := self._hop(hop)) is not None:
                changes.append(change)
        return changes

    def _hop(self, hop: Pcm) -> Activity | None:
        loud = self._stands_out(_level_db(hop))
        self._loud_hops = self._loud_hops + 1 if loud else 0
        speech = self._speech(hop, loud)
        self._quiet_hops = 0 if speech else self._quiet_hops + 1
        if speech and not self.active:
            self.active = True
            return Activity.STARTED
        if self.active and 10 * self._quiet_hops >= self._config.end_after_ms:
            self.active = False
            return Activity.ENDED
        return None

    def _speech(self, hop: Pcm, loud: bool) -> bool:
        if self._probability is None:
            return self._loud_hops >= self.ENERGY_ONLY_HOPS
        self._window = np.concatenate([self._window, hop])
        if len(self._window) >= WINDOW:
            window, self._window = self._window[:WINDOW], self._window[WINDOW:]
            self._last = self._probability(to_float32(window))
        config = self._config
        return self._last >= config.sure_probability or (loud and self._last >= config.loud_probability)

    def _stands_out(self, level_db: float) -> bool:
        """Compare with the floor, then let the floor follow: down at once, up slowly."""
        floor = level_db if self._floor_db is None else self._floor_db
        stands_out = level_db > max(floor + self._config.over_floor_db, self._config.quiet_dbfs)
        self._floor_db = min(level_db, floor + self._config.floor_rise_db_per_s / 100)
        return stands_out


class Silero:
    """The Silero VAD as a SpeechProbability: 16 kHz, one stream. Needs onnxruntime.

    Args:
        model: silero_vad.onnx; LiveKit's and Pipecat's packages each carry it.
    """

    def __init__(self, model: str | Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError("The Silero onset test needs ONNX Runtime: pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(
            str(model), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)
        self._rate = np.array(SAMPLE_RATE, np.int64)

    def __call__(self, window: npt.NDArray[np.float32]) -> float:
        samples = np.concatenate([self._context, window])[None]
        output, self._state = self._session.run(None, {"input": samples, "state": self._state, "sr": self._rate})
        self._context = window[-CONTEXT:]
        return float(output.item())


def _level_db(pcm: Pcm) -> float:
    power = float(np.mean(np.square(to_float32(pcm))))
    return 10 * math.log10(power) if power > 1e-10 else -100.0
