"""Codes to latents and back: one semantic codebook and residual ones, nearest by cosine in a small space."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.codec.dac_config import DacConfig


class VectorQuantizer(nn.Module):
    """One codebook between two projections."""

    def __init__(self, latent_dim: int, codebook_size: int, codebook_dim: int) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(latent_dim, codebook_dim, 1)
        self.out_proj = nn.Conv1d(codebook_dim, latent_dim, 1)
        self.codebook = nn.Embedding(codebook_size, codebook_dim)

    def nearest(self, z: Tensor) -> Tensor:
        """[rows, latent_dim, time] -> codes [rows, time]; both sides are scaled to length 1 first."""
        query = F.normalize(self.in_proj(z), dim=1)  # [rows, codebook_dim, time]
        similarity = torch.einsum("rdt,cd->rtc", query, F.normalize(self.codebook.weight, dim=1))
        return similarity.argmax(dim=-1)

    def look_up(self, codes: Tensor) -> Tensor:
        """[rows, time] -> [rows, latent_dim, time]. Codes beyond the codebook count as its last one."""
        rows = self.codebook(codes.clamp(0, self.codebook.num_embeddings - 1))
        out: Tensor = self.out_proj(rows.transpose(1, 2))
        return out


class Quantizers(nn.Module):
    """A chain of codebooks, each for what the ones before left over."""

    def __init__(self, latent_dim: int, codebook_size: int, codebook_dim: int, count: int) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(VectorQuantizer(latent_dim, codebook_size, codebook_dim) for _ in range(count))

    def encode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """[rows, latent_dim, time] -> codes [rows, count, time] and what they leave over."""
        codes = []
        for module in self.quantizers:
            assert isinstance(module, VectorQuantizer)
            codes.append(module.nearest(z))
            z = z - module.look_up(codes[-1])
        return torch.stack(codes, dim=1), z

    def decode(self, codes: Tensor) -> Tensor:
        """[rows, count, time] -> [rows, latent_dim, time]."""
        latents = []
        for module, row in zip(self.quantizers, codes.unbind(dim=1), strict=True):
            assert isinstance(module, VectorQuantizer)
            latents.append(module.look_up(row))
        return torch.stack(latents).sum(dim=0)


def make_quantizers(config: DacConfig) -> tuple[Quantizers, Quantizers]:
    """The semantic codebook, and the residual ones."""
    semantic = Quantizers(config.latent_dim, config.semantic_codebook_size, config.codebook_dim, 1)
    residual = Quantizers(config.latent_dim, config.residual_codebook_size, config.codebook_dim, config.num_residual)
    return semantic, residual
