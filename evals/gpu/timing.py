"""Clocks: time on the device by its own events, time of a whole step by the wall; and what a run may still spend."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from evals.metrics.stats import spread

WARM_UP = 3
BATCH = 5
"""Calls between two events: short ones are too quick for an event each."""


class Clock:
    """Times calls on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"

    def wait(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize(self._device)

    def on_device(self, call: Callable[[], object], repeats: int) -> dict[str, float | int | None]:
        """Milliseconds of one call, without the host's part where calls follow each other: n, p50, p95, worst."""
        for _ in range(WARM_UP):
            call()
        self.wait()
        return _figures([self._batch(call) for _ in range(max(1, repeats // BATCH))])

    def by_wall(
        self, call: Callable[[], object], repeats: int, warm_up: int = WARM_UP
    ) -> dict[str, float | int | None]:
        """Milliseconds of one call that ends with a wait of its own: n, p50, p95, worst."""
        for _ in range(warm_up):
            call()
        self.wait()
        taken = []
        for _ in range(repeats):
            begin = time.perf_counter()
            call()
            taken.append(1e3 * (time.perf_counter() - begin))
        return _figures(taken)

    def _batch(self, call: Callable[[], object]) -> float:
        if not self._on_gpu:
            begin = time.perf_counter()
            for _ in range(BATCH):
                call()
            return 1e3 * (time.perf_counter() - begin) / BATCH
        begin_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin_event.record()
        for _ in range(BATCH):
            call()
        end_event.record()
        end_event.synchronize()
        return begin_event.elapsed_time(end_event) / BATCH


class Budget:
    """Seconds that a run may take; what comes when they are spent is left out and named."""

    def __init__(self, seconds: float) -> None:
        self._begin, self._seconds = time.perf_counter(), seconds

    @property
    def spent_s(self) -> float:
        return time.perf_counter() - self._begin

    @property
    def left_s(self) -> float:
        return self._seconds - self.spent_s


def _figures(taken: list[float]) -> dict[str, float | int | None]:
    found = spread(taken)
    return {"n": found.n, "p50": found.p50, "p95": found.p95, "worst": found.worst}
