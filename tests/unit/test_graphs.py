"""CUDA graphs where there is no GPU: what is said when a step cannot be captured. PyTorch's calls are stand-ins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from agent_tts import Engine, EngineConfig
from agent_tts.errors import ConfigError
from agent_tts.nn import graphs
from agent_tts.runtime import prompt_runner
from agent_tts.runtime.prompt_runner import PromptRunner
from evals.gpu.model import build


class Cuda:
    """As much of torch.cuda as a capture touches; `fails_at` is the capture that fails."""

    def __init__(self, fails_at: int | None) -> None:
        self.fails_at = fails_at
        self.captured = 0

    Stream = staticmethod(lambda device: SimpleNamespace(wait_stream=lambda other: None))
    current_stream = staticmethod(lambda: SimpleNamespace(wait_stream=lambda other: None))
    CUDAGraph = SimpleNamespace
    graph_pool_handle = synchronize = staticmethod(lambda: None)
    device = stream = staticmethod(lambda which: contextlib.nullcontext())

    @contextlib.contextmanager
    def graph(self, graph: object, pool: object, stream: object, capture_error_mode: str) -> Iterator[None]:
        yield
        if self.captured == self.fails_at:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.captured += 1


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Cuda:
    made = Cuda(request.param)
    monkeypatch.setattr(graphs, "torch", SimpleNamespace(cuda=made))
    return made


def load(monkeypatch: pytest.MonkeyPatch) -> PromptRunner:
    """A runner on this CPU that takes itself for one on a GPU."""
    monkeypatch.setattr(prompt_runner, "_launcher", lambda config, device: graphs.CudaGraphs(device))
    built = build(torch.device("cpu"), torch.float32, tiny=True)
    config = EngineConfig(max_slots=2, num_pages=64)
    return PromptRunner(built.model, built.codec, built.layout, config, {}, name="tiny")


@pytest.mark.parametrize("cuda", [None], indirect=True)
def test_every_function_of_the_step_is_captured(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = load(monkeypatch)
    assert runner.static is not None
    assert cuda.captured == len(runner.static.buffers) * (1 + len(runner.static.contexts))


@pytest.mark.parametrize("cuda", [0, 2], indirect=True)
def test_a_capture_that_fails_is_an_error_that_says_what_to_set(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a bare RuntimeError of PyTorch's, which names neither the setting nor a way out."""
    with pytest.raises(ConfigError, match=r"stream is capturing.*step: static.*step: dynamic") as caught:
        load(monkeypatch)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("cuda", [0], indirect=True)
async def test_the_engine_does_not_load_without_its_graphs(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent_tts.runtime import loading

    monkeypatch.setattr(loading, "load_runner", lambda config, find_voices: load(monkeypatch))
    with pytest.raises(ConfigError, match="step: dynamic"):
        await Engine.load(config=EngineConfig(model="bundled"))
