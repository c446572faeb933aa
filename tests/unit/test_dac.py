"""The released codec's blocks with random weights: streaming equals whole, slots are independent, windows hold."""

from __future__ import annotations

import pytest
import torch

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_config import DacConfig
from agent_tts.config import TransformerConfig
from agent_tts.nn.attention import Transformer
from agent_tts.nn.window_kv import WindowKV

SMALL = DacConfig(
    encoder_dim=4,
    encoder_rates=(2, 2),
    encoder_transformer_layers=(0, 1),
    encoder_transformer_window=5,
    decoder_dim=16,
    decoder_rates=(2, 2),
    latent_dim=16,
    head_dim=8,
    semantic_codebook_size=32,
    num_residual=2,
    residual_codebook_size=16,
    codebook_dim=4,
    quantizer_layers=2,
    quantizer_heads=2,
    quantizer_ffn_dim=24,
    quantizer_window=4,
)


@pytest.fixture(scope="module")
def codec() -> DacCodec:
    torch.manual_seed(5)
    made = DacCodec(SMALL).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.normal_(parameter, std=0.5)
    return made


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [[1] * 20, [3, 7, 10], [20], [9, 11]])
def test_any_chunking_gives_the_same_audio(codec: DacCodec, sizes: list[int]) -> None:
    codes = torch.randint(0, 40, (2, SMALL.num_codebooks, 20), generator=torch.Generator().manual_seed(1))
    state = codec.init_state(2)
    parts = [codec.step(part, state) for part in codes.split(sizes, dim=-1)]
    torch.testing.assert_close(torch.cat(parts, dim=-1), codec.decode(codes), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_slot_that_is_reset_begins_anew_and_its_neighbour_goes_on(codec: DacCodec) -> None:
    codes = torch.randint(0, 40, (2, SMALL.num_codebooks, 12), generator=torch.Generator().manual_seed(2))
    state = codec.init_state(3)
    slots = torch.tensor([2, 0])
    first = codec.step(codes[..., :7], state, slots)
    state.reset(torch.tensor([2]))
    again = codec.step(codes[:1, :, :7], state, torch.tensor([2]))
    torch.testing.assert_close(again, first[:1], atol=1e-6, rtol=1e-5)
    rest = codec.step(codes[1:, :, 7:], state, torch.tensor([0]))
    whole = codec.decode(codes[1:])
    torch.testing.assert_close(rest, whole[:, 7 * SMALL.frame_samples :], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_what_is_decoded_encodes_to_whole_frames(codec: DacCodec) -> None:
    codes = codec.encode(torch.randn(1, 5 * SMALL.frame_samples + 1) / 10)
    assert codes.shape == (1, SMALL.num_codebooks, 6)
    assert int(codes[:, 0].max()) < SMALL.semantic_codebook_size
    assert int(codes[:, 1:].max()) < SMALL.residual_codebook_size


@torch.inference_mode()
@pytest.mark.parametrize("sizes", [[1] * 15, [4, 4, 3, 4], [2, 1, 4, 4, 4]])
def test_a_ring_of_the_last_positions_equals_the_whole_window(sizes: list[int]) -> None:
    torch.manual_seed(6)
    config = TransformerConfig(2, 16, 2, 1, 8, 24, window=5)
    model, x = Transformer(config).eval(), torch.randn(2, 15, 16)
    ring = WindowKV(config, slots=3, max_chunk=4)
    ring.k.fill_(30.0)  # what a slot held before must not be seen
    outputs = []
    for part in x.split(sizes, dim=1):
        view = ring.advance(part.shape[1], torch.tensor([2, 1]))
        outputs.append(model(part, view.positions, view))
    torch.testing.assert_close(torch.cat(outputs, dim=1), model(x), atol=1e-5, rtol=1e-5)
    assert ring.position.tolist() == [0, 15, 15]
