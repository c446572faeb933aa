"""Is the caller beginning to talk, and is it the caller? A sensitive test on each 10 ms of incoming audio.

    16 kHz PCM ─▶ level of each 10 ms, over a noise floor and beside the caller's usual level ─┐
               └▶ Silero, each 32 ms, at a low threshold ─────────────────────────────────────┴▶ STARTED
                       STARTED ─ 200 ms of sure speech, near ─▶ NEAR ─ 800 ms of it ─▶ TALKING         ... ENDED

A VAD that must be right waits for several windows and fires 80 to 490 ms after the mouth. STARTED only raises a
suspicion, which costs a short pause when it is wrong; so one window is enough. After one that was wrong the test is
wary for a while: a room that has fooled it once does so again. Knows no agent and no framework.
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
HOP_MS = 10
WINDOW = 512
CONTEXT = 64

SpeechProbability = Callable[[npt.NDArray[np.float32]], float]
"""The probability that a window of WINDOW samples at SAMPLE_RATE holds speech."""


class Activity(Enum):
    """What the caller's microphone tells; the first and the last always come in pairs."""

    STARTED = "started"
    """A suspicion."""
    NEAR = "near"
    """It is speech, and about as loud as the caller usually is: nobody across the room, no echo of the agent."""
    TALKING = "talking"
    """Of that, more than a listener's "mm-hm" takes."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class OnsetConfig:
    """When a suspicion is raised, confirmed and dropped.

    Attributes:
        start_probability: One window at least so probable is enough.
        loud_start_probability: So is one that is less probable, where the level stands out as well.
        wary_probability: After a false start neither is enough, but this is.
        wary_ms: How long a false start is remembered; speech that was near ends it.
        speech_probability: A window so probable is sure: it counts for NEAR and TALKING.
        near_after_ms: So much sure speech, and near enough, is NEAR.
        talking_after_ms: So much is TALKING.
        stay_probability: Keeps an activity alive; the loud one where the level stands out.
        end_after_ms: So long without a sign of speech ends the activity.
        over_floor_db: How far above the noise floor a level stands out.
        floor_rise_db_per_s: How fast the floor follows a level that stays high.
        usual_dbfs: The caller's level before any speech has been heard.
        start_below_db: A hop may be so far below the usual level to start an activity.
        wary_below_db: The same after a false start.
        near_below_db: Speech may on average be so far below the usual level to be near.
        learn_down_db: One activity lowers the usual level by no more than this.
    """

    start_probability: float = 0.3
    loud_start_probability: float = 0.06
    wary_probability: float = 0.6
    wary_ms: float = 20_000.0
    speech_probability: float = 0.5
    near_after_ms: float = 200.0
    talking_after_ms: float = 800.0
    stay_probability: float = 0.3
    loud_stay_probability: float = 0.12
    end_after_ms: float = 200.0
    over_floor_db: float = 10.0
    floor_rise_db_per_s: float = 4.0
    usual_dbfs: float = -25.0
    start_below_db: float = 18.0
    wary_below_db: float = 8.0
    near_below_db: float = 12.0
    learn_down_db: float = 4.0


class OnsetDetector:
    """Takes int16 mono at SAMPLE_RATE in any portions; says what the caller begins and ends. Not thread-safe.

    Without a `probability` the level alone decides: it must stand out for 30 ms. Sounds that are no speech fire it too,
    and nothing is ever told to be NEAR or TALKING.

    Attributes:
        agent_speaks: Set by the owner. What is heard while the agent speaks, its echo for one, teaches nothing about
            the caller's usual level; and only then is the test wary.
        knows_caller: The caller's usual level has been heard; before, what is far is a guess.
    """

    ENERGY_ONLY_HOPS = 3
    LEARN_MS = 300

    def __init__(self, probability: SpeechProbability | None = None, config: OnsetConfig | None = None) -> None:
        self._probability = probability
        self._config = config or OnsetConfig()
        self._hops = np.empty(0, np.int16)
        self._window = np.empty(0, np.int16)
        self._floor_db: float | None = None
        self._loud_hops = 0
        self._last = 0.0
        self._wary_hops = 0
        self._usual_db = self._config.usual_dbfs
        self.knows_caller = False
        self._sound = _Sound()
        self.active = False
        self.agent_speaks = False

    def push(self, pcm: Pcm) -> list[Activity]:
        """Add samples; the changes they bring, in order."""
        changes: list[Activity] = []
        self._hops = np.concatenate([self._hops, pcm])
        while len(self._hops) >= HOP:
            hop, self._hops = self._hops[:HOP], self._hops[HOP:]
            changes += self._hop(hop)
        return changes

    def _hop(self, hop: Pcm) -> list[Activity]:
        power = float(np.mean(np.square(to_float32(hop))))
        level_db = _db(power)
        loud = self._stands_out(level_db)
        self._loud_hops = self._loud_hops + 1 if loud else 0
        self._wary_hops = max(0, self._wary_hops - 1)
        self._judge(hop)
        if self.active:
            return self._go_on(power, loud)
        if not self._starts(level_db, loud):
            return []
        self.active, self._sound = True, _Sound()
        return [Activity.STARTED, *self._go_on(power, loud)]

    def _judge(self, hop: Pcm) -> None:
        """Keep the last window's probability of speech."""
        if self._probability is None:
            self._last = self._config.start_probability if self._loud_hops >= self.ENERGY_ONLY_HOPS else 0.0
            return
        self._window = np.concatenate([self._window, hop])
        if len(self._window) >= WINDOW:
            window, self._window = self._window[:WINDOW], self._window[WINDOW:]
            self._last = self._probability(to_float32(window))

    def _starts(self, level_db: float, loud: bool) -> bool:
        config = self._config
        if self._wary_hops and self.agent_speaks:
            return self._last >= config.wary_probability and level_db > self._usual_db - config.wary_below_db
        probable = self._last >= config.start_probability or (loud and self._last >= config.loud_start_probability)
        return probable and level_db > self._usual_db - config.start_below_db

    def _go_on(self, power: float, loud: bool) -> list[Activity]:
        """One more hop of an activity; what it has become, or that it is over."""
        config, sound = self._config, self._sound
        stays = self._last >= config.stay_probability or (loud and self._last >= config.loud_stay_probability)
        sound.quiet_ms = 0 if stays else sound.quiet_ms + HOP_MS
        if self._last >= config.speech_probability:
            sound.sure_ms += HOP_MS
            sound.power += power
        if sound.quiet_ms >= config.end_after_ms:
            self._end()
            return [Activity.ENDED]
        if sound.level_db < self._usual_db - config.near_below_db:
            return []
        grown = []
        for activity, after_ms in ((Activity.NEAR, config.near_after_ms), (Activity.TALKING, config.talking_after_ms)):
            if sound.sure_ms >= after_ms and activity not in sound.told:
                sound.told.append(activity)
                grown.append(activity)
        return grown

    def _end(self) -> None:
        """Learn from an activity that is over: the caller's level, or to be wary."""
        config, sound = self._config, self._sound
        self.active = False
        if self._probability is not None:
            self._wary_hops = 0 if sound.told else round(config.wary_ms / HOP_MS)
        if sound.sure_ms >= self.LEARN_MS and not self.agent_speaks:
            self._usual_db = max(sound.level_db, self._usual_db - config.learn_down_db)
            self.knows_caller = True

    def _stands_out(self, level_db: float) -> bool:
        """Compare with the floor, then let the floor follow: down at once, up slowly."""
        floor = level_db if self._floor_db is None else self._floor_db
        self._floor_db = min(level_db, floor + self._config.floor_rise_db_per_s * HOP_MS / 1000)
        return level_db > floor + self._config.over_floor_db


class _Sound:
    """What is known of the activity under way."""

    def __init__(self) -> None:
        self.quiet_ms = 0
        self.sure_ms = 0
        self.power = 0.0
        """Summed over the sure hops."""
        self.told: list[Activity] = []

    @property
    def level_db(self) -> float:
        return _db(self.power * HOP_MS / self.sure_ms) if self.sure_ms else -100.0


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


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 1e-10 else -100.0
