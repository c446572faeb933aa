"""Statistics of measured values: nearest-rank percentiles, spread, bootstrap intervals, paired verdicts. All pure.

Nothing here knows what was measured. A percentile is always a value that occurred; a mean is never returned alone.
A NaN is no measurement: it is refused, because it would quietly change the order of all others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

RESAMPLES = 2_000
MIN_PAIRS = 6
"""Fewer pairs give no verdict: five coins fall on one side once in 16 times, and a bootstrap would be sure of it."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What is said about a list of values: n, p50, p95, p99 and the worst."""

    n: int
    p50: float | None
    p95: float | None
    p99: float | None
    worst: float | None

    def as_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Two runs compared on pairs. `change` is b - a; `better` is None when the interval holds 0."""

    n: int
    change: Interval
    better: str | None


def nearest_rank(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` (0..1) of the values do not exceed; None of nothing."""
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; allowed: 0 to 1")
    _refuse_nan(values)
    if not values:
        return None
    rank = max(1, math.ceil(len(values) * share - 1e-9))
    return sorted(values)[rank - 1]


def spread(values: Sequence[float | None]) -> Spread:
    """Spread of the values that were observed. Higher is worse."""
    seen = [value for value in values if value is not None]
    return Spread(
        n=len(seen),
        p50=nearest_rank(seen, 0.50),
        p95=nearest_rank(seen, 0.95),
        p99=nearest_rank(seen, 0.99),
        worst=max(seen, default=None),
    )


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[np.ndarray], float] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Percentile bootstrap of a statistic (default: the mean) of independent values. None of nothing."""
    if not len(values):
        return None
    take = statistic or (lambda sample: float(np.mean(sample)))
    _refuse_nan(values)
    data = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(data), size=(resamples, len(data)))
    return _interval(take(data), [take(data[pick]) for pick in picks], confidence)


def bootstrap_ratio(
    numerators: Sequence[float], denominators: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Interval of sum(numerators) / sum(denominators), resampled in pairs: pooled WER over sentences."""
    if len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} numerators and {len(denominators)} denominators")
    _refuse_nan([*numerators, *denominators])
    if not len(numerators) or not sum(denominators):
        return None
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    picks = np.random.default_rng(seed).integers(0, len(top), size=(resamples, len(top)))
    ratios = top[picks].sum(axis=1) / np.maximum(bottom[picks].sum(axis=1), 1e-12)
    return _interval(float(top.sum() / bottom.sum()), ratios.tolist(), 0.95)


def paired(
    before: Sequence[float],
    after: Sequence[float],
    *,
    lower_is_better: bool = True,
    mean: bool = False,
    seed: int = 0,
) -> Verdict | None:
    """Median (or mean) of the paired differences with its interval, and who is better; None without pairs.

    The median of an even number of differences lies between two of them, so that a - b is the opposite of b - a.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} values against {len(after)}: not pairs")
    differences = [second - first for first, second in zip(before, after, strict=True)]
    change = bootstrap(differences, None if mean else lambda sample: float(np.median(sample)), seed=seed)
    if change is None:
        return None
    better = None
    if len(differences) >= MIN_PAIRS and (change.high < 0 or change.low > 0):
        better = "b" if (change.high < 0) == lower_is_better else "a"
    return Verdict(len(differences), change, better)


def _refuse_nan(values: Sequence[float]) -> None:
    if any(value != value for value in values):
        raise ValueError("a value is NaN: this was not measured, so it must be None or left out")


def _interval(value: float, resampled: Sequence[float], confidence: float) -> Interval:
    tail = (1 - confidence) / 2
    low, high = nearest_rank(resampled, tail), nearest_rank(resampled, 1 - tail)
    assert low is not None
    assert high is not None
    return Interval(float(value), float(low), float(high))
