"""Codec phase 1: encoder, quantizer and trunk, trained on features only; afterwards the codes are frozen.

Losses: log-mel L1, log-F0 L1, voicing, and the phoneme read from book 0 alone, which makes the first
codebook the semantic one. No waveform is made here, which is what makes it cheap.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.codec.mel_encoder import LogMel, MelConfig, MelEncoder, stack_steps
from agent_tts.codec.quantizer import ResidualQuantizer
from agent_tts.codec.trunk import LatentTrunk
from agent_tts.training.corpus import F0_PER_FRAME, Crops, random_crops, training_shards
from agent_tts.training.loop import Meter, load_checkpoint, make_optimizer, save_checkpoint, schedule, set_lr
from agent_tts.training.rvq import QuantizerTraining

LOG = logging.getLogger(__name__)
NUM_PHONEMES = 178
KMEANS_VECTORS = 12_000


@dataclass(frozen=True, slots=True)
class CodecSettings:
    """Shape and training of the codec's first phase."""

    num_codebooks: int = 8
    codebook_size: int = 1024
    latent_dim: int = 64
    encoder_dim: int = 320
    encoder_blocks: int = 5
    trunk_dim: int = 320
    trunk_blocks: int = 3
    rows: int = 16
    frames: int = 48
    steps: int = 4500
    lr: float = 1.2e-3
    warmup: int = 60
    quantize_from: int = 200
    dropout: float = 0.25


class CodecModel(nn.Module):
    """Encoder, quantizer and trunk with the feature heads of phase 1."""

    def __init__(self, settings: CodecSettings, mel: MelConfig) -> None:
        super().__init__()
        dim = settings.trunk_dim
        self.log_mel = LogMel(mel)
        self.encoder = MelEncoder(
            mel,
            steps_per_frame=F0_PER_FRAME,
            dim=settings.encoder_dim,
            latent_dim=settings.latent_dim,
            num_blocks=settings.encoder_blocks,
        )
        self.quantizer = QuantizerTraining(
            ResidualQuantizer(settings.num_codebooks, settings.codebook_size, settings.latent_dim),
            dropout=settings.dropout,
        )
        self.trunk = LatentTrunk(settings.latent_dim, dim, settings.trunk_blocks)
        self.mel_head = nn.Linear(dim, mel.num_bands * F0_PER_FRAME)
        self.f0_head = nn.Linear(dim, F0_PER_FRAME)
        self.voiced_head = nn.Linear(dim, F0_PER_FRAME)
        self.phoneme_head = nn.Linear(settings.latent_dim, NUM_PHONEMES)

    def losses(self, crops: Crops, *, revive: bool) -> dict[str, Tensor]:
        """Every loss by name, unweighted."""
        with torch.no_grad():
            mel = self.log_mel(crops.audio)
        latent = self.encoder(mel)
        first, commit = latent, torch.zeros(())
        if self.quantizer.ready:
            latent, first, commit = self.quantizer(latent, revive=revive)
        features = self.trunk(latent).transpose(1, 2)
        made, wanted = self.mel_head(features).transpose(1, 2), stack_steps(mel, F0_PER_FRAME)
        voiced = crops.voiced.reshape(*crops.phonemes.shape, F0_PER_FRAME)
        log_f0 = crops.log_f0.reshape(voiced.shape)
        f0_error = (self.f0_head(features) + 5.3 - log_f0).abs() * voiced
        return {
            "mel": F.l1_loss(made.float(), wanted),
            "f0": f0_error.sum() / voiced.sum().clamp(min=1),
            "voiced": F.binary_cross_entropy_with_logits(self.voiced_head(features).float(), voiced),
            "phoneme": F.cross_entropy(self.phoneme_head(first.transpose(1, 2)).transpose(1, 2), crops.phonemes),
            "commit": commit,
        }


WEIGHTS = {"mel": 4.0, "f0": 2.0, "voiced": 0.2, "phoneme": 0.15, "commit": 0.25}


def train_codec(work: Path, settings: CodecSettings) -> None:
    """Train phase 1 into `codec.pt`; goes on where it stopped."""
    torch.manual_seed(2)
    model = CodecModel(settings, MelConfig())
    optimizer = make_optimizer(model.parameters(), settings.lr)
    path = work / "codec.pt"
    begin = load_checkpoint(path, model=model, optimizer=optimizer)
    rng = np.random.default_rng(begin + 2)
    crops = random_crops(training_shards(work / "data"), settings.rows, settings.frames, rng)
    meter = Meter("codec", settings.steps, 50)
    for step in range(begin, settings.steps):
        if step >= settings.quantize_from and not model.quantizer.ready:
            model.quantizer.initialise(_latents(model, crops))
        set_lr(optimizer, settings.lr * schedule(step, settings.steps, settings.warmup))
        revive = step % 20 == 0 and step < 0.8 * settings.steps
        meter.add(step, _train_step(model, optimizer, next(crops), revive=revive))
        if (step + 1) % 200 == 0 or step + 1 == settings.steps:
            save_checkpoint(path, step + 1, model=model, optimizer=optimizer)
            LOG.info("codec: codes in use per book %s", (model.quantizer.counts > 0.05).sum(1).tolist())


def _train_step(
    model: CodecModel, optimizer: torch.optim.Optimizer, crops: Crops, *, revive: bool
) -> dict[str, Tensor | float]:
    with torch.autocast("cpu", torch.bfloat16):
        losses = model.losses(crops, revive=revive)
    total = sum(WEIGHTS[name] * loss for name, loss in losses.items())
    assert isinstance(total, Tensor)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return {name: loss.detach() for name, loss in losses.items()}


@torch.no_grad()
def _latents(model: CodecModel, crops: Iterator[Crops]) -> Tensor:
    parts: list[Tensor] = []
    while sum(map(len, parts)) < KMEANS_VECTORS:
        latent = model.encoder(model.log_mel(next(crops).audio))
        parts.append(latent.transpose(1, 2).reshape(-1, latent.shape[1]))
    return torch.cat(parts)
