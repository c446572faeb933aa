"""Codec phase 2: the source-filter decoder, trained on waveforms from frozen codes.

The trunk begins where phase 1 left it. In training the pulses follow the teacher's F0; the pitch
network learns to say it.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.codec.excitation import DELAY_SAMPLES, HOP, NOISE_STEPS, overlap_add, pulses
from agent_tts.codec.mel_encoder import MelConfig
from agent_tts.codec.source_filter import SourceFilterConfig, SourceFilterDecoder, gate
from agent_tts.training.codec import CodecSettings
from agent_tts.training.codes import load_codec
from agent_tts.training.corpus import Crops, Shard, random_crops, training_shards
from agent_tts.training.loop import (
    AverageWeights,
    Meter,
    load_checkpoint,
    make_optimizer,
    save_checkpoint,
    schedule,
    set_lr,
)
from agent_tts.training.spectral_loss import SpectralLoss
from agent_tts.training.teacher import FRAME_SAMPLES, SAMPLE_RATE

LOG = logging.getLogger(__name__)
SKIPPED_FRAMES = 3
"""At the start of each stretch, where a running stream would know what came before."""


@dataclass(frozen=True, slots=True)
class VocoderSettings:
    """Training of the decoder."""

    rows: int = 12
    frames: int = 28
    steps: int = 4500
    lr: float = 1.5e-3
    warmup: int = 100
    average: float = 0.998


WEIGHTS = {"stft": 1.0, "mel": 2.0, "f0": 2.0, "voiced": 0.3}


def make_decoder(work: Path, codec: CodecSettings) -> SourceFilterDecoder:
    """A decoder with phase 1's tables and trunk."""
    config = SourceFilterConfig(
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        latent_dim=codec.latent_dim,
        frame_dim=codec.trunk_dim,
        frame_blocks=codec.trunk_blocks,
    )
    decoder, trained = SourceFilterDecoder(config), load_codec(work, codec)
    decoder.quantizer.load_state_dict(trained.quantizer.quantizer.state_dict())
    decoder.trunk.load_state_dict(trained.trunk.state_dict())
    return decoder


def train_vocoder(work: Path, codec: CodecSettings, settings: VocoderSettings) -> None:
    """Train phase 2 into `vocoder.pt`; goes on where it stopped."""
    torch.manual_seed(3)
    decoder, loss = make_decoder(work, codec), SpectralLoss(MelConfig())
    optimizer, average = make_optimizer(decoder.parameters(), settings.lr), AverageWeights(decoder, settings.average)
    path = work / "vocoder.pt"
    begin = load_checkpoint(path, model=decoder, optimizer=optimizer, average=average)
    shards = [shard for shard in training_shards(work / "data") if (shard.path / "codes.u16").exists()]
    crops = random_crops(shards, settings.rows, settings.frames, np.random.default_rng(begin + 3))
    meter = Meter("vocoder", settings.steps, 50)
    for step in range(begin, settings.steps):
        set_lr(optimizer, settings.lr * schedule(step, settings.steps, settings.warmup))
        batch = next(crops)
        heard = hear(decoder, batch, codes_of(shards, batch, settings.frames))
        losses = {**loss(heard.made, heard.wanted), **pitch_losses(heard)}
        total = torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(decoder.parameters(), 2.0)
        optimizer.step()
        average.update(decoder)
        meter.add(step, {name: value.detach() for name, value in losses.items()})
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            save_checkpoint(path, step + 1, model=decoder, optimizer=optimizer, average=average)


def codes_of(shards: list[Shard], crops: Crops, frames: int) -> Tensor:
    """The codes of these stretches: [rows, num_codebooks, frames]."""
    parts = [shards[number].codes[frame : frame + frames] for number, frame in crops.places]
    return torch.from_numpy(np.stack(parts).astype(np.int64)).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the decoder makes of a batch, beside what was wanted."""

    made: Tensor  # [rows, samples]
    wanted: Tensor  # [rows, samples]
    log_f0: Tensor  # [rows, steps], the network's
    true_log_f0: Tensor
    voicing: Tensor  # [rows, steps], logit
    voiced: Tensor  # [rows, steps], 0 or 1


def hear(decoder: SourceFilterDecoder, crops: Crops, codes: Tensor) -> Heard:
    """Decode a batch along the teacher's F0, and cut off what a running stream would know better."""
    latent = decoder.quantizer.decode(codes)
    with torch.autocast("cpu", torch.bfloat16):
        controls = decoder(latent)
    at_end = torch.cat([(crops.log_f0[:, :-1] + crops.log_f0[:, 1:]) / 2, crops.log_f0[:, -1:]], dim=1).double()
    rows, steps = at_end.shape
    source, _ = pulses(at_end, at_end[:, 0], torch.rand(rows, dtype=torch.float64) - 0.5, SAMPLE_RATE)
    gated = source * gate(controls.voicing, controls.voicing[:, 0])
    numbers = torch.randint(NOISE_STEPS, (rows, 1)) + torch.arange(steps)
    parts = decoder.filter_source(controls, gated, torch.zeros(rows, HOP), numbers % NOISE_STEPS)
    stream, _ = overlap_add(parts, torch.zeros(rows, parts.shape[-1] - HOP))
    skip = SKIPPED_FRAMES * FRAME_SAMPLES
    made = stream[:, DELAY_SAMPLES + skip :]
    wanted = crops.audio[:, skip : skip + made.shape[1]]
    return Heard(made, wanted, controls.log_f0, at_end, controls.voicing, crops.voiced)


def pitch_losses(heard: Heard) -> dict[str, Tensor]:
    """Of the pitch network, by name."""
    error = (heard.log_f0 - heard.true_log_f0).abs() * heard.voiced
    return {
        "f0": (error.sum() / heard.voiced.sum().clamp(min=1)).float(),
        "voiced": F.binary_cross_entropy_with_logits(heard.voicing, heard.voiced),
    }
