"""Codec phase 3: the decoder learns plausible detail from a discriminator, where the codes leave it open.

Losses on magnitudes alone give the mean of what might be said, which sounds blurred. The decoder gets
two more blocks that begin as nothing, and the discriminator's gradient is held to a fixed share of the
spectral one, so that it can't run away.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from agent_tts.codec.mel_encoder import MelConfig
from agent_tts.codec.source_filter import SourceFilterDecoder
from agent_tts.training.codec import CodecSettings
from agent_tts.training.corpus import random_crops, training_shards
from agent_tts.training.discriminator import SpectrogramDiscriminator, discriminator_loss, feature_distance
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
from agent_tts.training.vocoder import (
    WEIGHTS,
    Heard,
    VocoderSettings,
    codes_of,
    hear,
    make_decoder,
    pitch_losses,
)


@dataclass(frozen=True, slots=True)
class PolishSettings:
    """Training of the last phase."""

    rows: int = 8
    frames: int = 28
    steps: int = 3000
    lr: float = 5e-4
    discriminator_lr: float = 6e-4
    warmup: int = 100
    average: float = 0.998
    step_blocks: int = 5
    adversarial: float = 0.5
    features: float = 0.7
    """Shares of the discriminator's two gradients, relative to the spectral gradient on the waveform."""


def grown_decoder(work: Path, codec: CodecSettings, vocoder: VocoderSettings, step_blocks: int) -> SourceFilterDecoder:
    """Phase 2's averaged decoder with more blocks; the new ones add nothing yet."""
    trained = make_decoder(work, codec)
    average = AverageWeights(trained, vocoder.average)
    step = load_checkpoint(work / "vocoder.pt", model=trained, average=average)
    assert step >= vocoder.steps, f"vocoder.pt stops at step {step} of {vocoder.steps}: train the vocoder first"
    average.copy_to(trained)
    decoder = SourceFilterDecoder(replace(trained.config, step_blocks=step_blocks))
    missing, unexpected = decoder.load_state_dict(trained.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("blocks.") for name in missing), missing
    for block in list(decoder.blocks)[trained.config.step_blocks :]:
        nn.init.zeros_(block.gamma)  # type: ignore[arg-type]
    return decoder


def train_polish(work: Path, codec: CodecSettings, vocoder: VocoderSettings, settings: PolishSettings) -> None:
    """Train phase 3 into `polish.pt`; goes on where it stopped."""
    torch.manual_seed(5)
    decoder = grown_decoder(work, codec, vocoder, settings.step_blocks)
    judge, loss = SpectrogramDiscriminator(), SpectralLoss(MelConfig())
    optimizer, average = make_optimizer(decoder.parameters(), settings.lr), AverageWeights(decoder, settings.average)
    against = torch.optim.Adam(judge.parameters(), settings.discriminator_lr, betas=(0.5, 0.9))
    path = work / "polish.pt"
    parts = {"model": decoder, "optimizer": optimizer, "average": average, "judge": judge, "against": against}
    begin = load_checkpoint(path, **parts)
    shards = [shard for shard in training_shards(work / "data") if (shard.path / "codes.u16").exists()]
    crops = random_crops(shards, settings.rows, settings.frames, np.random.default_rng(begin + 5))
    meter = Meter("polish", settings.steps, 50)
    for step in range(begin, settings.steps):
        factor = schedule(step, settings.steps, settings.warmup)
        set_lr(optimizer, settings.lr * factor)
        set_lr(against, settings.discriminator_lr * max(factor, 0.2))
        batch = next(crops)
        heard = hear(decoder, batch, codes_of(shards, batch, settings.frames))
        values = {"judge": _teach_judge(judge, against, heard)}
        values |= _teach_decoder(decoder, judge, loss, optimizer, heard, settings, warm=step >= settings.warmup)
        average.update(decoder)
        meter.add(step, {name: value.detach() for name, value in values.items()})
        if (step + 1) % 250 == 0 or step + 1 == settings.steps:
            save_checkpoint(path, step + 1, **parts)


def _teach_judge(judge: SpectrogramDiscriminator, optimizer: torch.optim.Optimizer, heard: Heard) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        total = discriminator_loss(judge(heard.wanted)[0].float(), judge(heard.made.detach())[0].float())
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    optimizer.step()
    return total


def _teach_decoder(
    decoder: SourceFilterDecoder,
    judge: SpectrogramDiscriminator,
    loss: SpectralLoss,
    optimizer: torch.optim.Optimizer,
    heard: Heard,
    settings: PolishSettings,
    *,
    warm: bool,
) -> dict[str, Tensor]:
    spectral = loss(heard.made, heard.wanted)
    pitch = pitch_losses(heard)
    gradient = _gradient(sum(WEIGHTS[name] * value for name, value in spectral.items()), heard.made)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            _, real = judge(heard.wanted)
        scores, made = judge(heard.made)
        adversarial, distance = -scores.float().mean(), feature_distance(real, made)
    if warm:
        shares = ((settings.adversarial, adversarial), (settings.features, distance))
        size = gradient.norm()
        for share, value in shares:
            other = _gradient(value, heard.made)
            gradient = gradient + other * (share * size / other.norm().clamp(min=1e-8))
    optimizer.zero_grad(set_to_none=True)
    heard.made.backward(gradient, retain_graph=True)
    torch.stack([WEIGHTS[name] * value for name, value in pitch.items()]).sum().backward()
    nn.utils.clip_grad_norm_(decoder.parameters(), 2.0)
    optimizer.step()
    return {**spectral, **pitch, "adversarial": adversarial, "features": distance}


def _gradient(value: Tensor | float, made: Tensor) -> Tensor:
    assert isinstance(value, Tensor)
    return torch.autograd.grad(value, made, retain_graph=True)[0]
