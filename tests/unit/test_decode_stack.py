"""The two decode stacks give what the transformer gives, for one row and many, and leave the module usable."""

import pytest
import torch

from agent_tts.cache.kv_pool import KVPool
from agent_tts.config import TransformerConfig
from agent_tts.models.decode_stack import DecodeStack
from agent_tts.models.numpy_stack import NumpyStack, RowStep, fits
from agent_tts.nn.attention import Transformer

CONFIGS = {
    "slow": TransformerConfig(3, 24, 6, 2, 16, 40, qk_norm=True),
    "fast": TransformerConfig(2, 32, 4, 4, 8, 48),
}


def prefilled(
    config: TransformerConfig, rows: int, pages: list[int] | None = None
) -> tuple[Transformer, KVPool, list[list[int]]]:
    torch.manual_seed(1)
    model = Transformer(config).eval()
    pool = KVPool(config.num_layers, 4 * rows, 8, config.num_kv_heads, config.head_dim)
    tables = [pages or list(range(4 * row, 4 * row + 4)) for row in range(rows)]
    model(torch.randn(rows, 9, config.dim), None, pool.view(tables, [0] * rows, [9] * rows))
    return model, pool, tables


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_decode_stack_equals_the_transformer(name: str, rows: int) -> None:
    model, pool, tables = prefilled(CONFIGS[name], rows)
    x, positions = torch.randn(rows, CONFIGS[name].dim), torch.full((rows,), 9)
    view = pool.view(tables, [9] * rows, [1] * rows)
    expected = model(x.unsqueeze(1), positions.unsqueeze(1), view).squeeze(1)
    written = pool.k.clone()
    stack = DecodeStack(model)
    torch.testing.assert_close(stack.forward(x, stack.angles(positions), view), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pool.k, written, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model(x.unsqueeze(1), positions.unsqueeze(1), view).squeeze(1), expected)


@torch.inference_mode()
@pytest.mark.parametrize("pages", [[0, 1, 2], [2, 0, 1], [3, 1, 2]])
@pytest.mark.parametrize("name", CONFIGS)
def test_numpy_stack_equals_the_transformer(name: str, pages: list[int]) -> None:
    model, pool, tables = prefilled(CONFIGS[name], 1, pages)
    x, position = torch.randn(1, CONFIGS[name].dim), torch.tensor([9])
    view = pool.view(tables, [9], [1])
    expected = model(x.unsqueeze(1), position.unsqueeze(1), view)[0, 0]
    expected_normed, written = model.norm(expected), pool.v.clone()
    new = 8 * tables[0][1] + 1
    pool.k[:, new] = pool.v[:, new] = 7.0
    stack = DecodeStack(model)
    angles, alone = stack.angles(position), NumpyStack(stack)
    out = alone.forward([RowStep(x[0].numpy(), angles.numpy().reshape(-1), *view.arrays())])
    torch.testing.assert_close(torch.from_numpy(out[0]), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(alone.norm(out)[0].copy()), expected_normed, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pool.v, written, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_two_positions_of_one_row_in_one_pass_equal_two_passes() -> None:
    model, pool, tables = prefilled(CONFIGS["slow"], 1)
    x = torch.randn(1, 2, 24)
    expected = model(x, torch.tensor([[9, 10]]), pool.view(tables, [9], [2]))[0]
    pool.k[:, 9:11] = pool.v[:, 9:11] = 7.0
    stack = DecodeStack(model)
    steps = [
        RowStep(x[0, step].numpy(), stack.angles(torch.tensor([9 + step])).numpy().reshape(-1), *view.arrays())
        for step in range(2)
        for view in [pool.view(tables, [9 + step], [1])]
    ]
    out = torch.from_numpy(NumpyStack(stack).forward(steps))
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", CONFIGS)
def test_decode_stack_in_bfloat16_is_as_near_to_float32_as_the_transformer_is(name: str) -> None:
    model, pool, tables = prefilled(CONFIGS[name], 3)
    small = KVPool(CONFIGS[name].num_layers, 12, 8, CONFIGS[name].num_kv_heads, CONFIGS[name].head_dim, torch.bfloat16)
    small.k.copy_(pool.k)
    small.v.copy_(pool.v)
    x, positions = torch.randn(3, CONFIGS[name].dim), torch.full((3,), 9)
    exact = model(x.unsqueeze(1), positions.unsqueeze(1), pool.view(tables, [9] * 3, [1] * 3)).squeeze(1)
    model.bfloat16()
    view = small.view(tables, [9] * 3, [1] * 3)
    plain = model(x.bfloat16().unsqueeze(1), positions.unsqueeze(1), view).squeeze(1).float()
    stack = DecodeStack(model)
    found = stack.forward(x.bfloat16(), stack.angles(positions), view).float()
    assert (found - exact).norm() < 1.5 * (plain - exact).norm()
    assert (found - exact).norm() < 0.02 * exact.norm()


def test_the_stacks_share_the_modules_weights() -> None:
    model = Transformer(CONFIGS["slow"])
    stack = DecodeStack(model)
    block = model.layers[0]
    assert block.attention.wqkv.weight.data_ptr() == stack.layers[0].wqkv.data_ptr()
    assert block.feed_forward.w1.weight.data_ptr() == stack.layers[0].w13.data_ptr()
    assert block.feed_forward.w1.weight.shape == (40, 24)


def test_numpy_reads_float32_only() -> None:
    assert fits(DecodeStack(Transformer(CONFIGS["fast"])))
    assert not fits(DecodeStack(Transformer(CONFIGS["fast"]).bfloat16()))
