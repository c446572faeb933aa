"""When replies start: closed loop, and open loops (Poisson, ramp, burst) that are drawn before the run. Pure functions.

An open loop keeps its times whatever the server does, so that queueing shows; a closed loop asks a slow server less
often. Both are wanted, and they are never put into one column.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Planned starts, s after the beginning of the load."""

    name: str
    starts_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """So many replies in flight, until `num_replies` have been asked for."""

    name: str
    in_flight: int
    num_replies: int


Load = OpenLoop | ClosedLoop


def poisson(rate_per_s: float, duration_s: float, seed: int, *, name: str | None = None) -> OpenLoop:
    """Arrivals at random with a mean rate."""
    _positive(rate_per_s=rate_per_s, duration_s=duration_s)
    numbers, starts, at_s = random.Random(seed), [], 0.0
    while (at_s := at_s + numbers.expovariate(rate_per_s)) < duration_s:
        starts.append(at_s)
    return OpenLoop(name or f"poisson {rate_per_s:g}/s", tuple(starts))


def ramp(low_per_s: float, high_per_s: float, duration_s: float, seed: int, *, num_steps: int = 5) -> OpenLoop:
    """Poisson arrivals whose rate rises in equal steps."""
    step_s, starts = duration_s / num_steps, []
    for index in range(num_steps):
        rate = low_per_s + (high_per_s - low_per_s) * index / max(1, num_steps - 1)
        starts += [index * step_s + at_s for at_s in poisson(rate, step_s, num_steps * seed + index).starts_s]
    return OpenLoop(f"ramp {low_per_s:g}-{high_per_s:g}/s", tuple(starts))


def burst(size: int, num_bursts: int, every_s: float) -> OpenLoop:
    """`size` replies at one moment, again and again."""
    _positive(size=size, num_bursts=num_bursts, every_s=every_s)
    return OpenLoop(f"burst of {size}", tuple(index * every_s for index in range(num_bursts) for _ in range(size)))


def closed(in_flight: int, num_replies: int) -> ClosedLoop:
    _positive(in_flight=in_flight, num_replies=num_replies)
    return ClosedLoop(f"closed {in_flight}", in_flight, num_replies)


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; it must be greater than 0")
