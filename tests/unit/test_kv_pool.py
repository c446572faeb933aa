"""The KV pool gives every way of cutting, paging and batching the result of one pass without a cache."""

import pytest
import torch

from agent_tts.cache.kv_pool import KVPool
from agent_tts.config import TransformerConfig
from agent_tts.nn.attention import Transformer

PAGE = 4


def tiny(window: int | None = None) -> Transformer:
    torch.manual_seed(3)
    config = TransformerConfig(2, 16, 4, 2, 8, 24, qk_norm=True, window=window)
    return Transformer(config).eval()


def pool(num_pages: int = 16) -> KVPool:
    return KVPool(2, num_pages, PAGE, kv_heads=2, head_dim=8)


@torch.inference_mode()
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("pages", [[0, 1, 2, 3], [7, 2, 9, 4]])
@pytest.mark.parametrize("sizes", [[13], [1] * 13, [5, 1, 7]])
def test_any_cut_of_the_prompt_equals_one_pass(window: int | None, pages: list[int], sizes: list[int]) -> None:
    model, cache = tiny(window), pool()
    x = torch.randn(1, 13, 16)
    outputs, start = [], 0
    for size in sizes:
        view = cache.view([pages], [start], [size], window=window)
        positions = torch.arange(start, start + size).unsqueeze(0)
        outputs.append(model(x[:, start : start + size], positions, view))
        start += size
    torch.testing.assert_close(torch.cat(outputs, dim=1), model(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("context", [None, 32])
def test_ragged_rows_equal_single_rows_whatever_their_padding_holds(context: int | None) -> None:
    model, cache = tiny(), pool()
    cache.k.fill_(50.0)
    cache.v.fill_(-50.0)
    tables, lengths = [[5], [1, 8, 3], [2, 9]], [2, 9, 6]
    rows = [torch.randn(1, length, 16) for length in lengths]
    padded = torch.zeros(3, 9, 16)
    for index, row in enumerate(rows):
        padded[index, : row.shape[1]] = row
    whole = model(padded, None, cache.view(tables, [0, 0, 0], lengths, context=context))
    more = torch.randn(3, 1, 16)
    last = model(more, torch.tensor(lengths).unsqueeze(1), cache.view(tables, lengths, [1, 1, 1], context=context))
    for index, row in enumerate(rows):
        expected = model(torch.cat([row, more[index : index + 1]], dim=1))
        torch.testing.assert_close(whole[index, : row.shape[1]], expected[0, :-1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(last[index, 0], expected[0, -1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_row_without_new_positions_leaves_its_pages_as_they_are() -> None:
    model, cache = tiny(), pool()
    model(torch.randn(1, 6, 16), None, cache.view([[4, 6]], [0], [6]))
    before = cache.k.clone()
    model(torch.randn(2, 3, 16), None, cache.view([[4, 6], [0]], [6, 0], [0, 3]))
    torch.testing.assert_close(cache.k[:, 16:32], before[:, 16:32])
    assert torch.isfinite(cache.k).all()


@torch.inference_mode()
@pytest.mark.parametrize("copied", [1, 3])
def test_a_context_that_begins_with_a_copy_goes_on_as_if_it_had_been_computed(copied: int) -> None:
    model, cache = tiny(), pool()
    x, y = torch.randn(1, 2 * PAGE, 16), torch.randn(1, 5, 16)
    model(x, None, cache.view([[9, 2]], [0], [2 * PAGE]))
    before = cache.k.clone()
    cache.copy(2, 5, copied)
    start = PAGE + copied
    found = model(y, torch.arange(start, start + 5).unsqueeze(0), cache.view([[9, 5, 7]], [start], [5]))
    expected = model(torch.cat([x[:, :start], y], dim=1))[:, start:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cache.k[:, : 5 * PAGE], before[:, : 5 * PAGE], atol=0, rtol=0)


def test_pages_that_form_a_run_are_read_in_place() -> None:
    cache = pool()
    view = cache.view([[2, 3]], [1], [2])
    keys, _, mask = view.update(0, torch.ones(1, 2, 2, 8), torch.ones(1, 2, 2, 8))
    assert keys.data_ptr() == cache.k[0, 2 * PAGE].data_ptr()
    assert mask is not None
    assert mask.tolist() == [[[True, True, False], [True, True, True]]]


def test_a_row_in_two_pieces_is_read_in_place() -> None:
    cache = pool()
    arrays = cache.view([[5, 6, 2, 3]], [13], [1], window=12).arrays()
    assert [len(run) for run in arrays.keys[0]] == [6, 6]
    assert arrays.keys[1][1].ctypes.data == cache.k[1, 2 * PAGE].data_ptr()


def test_scattered_pages_of_a_row_are_read_side_by_side_with_what_was_just_written() -> None:
    cache = pool()
    cache.k.copy_(torch.arange(cache.k.numel()).view_as(cache.k))
    table = [5, 1, 7, 3, 9]
    arrays = cache.view([table], [17], [1], window=15).arrays()
    slots = [table[position // PAGE] * PAGE + position % PAGE for position in range(3, 18)]
    for layer in range(2):
        arrays.new_keys[layer][:] = -layer - 1.0
        (keys,) = arrays.keys[layer]
        assert len(keys) == arrays.num_positions == 15
        assert (keys == cache.k[layer, slots].numpy()).all()
        assert (keys[-1] == -layer - 1.0).all()
    assert cache.k[1, slots[-1], 0, 0] == -2.0, "it is kept in the pool, not in the copy alone"


def test_too_few_pages_are_refused() -> None:
    with pytest.raises(AssertionError, match="do not fit"):
        pool().view([[1], [2]], [3, 0], [2, 1])
