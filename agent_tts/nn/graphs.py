"""Computations with fixed shapes and addresses, prepared once and launched by key: as CUDA graphs, or by plain calls.

A function that is prepared takes nothing and returns nothing: it reads and writes tensors that live as long as the
launcher, and it must not wait for the device, allocate what it keeps, or look at a value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import torch

from agent_tts.errors import ConfigError

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
        """Warm up, then capture. Raises ConfigError when this GPU, its driver or PyTorch captures no such function.

        Nothing falls back by itself: an engine that is several times slower than it was measured is no working one.
        """
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UP_CALLS):
                    function()
            torch.cuda.current_stream().wait_stream(self._stream)
            torch.cuda.synchronize()
            try:
                self._graphs[key] = self._capture(function)
            except RuntimeError as error:  # PyTorch raises it for CUDA's errors, also when memory runs out
                raise ConfigError(
                    f"The step cannot be captured as CUDA graphs on {str(self._device)!r} ({error}). Fewer max_slots "
                    "need fewer graphs. Without any, and slower: step: static, or step: dynamic."
                ) from error

    def _capture(self, function: Callable[[], None]) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Thread-local: what other threads of this process do on the GPU meanwhile does not break the capture.
        with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
            function()
        return graph

    def launch(self, key: Hashable) -> None:
        self._graphs[key].replay()
