"""On a real GPU: captured graphs say what a CPU says. Off by default: pytest -m gpu tests/e2e/test_gpu.py"""

import numpy as np
import pytest
import torch

from agent_tts.models.quantized import pack, product_added
from evals.gpu.steps import spoken


@pytest.mark.gpu
def test_graphs_say_what_a_cpu_says():
    cpu, gpu = spoken(torch.device("cpu"), "dynamic"), spoken(torch.device("cuda"), "graphs")
    assert [columns for columns, _ in gpu] == [columns for columns, _ in cpu]
    for (_, pcm), (_, other) in zip(gpu, cpu, strict=True):
        np.testing.assert_allclose(pcm, other, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("weights", ["int8", "fp8"])
@pytest.mark.parametrize("rows", [1, 16, 70])
def test_the_one_byte_kernel_equals_widening_first(weights, rows):
    x, weight, residual = torch.randn(rows, 512), torch.randn(96, 512), torch.randn(rows, 96)
    packed = pack(weight, weights)
    expected = residual + x @ (packed.values.float() * packed.scales.t()).t()
    on_gpu = type(packed)(*(tensor.cuda() for tensor in packed))
    found = product_added(residual.cuda().bfloat16(), x.cuda().bfloat16(), on_gpu).float().cpu()
    assert (found - expected).norm() < 0.01 * expected.norm()
