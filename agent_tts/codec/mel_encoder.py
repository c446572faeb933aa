"""Encoder of the bundled codec: audio -> log-mel -> one latent per frame. Used in training and for cloning only.

It sees both sides of a frame (it never runs live). Four mel steps are stacked into one frame, so
that all of its layers work at the frame rate.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class MelConfig:
    """The log-mel spectrum that the encoder reads and the training losses compare."""

    sample_rate: int = 24_000
    fft_size: int = 1024
    hop: int = 240
    num_bands: int = 100
    floor: float = 1e-2


class LogMel(nn.Module):
    """Audio [rows, samples] -> [rows, bands, samples / hop], about zero mean and unit deviation for speech."""

    window: Tensor
    bands: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.fft_size), persistent=False)
        self.register_buffer("bands", mel_filters(config), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Step k is centred on the middle of its hop."""
        config = self.config
        margin = (config.fft_size - config.hop) // 2
        padded = F.pad(audio, (margin, config.fft_size - config.hop - margin))
        size = config.fft_size
        spectrum = torch.stft(padded, size, config.hop, window=self.window, center=False, return_complex=True)
        return (torch.log(torch.clamp(self.bands @ spectrum.abs(), min=config.floor)) + 1.0) / 2.5


def mel_filters(config: MelConfig) -> Tensor:
    """Triangular filters of unit sum on the HTK mel scale: [bands, bins]."""
    top = 2595.0 * torch.log10(torch.tensor(1.0 + config.sample_rate / 2 / 700.0))
    edges = 700.0 * (10 ** (torch.linspace(0, 1, config.num_bands + 2) * top / 2595.0) - 1.0)
    edges = _widen(edges, config.sample_rate / config.fft_size)
    freqs = torch.linspace(0, config.sample_rate / 2, config.fft_size // 2 + 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise, fall = (freqs - low) / (centre - low), (high - freqs) / (high - centre)
    filters = torch.clamp(torch.minimum(rise, fall), min=0.0)
    return filters / filters.sum(1, keepdim=True)


def _widen(edges: Tensor, spacing: float) -> Tensor:
    """Move edges apart to at least one bin, so that no low band is empty; the last edge is the top frequency."""
    out = edges.tolist()
    for i in range(1, len(out)):
        out[i] = max(out[i], out[i - 1] + spacing)
    return torch.tensor(out).clamp(max=float(edges[-1]) + spacing)


class _Block(nn.Module):
    def __init__(self, dim: int, kernel_size: int, mlp_ratio: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.pwconv1 = nn.Linear(dim, mlp_ratio * dim)
        self.pwconv2 = nn.Linear(mlp_ratio * dim, dim)
        self.gamma = nn.Parameter(0.1 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.pwconv1(self.norm(self.dwconv(x).transpose(1, 2))))
        return x + (self.gamma * self.pwconv2(hidden)).transpose(1, 2)


class MelEncoder(nn.Module):
    """Log-mel -> latents of the quantizer."""

    def __init__(
        self,
        mel: MelConfig,
        *,
        steps_per_frame: int,
        dim: int,
        latent_dim: int,
        num_blocks: int,
        kernel_size: int = 5,
        mlp_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.steps_per_frame = steps_per_frame
        self.embed = nn.Conv1d(mel.num_bands * steps_per_frame, dim, 3, padding=1)
        self.blocks = nn.Sequential(*(_Block(dim, kernel_size, mlp_ratio) for _ in range(num_blocks)))
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, latent_dim)

    def forward(self, mel: Tensor) -> Tensor:
        """[rows, bands, steps] -> [rows, latent_dim, steps / steps_per_frame]."""
        hidden = self.blocks(self.embed(stack_steps(mel, self.steps_per_frame)))
        return self.project(self.norm(hidden.transpose(1, 2))).transpose(1, 2)


def stack_steps(mel: Tensor, steps: int) -> Tensor:
    """[rows, bands, frames * steps] -> [rows, steps * bands, frames]."""
    rows, bands, length = mel.shape
    return mel.reshape(rows, bands, length // steps, steps).permute(0, 3, 1, 2).reshape(rows, steps * bands, -1)
