"""Distances between waveforms: multi-resolution STFT and log-mel. Blind to phase, as ears mostly are."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.codec.mel_encoder import LogMel, MelConfig

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
FLOOR = 1e-2


class SpectralLoss(nn.Module):
    """Spectral convergence and log-magnitude L1 at three resolutions, and log-mel L1."""

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        self.log_mel = LogMel(mel)
        for size, _ in RESOLUTIONS:
            self.register_buffer(f"window{size}", torch.hann_window(size), persistent=False)

    def forward(self, made: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """[rows, samples] each -> losses by name."""
        stft = torch.zeros(())
        for size, hop in RESOLUTIONS:
            window = getattr(self, f"window{size}")
            a, b = (self._magnitude(x, size, hop, window) for x in (made, wanted))
            convergence = (a - b).norm() / b.norm().clamp(min=1.0)
            stft = stft + convergence + F.l1_loss(torch.log(a), torch.log(b))
        return {"stft": stft / len(RESOLUTIONS), "mel": F.l1_loss(self.log_mel(made), self.log_mel(wanted))}

    @staticmethod
    def _magnitude(x: Tensor, size: int, hop: int, window: Tensor) -> Tensor:
        spectrum = torch.stft(x, size, hop, window=window, center=False, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square() + FLOOR**2).sqrt()
