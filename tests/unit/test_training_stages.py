"""Every training stage after the data, on a toy corpus: it ends, resumes, and leaves a voice that loads and speaks."""

import dataclasses

import numpy as np
import pytest
import torch

from agent_tts.codec.source_filter_checkpoint import load_source_filter
from agent_tts.config import TransformerConfig
from agent_tts.errors import ConfigError
from agent_tts.models.aligned_checkpoint import load_aligned
from agent_tts.training import codec as codec_stage
from agent_tts.training import pipeline
from agent_tts.training.codec import CodecSettings
from agent_tts.training.data import _write_shard, shard_path
from agent_tts.training.dual_ar import DualARSettings
from agent_tts.training.polish import PolishSettings, grown_decoder
from agent_tts.training.synthesis import speak
from agent_tts.training.teacher import F0_HOP, FRAME_SAMPLES, SAMPLE_RATE, Utterance
from agent_tts.training.vocoder import VocoderSettings, make_decoder

SETTINGS = pipeline.Settings(
    codec=CodecSettings(
        num_codebooks=3,
        codebook_size=16,
        latent_dim=8,
        encoder_dim=16,
        encoder_blocks=1,
        trunk_dim=16,
        trunk_blocks=1,
        rows=2,
        frames=16,
        steps=4,
        quantize_from=2,
    ),
    vocoder=VocoderSettings(rows=2, frames=16, steps=2),
    polish=PolishSettings(rows=2, frames=16, steps=3, warmup=1, step_blocks=4),
    model=DualARSettings(rows=1, steps=2, fast_frames=8, evaluate_every=1),
)


def utterance(frames, rng):
    time = np.arange(frames * FRAME_SAMPLES) / SAMPLE_RATE
    audio = 0.3 * np.sin(2 * np.pi * 200 * time) + 0.01 * rng.standard_normal(len(time))
    tokens = frames // 2
    return Utterance(
        text="tone",
        ids=rng.integers(1, 170, tokens).astype(np.uint8),
        ends=np.linspace(0, len(time), tokens + 1)[1:].astype(np.int32),
        audio=(audio * 32767).astype(np.int16),
        f0=np.full(len(time) // F0_HOP, 200, np.float16),
    )


@pytest.fixture
def plan(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for number in range(2):
        (tmp_path / "data").mkdir(exist_ok=True)
        _write_shard(shard_path(tmp_path / "data", number), (utterance(40, rng) for _ in range(12)))
    monkeypatch.setattr(codec_stage, "KMEANS_VECTORS", 64)
    monkeypatch.setattr(pipeline, "bundled_config", small_config)
    return pipeline.Plan(
        work=tmp_path, out=tmp_path / "voice", hours=0.0, processes=1, threads=1, sentences=None, settings=SETTINGS
    )


REAL_CONFIG = pipeline.bundled_config


def small_config(codec):
    small = TransformerConfig(num_layers=1, dim=16, num_heads=2, num_kv_heads=2, head_dim=8, ffn_dim=24, window=50)
    return dataclasses.replace(REAL_CONFIG(codec), slow=small, fast=small)


def test_all_stages_leave_a_voice_that_speaks(plan):
    pipeline.codec(plan)
    pipeline._write_part(plan, 0)
    pipeline.vocoder(plan)
    pipeline.polish(plan)
    pipeline.model(plan)
    pipeline.model(plan)  # complete: nothing to do
    pipeline.export_voice(plan)
    spoken = speak(load_aligned(plan.out), load_source_filter(plan.out), [[0, 5, 6, 7]])
    assert np.isfinite(spoken[0].audio).all()
    assert len(spoken[0].audio) == spoken[0].codes.shape[1] * FRAME_SAMPLES


def test_blocks_that_are_new_add_nothing_yet(plan):
    pipeline.codec(plan)
    pipeline._write_part(plan, 0)
    pipeline.vocoder(plan)
    grown = grown_decoder(plan.work, SETTINGS.codec, SETTINGS.vocoder, 4)
    smaller = grown_decoder(plan.work, SETTINGS.codec, SETTINGS.vocoder, 3)
    codes = torch.randint(0, 16, (1, 3, 6))
    with torch.no_grad():
        torch.testing.assert_close(*(d.step(codes, d.init_state(1)) for d in (grown, smaller)))


def test_a_later_stage_names_the_one_that_is_not_done(plan):
    with pytest.raises(AssertionError, match="train the codec first"):
        make_decoder(plan.work, SETTINGS.codec)


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match="codec, vocoder, polish, model"):
        pipeline.Settings.from_overrides({"vocodr": {"steps": 1}})
    assert pipeline.Settings.from_overrides({"codec": {"steps": 7}}).codec.steps == 7
