"""The bundled Dual-AR: what its text encoder sees, step by step equals whole, rows and the disk change nothing."""

import pytest
import torch

from agent_tts.codec.source_filter import SourceFilterConfig, SourceFilterDecoder
from agent_tts.codec.source_filter_checkpoint import load_source_filter
from agent_tts.config import AlignedConfig, ModelConfig, TransformerConfig
from agent_tts.errors import CheckpointError
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.aligned_checkpoint import load_aligned
from agent_tts.training.export import export
from agent_tts.training.synthesis import GrowingCache, Sampler, generate_codes, speak

CODEC = SourceFilterConfig(
    num_codebooks=4, codebook_size=32, latent_dim=16, frame_dim=32, frame_blocks=1, step_dim=24, step_blocks=1
)
CONFIG = ModelConfig(
    layout="aligned",
    slow=TransformerConfig(num_layers=2, dim=32, num_heads=2, num_kv_heads=2, head_dim=16, ffn_dim=48, window=12),
    fast=TransformerConfig(num_layers=1, dim=24, num_heads=2, num_kv_heads=2, head_dim=12, ffn_dim=32),
    num_codebooks=CODEC.num_codebooks,
    codebook_size=CODEC.codebook_size,
    sample_rate=CODEC.sample_rate,
    frame_samples=CODEC.frame_samples,
    aligned=AlignedConfig(vocab_size=40, look_ahead=8, latent_dim=CODEC.latent_dim),
)


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    decoder = SourceFilterDecoder(CODEC).eval().requires_grad_(False)
    decoder.quantizer.codebooks.normal_()
    return decoder


@pytest.fixture
def model(decoder):
    torch.manual_seed(1)
    model = AlignedDualAR(CONFIG).eval().requires_grad_(False)
    model.set_codebooks(decoder.quantizer.codebooks)
    return model


def test_text_encoded_as_it_grows_equals_the_whole(model):
    ids = torch.randint(0, 40, (1, 30))
    whole = model.encode_text(ids)
    for known in (9, 15, 29):
        final = known - model.look_ahead
        torch.testing.assert_close(model.encode_text(ids[:, :known])[:, :final], whole[:, :final])


def test_text_encoder_sees_no_further_than_it_says(model):
    ids = torch.randint(0, 40, (1, 30))
    changed = ids.clone()
    changed[0, 20] = (ids[0, 20] + 1) % 40
    same = (model.encode_text(ids) == model.encode_text(changed)).all(-1)[0]
    assert same.nonzero().squeeze(-1).tolist() == [i for i in range(30) if abs(i - 20) > model.look_ahead]


def test_texts_that_share_a_row_do_not_see_each_other(model):
    first, second = torch.randint(0, 40, (1, 7)), torch.randint(0, 40, (1, 9))
    gap = torch.zeros(1, 2, dtype=torch.long)
    present = torch.ones(1, 18, dtype=torch.bool)
    present[:, 7:9] = False
    packed = model.text(torch.cat([first, gap, second], 1), present)
    torch.testing.assert_close(packed[:, :7], model.encode_text(first))
    torch.testing.assert_close(packed[:, 9:], model.encode_text(second))


def test_frame_by_frame_equals_all_frames_at_once(model):
    inputs = torch.randn(2, 20, 32)
    whole = model.slow_forward(inputs)
    cache = GrowingCache(2, 12)
    steps = [model.slow_step(inputs[:, t], cache, torch.full((2,), t)) for t in range(20)]
    torch.testing.assert_close(torch.stack(steps, 1), whole, atol=1e-5, rtol=1e-4)


def test_fast_codes_are_those_of_the_training_pass(model):
    hidden, first = torch.randn(3, 32), torch.tensor([1, 2, 3])
    codes = model.fast_codes(hidden, first, lambda book, logits: logits.argmax(-1))
    sums = model.codebooks[torch.arange(3), codes[:, :-1]].cumsum(1) * model.latent_scale
    logits = model.fast(hidden, sums, model.tables)
    assert torch.equal(logits.argmax(-1), codes[:, 1:])


def test_a_row_says_the_same_alone_and_in_company(model):
    texts = [[0, 5, 9, 3], [0, 7, 7, 1, 2, 30]]
    greedy = AlignedConfig(vocab_size=40, look_ahead=8, temperature=0.0, fast_temperature=0.0, advance_temperature=0.0)
    both = generate_codes(model, texts, Sampler(greedy, 0))
    alone = generate_codes(model, texts[:1], Sampler(greedy, 0))
    frames = min(both[0][0].shape[1], alone[0][0].shape[1])
    assert torch.equal(both[0][0][:, :frames], alone[0][0][:, :frames])


def test_what_is_exported_is_what_is_loaded(model, decoder, tmp_path):
    export(model, decoder, tmp_path)
    again, decoder_again = load_aligned(tmp_path), load_source_filter(tmp_path)
    assert again.config == model.config
    assert decoder_again.config == decoder.config
    for name, value in model.state_dict().items():
        error = (again.state_dict()[name] - value).abs().max()
        assert error <= value.abs().max() / 100, f"{name} is off by {error}"
    inputs = torch.randn(2, 5, 32)
    torch.testing.assert_close(again.slow_forward(inputs), model.slow_forward(inputs), atol=0.05, rtol=0.05)
    codes = torch.randint(0, 32, (1, 4, 6))
    whole, close = (d.step(codes, d.init_state(1)) for d in (decoder, decoder_again))
    assert whole.shape == close.shape


def test_a_missing_tensor_is_named(model, decoder, tmp_path):
    from safetensors.torch import load_file, save_file

    export(model, decoder, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.advance_head.bias"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"advance_head\.bias"):
        load_aligned(tmp_path)


def test_speaking_gives_audio_of_whole_frames(model, decoder):
    spoken = speak(model, decoder, [[0, 5, 9, 3, 4], [0, 1]])
    assert all(len(s.audio) == s.codes.shape[1] * CODEC.frame_samples for s in spoken)
