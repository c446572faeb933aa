"""Learns the quantizer's tables: k-means at the start, moving averages after, unused codes revived."""

import torch
from torch import Tensor, nn

from agent_tts.codec.quantizer import ResidualQuantizer, nearest

DECAY = 0.99
UNUSED_BELOW = 0.05
KMEANS_ROUNDS = 8


class QuantizerTraining(nn.Module):
    """Wraps a quantizer whose tables follow the latents; gradients pass straight through."""

    counts: Tensor
    sums: Tensor
    ready: Tensor

    def __init__(self, quantizer: ResidualQuantizer, *, dropout: float) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.dropout = dropout
        books, size, dim = quantizer.codebooks.shape
        self.register_buffer("counts", torch.ones(books, size))
        self.register_buffer("sums", torch.zeros(books, size, dim))
        self.register_buffer("ready", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def initialise(self, latents: Tensor) -> None:
        """k-means, codebook by codebook, on [vectors, dim]."""
        residual = latents
        for book, table in enumerate(self.quantizer.codebooks):
            table.copy_(residual[torch.randperm(len(residual))[: len(table)]])
            for _ in range(KMEANS_ROUNDS):
                counts, sums = _assign(residual, nearest(residual, table), len(table))
                table.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], table))
            self.counts[book].fill_(1.0)
            self.sums[book].copy_(table)
            residual = residual - table[nearest(residual, table)]
        self.ready.fill_(True)

    def forward(self, latent: Tensor, *, revive: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize [rows, dim, frames] and move the tables.

        Returns:
            The quantized latent (with book dropout), book 0 alone, and the commitment loss.
        """
        rows = latent.transpose(1, 2).float()
        partials = self._quantize(rows.detach(), revive)
        first, last = partials[0], partials[-1]
        commit = (rows - first).square().mean() + (rows - last).square().mean()
        used = self._pick_books(partials)
        straight = rows + (used - rows).detach()
        return straight.transpose(1, 2), (rows + (first - rows).detach()).transpose(1, 2), commit

    @torch.no_grad()
    def _quantize(self, rows: Tensor, revive: bool) -> list[Tensor]:
        residual, total, partials = rows, torch.zeros_like(rows), []
        for book, table in enumerate(self.quantizer.codebooks):
            code = nearest(residual, table)
            chosen = table[code]
            self._move(book, residual.reshape(-1, rows.shape[-1]), code.reshape(-1), revive)
            total, residual = total + chosen, residual - chosen
            partials.append(total)
        return partials

    def _move(self, book: int, vectors: Tensor, code: Tensor, revive: bool) -> None:
        table = self.quantizer.codebooks[book]
        counts, sums = _assign(vectors, code, len(table))
        self.counts[book].lerp_(counts, 1 - DECAY)
        self.sums[book].lerp_(sums, 1 - DECAY)
        table.copy_(self.sums[book] / self.counts[book].clamp(min=1e-4)[:, None])
        if revive:
            dead = torch.nonzero(self.counts[book] < UNUSED_BELOW).squeeze(-1)[: len(vectors)]
            fresh = vectors[torch.randperm(len(vectors))[: len(dead)]]
            table[dead] = fresh
            self.counts[book][dead] = 0.5
            self.sums[book][dead] = 0.5 * fresh

    def _pick_books(self, partials: list[Tensor]) -> Tensor:
        rows = len(partials[0])
        count = torch.where(
            torch.rand(rows) < self.dropout, torch.randint(1, len(partials) + 1, (rows,)), len(partials)
        )
        return torch.stack(partials)[count - 1, torch.arange(rows)]


def _assign(vectors: Tensor, code: Tensor, size: int) -> tuple[Tensor, Tensor]:
    counts = torch.zeros(size).index_add_(0, code, torch.ones(len(code)))
    return counts, torch.zeros(size, vectors.shape[-1]).index_add_(0, code, vectors)
