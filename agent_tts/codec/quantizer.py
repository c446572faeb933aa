"""Residual vector quantizer: one latent per frame <-> one code per codebook; knows no audio.

Codebook 0 quantizes the latent, each further one what the sum so far leaves over. Decoding is the
sum of the chosen vectors. The tables are buffers: nothing trains them by gradient.
"""

import torch
from torch import Tensor, nn


class ResidualQuantizer(nn.Module):
    """`codebooks`: [num_codebooks, codebook_size, dim]."""

    codebooks: Tensor

    def __init__(self, num_codebooks: int, codebook_size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codebooks", torch.zeros(num_codebooks, codebook_size, dim))

    def encode(self, latent: Tensor) -> Tensor:
        """Nearest codes, greedily by codebook: [rows, dim, frames] -> [rows, num_codebooks, frames]."""
        residual, codes = latent.transpose(1, 2), []
        for table in self.codebooks:
            code = nearest(residual, table)
            residual = residual - table[code]
            codes.append(code)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Sum of the chosen vectors: [rows, books <= num_codebooks, frames] -> [rows, dim, frames]."""
        books, size, dim = self.codebooks.shape
        assert codes.shape[1] <= books, f"{codes.shape[1]} codes for {books} codebooks"
        offsets = torch.arange(codes.shape[1], device=codes.device) * size
        vectors = self.codebooks.reshape(books * size, dim)[codes + offsets[:, None]]  # [rows, books, frames, dim]
        return vectors.sum(1).transpose(1, 2)


def nearest(x: Tensor, table: Tensor) -> Tensor:
    """Index of the nearest row of `table` [size, dim] for each vector of `x` [..., dim]."""
    scores = x @ table.T - 0.5 * table.square().sum(-1)
    return scores.argmax(-1)
