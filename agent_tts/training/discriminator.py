"""Tells real from made spectrograms: small 2-D convolutions over log-magnitude, and its losses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FFT_SIZE, HOP, FLOOR = 1024, 256, 1e-2


class SpectrogramDiscriminator(nn.Module):
    """A map of scores, one for each patch of time and frequency; the features before it are compared too."""

    window: Tensor

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT_SIZE), persistent=False)
        shapes = [
            (1, (7, 3), (3, 1)),
            (channels, (5, 3), (3, 1)),
            (channels, (5, 3), (3, 1)),
            (channels, (3, 3), (1, 1)),
        ]
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(
                nn.Conv2d(size, channels, kernel, stride, (kernel[0] // 2, kernel[1] // 2))
            )
            for size, kernel, stride in shapes
        )
        self.score = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[rows, samples] -> scores and features."""
        spectrum = torch.stft(audio, FFT_SIZE, HOP, window=self.window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square() + FLOOR**2
        x = (0.5 * torch.log(power) / 2.0).unsqueeze(1)  # [rows, 1, bins, time], about unit deviation
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.score(x), features


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Hinge: real scores above 1, made ones below -1."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def feature_distance(real: list[Tensor], made: list[Tensor]) -> Tensor:
    """Mean L1 of the features, relative to their size."""
    parts = [F.l1_loss(m, r.detach()) / r.detach().abs().mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(parts).mean()
