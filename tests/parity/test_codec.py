"""The codec equals the reference: encode, decode, and any chunking of a stream, whatever its neighbours do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agent_tts.codec.dac import DacCodec
from agent_tts.codec.dac_checkpoint import load_codec, meta_codec, released_names
from agent_tts.codec.dac_config import RELEASED
from agent_tts.errors import CheckpointError
from tests.parity import fixtures

ATOL = fixtures.LATENT_ATOL


@pytest.fixture(scope="module")
def codec() -> DacCodec:
    return load_codec(fixtures.folder("codec_tiny") / "codec.pth").codec


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    return fixtures.arrays("codec_tiny")


def batch(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).unsqueeze(0)


@torch.inference_mode()
def test_each_stage_of_decoding(codec: DacCodec, data: dict) -> None:
    z = codec.quantizer.look_up(batch(data["codes"]))
    fixtures.close(z[0], data["dec_z_q"], ATOL)
    post = codec.quantizer.post_module(z)
    fixtures.close(post[0], data["dec_post"], ATOL)
    fixtures.close(codec.quantizer.upsample(post)[0], data["dec_up"], ATOL)
    fixtures.close(codec.decode(batch(data["codes"]))[0], data["audio"], fixtures.AUDIO_ATOL)


@torch.inference_mode()
def test_each_stage_of_encoding(codec: DacCodec, data: dict) -> None:
    assert codec.encoder is not None
    wav = torch.nn.functional.pad(batch(data["wav"]), (0, -len(data["wav"]) % codec.config.frame_samples))
    latent = codec.encoder(wav.unsqueeze(1))
    fixtures.close(latent[0], data["enc_latent"], ATOL)
    down = codec.quantizer.downsample(latent)
    fixtures.close(down[0], data["enc_down"], ATOL)
    fixtures.close(codec.quantizer.pre_module(down)[0], data["enc_pre"], ATOL)


@torch.inference_mode()
def test_codes_of_a_recording_and_back(codec: DacCodec, data: dict) -> None:
    codes = codec.encode(batch(data["wav"]))
    np.testing.assert_array_equal(codes[0].numpy(), data["enc_codes"])
    assert codes.shape[-1] == int(data["enc_len"][0])
    expected = data["roundtrip_audio_first_2_frames"]
    fixtures.close(codec.decode(codes)[0, : len(expected)], expected, fixtures.AUDIO_ATOL)


@torch.inference_mode()
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16])
def test_any_chunking_gives_the_audio_of_the_whole(codec: DacCodec, data: dict, size: int) -> None:
    state = codec.init_state(1)
    parts = [codec.step(part, state) for part in batch(data["codes"]).split(size, dim=-1)]
    fixtures.close(torch.cat(parts, dim=-1)[0], data["audio"], fixtures.AUDIO_ATOL)


@torch.inference_mode()
@pytest.mark.parametrize("size", [1, 7])
def test_a_long_stream_stays_exact(codec: DacCodec, data: dict, size: int) -> None:
    state, length = codec.init_state(1), codec.config.frame_samples
    parts = [codec.step(part, state) for part in batch(data["long_codes"]).split(size, dim=-1)]
    audio = torch.cat(parts, dim=-1)[0].unflatten(0, (-1, length))
    fixtures.close(audio[torch.from_numpy(data["long_frames"])], data["long_audio"], fixtures.AUDIO_ATOL)


@torch.inference_mode()
def test_slots_stream_at_their_own_pace_and_a_reset_touches_no_neighbour(codec: DacCodec, data: dict) -> None:
    codes, state, samples = batch(data["codes"]), codec.init_state(3), codec.config.frame_samples
    codec.step(codes[..., 5:9], state, torch.tensor([2]))  # an earlier utterance of slot 2
    heard: dict[int, list[torch.Tensor]] = {0: [], 2: []}
    at = {0: 0, 2: 0}
    for step in range(codes.shape[-1] + 3):
        if step == 3:
            state.reset(torch.tensor([2, 1]))
        slots = [slot for slot in ([0] if step < 3 else [2, 0]) if at[slot] < codes.shape[-1]]
        frames = torch.cat([codes[..., at[slot] : at[slot] + 1] for slot in slots])
        for slot, pcm in zip(slots, codec.step(frames, state, torch.tensor(slots)), strict=True):
            heard[slot].append(pcm)
            at[slot] += 1
    for parts in heard.values():
        assert len(parts) * samples == len(data["audio"])
        fixtures.close(torch.cat(parts), data["audio"], fixtures.AUDIO_ATOL)


def test_tables_in_the_file_are_ignored_by_name(codec: DacCodec) -> None:
    report = load_codec(fixtures.folder("codec_tiny") / "codec.pth", with_encoder=False).report
    tables = [name for name in report.ignored if name.endswith(("causal_mask", "freqs_cis"))]
    assert len(tables) == 6
    assert all(name in tables or name.startswith("encoder.") for name in report.ignored)


def test_the_released_shape_has_the_released_number_of_tensors_and_parameters() -> None:
    codec = meta_codec(RELEASED)
    names = [name for ours, _ in codec.named_parameters() for name in released_names(ours)]
    lengths = [
        parameter.shape[0] for ours, parameter in codec.named_parameters() if len(released_names(ours)) == 2
    ]  # one g per output row
    assert len(names) == 535
    assert sum(parameter.numel() for parameter in codec.parameters()) + sum(lengths) == 391_430_530


def test_a_codec_of_another_shape_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"tensors are missing.*encoder"):
        load_codec(fixtures.folder("codec_tiny") / "codec.pth", RELEASED)
