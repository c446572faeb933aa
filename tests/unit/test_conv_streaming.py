"""Streaming equals offline for every convolution block, whatever the chunking and the neighbours."""

import pytest
import torch

from agent_tts.nn.conv import CausalConv1d, CausalConvTranspose1d, ConvNeXtBlock
from agent_tts.nn.streaming import StreamingSequential

BLOCKS = {
    "plain": lambda: CausalConv1d(4, 6, 3),
    "dilated": lambda: CausalConv1d(4, 6, 5, dilation=3, bias=False),
    "grouped": lambda: CausalConv1d(4, 8, 7, groups=4),
    "pointwise": lambda: CausalConv1d(4, 8, 1),
    "up": lambda: CausalConvTranspose1d(4, 6, 8, stride=4),
    "up odd overlap": lambda: CausalConvTranspose1d(4, 6, 7, stride=3, groups=2),
    "up no overlap": lambda: CausalConvTranspose1d(4, 6, 4, stride=4, bias=False),
    "up wide": lambda: CausalConvTranspose1d(4, 6, 9, stride=2, dilation=2),
    "convnext": lambda: ConvNeXtBlock(4, layer_scale=0.5),
    "stack": lambda: StreamingSequential(
        CausalConv1d(4, 6, 3), torch.nn.GELU(), CausalConvTranspose1d(6, 5, 4, stride=2), ConvNeXtBlock(5)
    ),
}
CHUNKINGS = [[1] * 12, [5, 1, 6], [12]]


@pytest.fixture(params=BLOCKS.values(), ids=BLOCKS.keys())
def block(request):
    torch.manual_seed(0)
    return request.param().eval()


def run(block, x, sizes, state=None, slot_ids=None):
    state = state or block.init_state(x.shape[0])
    return torch.cat([block.step(part, state, slot_ids) for part in x.split(sizes, dim=-1)], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("sizes", CHUNKINGS, ids=str)
def test_any_chunking_gives_the_output_of_one_whole_call(block, sizes):
    x = torch.randn(3, 4, 12)
    torch.testing.assert_close(run(block, x, sizes), block(x), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_strided_convolution_streams_in_multiples_of_its_stride():
    block = CausalConv1d(4, 6, 4, stride=2)
    x = torch.randn(2, 4, 12)
    torch.testing.assert_close(run(block, x, [2, 4, 6]), block(x))


@torch.no_grad()
def test_a_neighbour_that_resets_changes_nothing(block):
    x = torch.randn(2, 4, 12)
    state = block.init_state(2)
    first = block.step(x[..., :6], state)
    state.reset(torch.tensor([1]))
    second = block.step(x[..., 6:], state)
    whole = block(x[:1])
    torch.testing.assert_close(torch.cat([first[:1], second[:1]], -1), whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(second[1:], block(x[1:, :, 6:]), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_rows_find_their_slot_in_any_order(block):
    x = torch.randn(2, 4, 12)
    state = block.init_state(4)
    first = block.step(x[..., :6], state, torch.tensor([3, 1]))
    second = block.step(x[..., 6:].flip(0), state, torch.tensor([1, 3])).flip(0)
    torch.testing.assert_close(torch.cat([first, second], -1), block(x), atol=1e-6, rtol=1e-5)
