"""The bundled voice's frame on NumPy is the modules' own: inputs, logits, codes and sound, for one row and many."""

import numpy as np
import pytest
import torch

from agent_tts.codec.source_filter_stepper import SourceFilterStepper
from agent_tts.models.aligned_decoder import AlignedDecoder
from agent_tts.models.numpy_sampling import draw_rows
from agent_tts.models.sampling import draw, rank
from tests.toy import toy_parts

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module")
def model():
    return toy_parts()[0]


@pytest.fixture(scope="module")
def decoder():
    return toy_parts()[1]


def frame(model, rows: int):
    torch.manual_seed(2)
    dim, books, size = model.config.slow.dim, model.config.num_codebooks, model.config.codebook_size
    codes = torch.randint(0, size, (rows, books))
    codes[0] = model.start_codes(1)[0]
    return torch.randn(rows, dim), torch.randint(0, 30, (rows,)), codes


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 5])
def test_the_slow_ar_reads_the_same(model, rows: int) -> None:
    text, progress, previous = frame(model, rows)
    expected = model.frame_inputs(text, progress, previous)
    found = AlignedDecoder(model).inputs(text.numpy(), progress.numpy(), previous.numpy())
    torch.testing.assert_close(torch.from_numpy(found), expected, **CLOSE)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 5])
def test_all_logits_of_a_frame_are_the_same(model, rows: int) -> None:
    hidden, _, _ = frame(model, rows)
    advance = torch.arange(rows) % (model.max_advance + 1)
    first = torch.arange(rows) + 3
    numpy = AlignedDecoder(model)
    seen: dict[int, torch.Tensor] = {}

    def best(book: int, logits: torch.Tensor) -> torch.Tensor:
        seen[book] = logits
        return logits.argmax(dim=-1)

    def same_best(book: int, logits: np.ndarray) -> np.ndarray:
        torch.testing.assert_close(torch.from_numpy(logits), seen[book], **CLOSE)
        return logits.argmax(axis=-1)

    for found, expected in (
        (numpy.advance_logits(hidden.numpy()), model.advance_logits(hidden)),
        (numpy.c0_logits(hidden.numpy(), advance.numpy()), model.c0_logits(hidden, advance)),
    ):
        torch.testing.assert_close(torch.from_numpy(found), expected, **CLOSE)
    expected_codes = model.fast_codes(hidden, first, best)
    assert numpy.codes(hidden.numpy(), first.numpy(), same_best).tolist() == expected_codes.tolist()
    assert len(seen) == model.config.num_codebooks - 1


def test_draws_on_numpy_are_the_same_draws() -> None:
    torch.manual_seed(3)
    rows, ranks = 400, 16
    logits, uniform = 3 * torch.randn(rows, 50), torch.rand(rows, ranks)
    temperature, top_p = 0.1 + torch.rand(rows), torch.rand(rows).round(decimals=1)
    top_p[::3] = 1.0
    expected = draw(rank(logits, ranks), uniform, temperature, top_p)
    found = draw_rows(logits.numpy(), uniform.numpy(), temperature.numpy(), top_p.numpy())
    assert found.tolist() == expected.tolist()
    assert len(set(found.tolist())) > 10


def test_a_row_draws_the_same_beside_others() -> None:
    torch.manual_seed(4)
    logits, uniform = torch.randn(8, 50).numpy(), torch.rand(8, 16).numpy()
    temperature, top_p = np.full(8, 0.7, np.float32), np.array([1, 0.5] * 4, np.float32)
    together = draw_rows(logits, uniform, temperature, top_p)
    alone = [draw_rows(*(part[row : row + 1] for part in (logits, uniform, temperature, top_p)))[0] for row in range(8)]
    assert together.tolist() == alone


@torch.inference_mode()
def test_the_stepped_codec_is_the_decoder_with_slots_in_any_order(decoder) -> None:
    torch.manual_seed(5)
    codes = torch.randint(0, 64, (2, 4, 9))
    stepper, slots = SourceFilterStepper(decoder), np.array([2, 0])
    whole = decoder.step(codes, decoder.init_state(2))
    state = stepper.init_state(3)
    parts = [stepper.step(part[..., 0].numpy(), state, slots) for part in codes.split(1, dim=-1)]
    found = torch.from_numpy(np.concatenate(parts, axis=1))
    assert whole.abs().max() > 0.001, "a silent decoder would pass anything"
    torch.testing.assert_close(found, whole, atol=1e-3 * float(whole.abs().max()), rtol=0)
    reference = decoder.init_state(2)
    decoder.step(codes, reference)
    expected_tail = decoder.flush(reference)
    tail = torch.from_numpy(stepper.flush(state, slots))
    torch.testing.assert_close(tail, expected_tail, atol=1e-3 * float(whole.abs().max()), rtol=0)


@torch.inference_mode()
def test_a_reset_slot_begins_anew_and_its_neighbour_does_not_notice(decoder) -> None:
    torch.manual_seed(6)
    codes = torch.randint(0, 64, (2, 4)).numpy()
    stepper, both, one = SourceFilterStepper(decoder), np.array([0, 1]), np.array([0])
    state, undisturbed = stepper.init_state(2), stepper.init_state(2)
    first = stepper.step(codes, state, both)
    stepper.step(codes, undisturbed, both)
    state.reset(one)
    second, expected = stepper.step(codes, state, both), stepper.step(codes, undisturbed, both)
    assert np.array_equal(second[0], first[0])
    assert np.array_equal(second[1], expected[1])
    assert not np.array_equal(second[1], first[1])
