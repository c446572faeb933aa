"""How each released layout is sampled when a request says nothing: our defaults, and the reference's own.

`faithful` is what the reference's command line does. Ours differ where that makes long replies steadier:

    S2   temperature and top_p 0.8 instead of 1.0 and 0.9 (the values the reference's server uses)
    S1   the 50 most likely candidates only; the reference has no top-k, so each frame sorts 155,776 logits
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent_tts.types import SamplingParams


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every knob of the sampler, filled in. `top_k` None = no limit; `penalty` 1.0 = none."""

    temperature: float
    top_p: float
    top_k: int | None
    fast_temperature: float
    fast_top_p: float
    penalty: float


Preset = Literal["default", "faithful"]

_PRESETS: dict[tuple[str, Preset], Sampling] = {
    ("fish_qwen3_omni", "default"): Sampling(0.8, 0.8, 30, 0.8, 0.8, 1.0),
    ("fish_qwen3_omni", "faithful"): Sampling(1.0, 0.9, 30, 1.0, 0.9, 1.0),
    ("dual_ar", "default"): Sampling(0.7, 0.7, 50, 0.7, 0.7, 1.2),
    ("dual_ar", "faithful"): Sampling(0.7, 0.7, None, 0.7, 0.7, 1.2),
}


def preset(layout: str, name: Preset = "default") -> Sampling:
    """The preset of a layout ("fish_qwen3_omni" or "dual_ar")."""
    return _PRESETS[layout, name]


def resolve(wanted: SamplingParams, otherwise: Sampling) -> Sampling:
    """A request's wishes, and the preset where it has none. The Fast AR follows the Slow AR unless asked otherwise."""
    temperature = _first(wanted.temperature, otherwise.temperature)
    top_p = _first(wanted.top_p, otherwise.top_p)
    return Sampling(
        temperature,
        top_p,
        otherwise.top_k if wanted.top_k is None else max(1, wanted.top_k),
        _first(wanted.fast_temperature, wanted.temperature, otherwise.fast_temperature),
        _first(wanted.fast_top_p, wanted.top_p, otherwise.fast_top_p),
        otherwise.penalty,
    )


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
