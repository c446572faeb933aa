"""The bundled decoder: frame by frame equals whole, rows are independent, the tail comes out."""

import pytest
import torch

from agent_tts.codec.excitation import DELAY_SAMPLES
from agent_tts.codec.source_filter import SourceFilterConfig, SourceFilterDecoder

CONFIG = SourceFilterConfig(codebook_size=16, frame_dim=32, frame_blocks=1, step_dim=24, step_blocks=1)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    decoder = SourceFilterDecoder(CONFIG).eval()
    decoder.quantizer.codebooks.normal_()
    return decoder


@pytest.fixture
def codes():
    return torch.randint(0, CONFIG.codebook_size, (2, CONFIG.num_codebooks, 12), generator=torch.manual_seed(1))


def run(decoder, codes, sizes):
    state = decoder.init_state(len(codes))
    return torch.cat([decoder.step(part, state) for part in codes.split(sizes, dim=-1)], dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * 12, [5, 1, 6], [12]], ids=str)
def test_any_chunking_gives_the_same_audio(decoder, codes, sizes):
    whole = run(decoder, codes, [12])
    assert whole.shape == (2, 12 * CONFIG.frame_samples)
    assert whole.abs().max() > 0.01, "a silent decoder would pass anything"
    torch.testing.assert_close(run(decoder, codes, sizes), whole, atol=1e-3 * float(whole.abs().max()), rtol=0)


@torch.no_grad()
def test_rows_do_not_hear_each_other(decoder, codes):
    alone = run(decoder, codes[:1], [6, 6])
    state = decoder.init_state(3)
    slots = torch.tensor([2, 0])
    first = decoder.step(codes[..., :6], state, slots)
    state.reset(torch.tensor([0]))
    second = decoder.step(codes[..., 6:], state, slots)
    torch.testing.assert_close(torch.cat([first, second], -1)[:1], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_reset_slot_begins_anew(decoder, codes):
    state = decoder.init_state(1)
    first = decoder.step(codes[:1], state)
    state.reset(torch.tensor([0]))
    assert torch.equal(decoder.step(codes[:1], state), first)


@torch.no_grad()
def test_flush_gives_the_end_that_the_delay_holds_back(decoder, codes):
    state = decoder.init_state(2)
    decoder.step(codes, state)
    tail = decoder.flush(state)
    assert tail.shape == (2, DELAY_SAMPLES)
    assert tail.abs().max() > 0


@torch.no_grad()
def test_fewer_codebooks_decode_too(decoder, codes):
    state = decoder.init_state(2)
    assert decoder.step(codes[:, :4], state).shape == (2, 12 * CONFIG.frame_samples)
