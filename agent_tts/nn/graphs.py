"""Computations with fixed shapes and addresses, prepared once and launched by key: as CUDA graphs, or by plain calls.

A function that is prepared takes nothing and returns nothing: it reads and writes tensors that live as long as the
launcher, and it must not wait for the device, allocate what it keeps, or look at a value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import torch

WARM_UP_CALLS = 2
"""Before a capture: libraries choose their kernels and take their workspaces in the first calls."""


class Launcher(Protocol):
    """Runs prepared functions."""

    def prepare(self, key: Hashable, function: Callable[[], None]) -> None:
        """Make `function` launchable. It may be called here several times."""
        ...

    def launch(self, key: Hashable) -> None:
        """Run it on the current stream. On a GPU this returns before it is done."""
        ...


class PlainCalls:
    """Calls the function each time. For a CPU, and for a GPU where graphs are not wanted."""

    def __init__(self) -> None:
        self._functions: dict[Hashable, Callable[[], None]] = {}

    def prepare(self, key: Hashable, function: Callable[[], None]) -> None:
        function()
        self._functions[key] = function

    def launch(self, key: Hashable) -> None:
        self._functions[key]()


class CudaGraphs:
    """Captures each function once; a launch replays all its kernels with one call.

    All graphs take their memory from one pool: they run one after the other, and what they leave behind for each other
    lies in tensors that were made before. Prepare the largest first, then the others fit into its memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}

    def prepare(self, key: Hashable, function: Callable[[], None]) -> None:
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP_CALLS):
                    function()
            torch.cuda.current_stream().wait_stream(self._stream)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Thread-local: what other threads of this process do on the GPU meanwhile does not break the capture.
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                function()
        self._graphs[key] = graph

    def launch(self, key: Hashable) -> None:
        self._graphs[key].replay()
