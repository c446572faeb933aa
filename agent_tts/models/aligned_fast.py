"""The Fast AR of the aligned model: a tiny transformer along the codebooks of one frame.

Position k (1 ... num_codebooks - 1) takes the frame's hidden state, the sum of the vectors chosen so
far (books 0 ... k - 1) and its own embedding, sees the positions before it, and decides code k.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import ModelConfig, TransformerConfig

Draw = Callable[[int, Tensor], Tensor]
"""Given a codebook and its logits [rows, codebook_size], the chosen codes [rows]."""


class TiedHead(nn.Module):
    """Logits of one codebook: query . quantizer vector + query . learnt vector + bias.

    The quantizer's vectors are frozen, so near codes get near logits from the first step on.
    """

    def __init__(self, dim: int, codebook_size: int, latent_dim: int, rank: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, latent_dim + rank)
        self.learnt = nn.Parameter(0.1 * torch.randn(codebook_size, rank))
        self.bias = nn.Parameter(torch.zeros(codebook_size))
        nn.init.normal_(self.query.weight, std=0.1 / dim**0.5)
        self._joined: Tensor | None = None

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """x [..., dim], table [codebook_size, latent_dim] at unit deviation -> [..., codebook_size]."""
        joined = torch.cat([table, self.learnt], dim=-1) if self._joined is None else self._joined
        return F.linear(self.query(x), joined.to(x.dtype), self.bias)

    @property
    def joined(self) -> Tensor:
        """Both kinds of vectors side by side, once frozen: [codebook_size, latent_dim + rank]."""
        assert self._joined is not None, "freeze() comes first"
        return self._joined

    def freeze(self, table: Tensor) -> None:
        """Join the vectors once and for all: from here on the table given to `forward` is not looked at."""
        self._joined = torch.cat([table, self.learnt.detach()], dim=-1)


class FrameBlock(nn.Module):
    """Pre-norm attention and SwiGLU without positions of its own: inputs carry them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim, self.num_heads = config.dim, config.num_heads
        self.attention_norm = nn.LayerNorm(dim)
        self.wqkv = nn.Linear(dim, 3 * dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)
        self.ffn_norm = nn.LayerNorm(dim)
        self.w13 = nn.Linear(dim, 2 * config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, dim, bias=False)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[rows, time, dim] after `past` positions (None: first) -> the same shape, and the keys and values so far."""
        heads = self.num_heads
        q, k, v = self.wqkv(self.attention_norm(x)).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
        x = x + self.wo(mixed.transpose(1, 2).flatten(2))
        gate, value = self.w13(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.w2(F.silu(gate) * value), (k, v)


class AlignedFastAR(nn.Module):
    """Codes 1 ... num_codebooks - 1 of a frame, given its hidden state and code 0."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        aligned, fast, books = config.aligned, config.fast, config.num_codebooks
        assert aligned is not None
        self.from_hidden = nn.Linear(config.slow.dim, fast.dim)
        self.from_latent = nn.Linear(aligned.latent_dim, fast.dim)
        self.book = nn.Embedding(books - 1, fast.dim)
        self.blocks = nn.ModuleList(FrameBlock(fast) for _ in range(fast.num_layers))
        self.norm = nn.LayerNorm(fast.dim)
        self.heads = nn.ModuleList(
            TiedHead(fast.dim, config.codebook_size, aligned.latent_dim, aligned.head_rank) for _ in range(books - 1)
        )

    def forward(self, hidden: Tensor, partial_sums: Tensor, tables: Tensor) -> Tensor:
        """All positions at once, for training.

        Args:
            hidden: [rows, slow dim].
            partial_sums: Scaled sums of books 0 ... k - 1, for k = 1, 2, ...: [rows, num_codebooks - 1, latent_dim].
            tables: Codebooks at unit deviation: [num_codebooks, codebook_size, latent_dim].

        Returns:
            Logits of books 1, 2, ...: [rows, num_codebooks - 1, codebook_size].
        """
        x = self.from_latent(partial_sums) + self.from_hidden(hidden).unsqueeze(1) + self.book.weight
        for block in self.blocks:
            x, _ = block(x, None)
        x = self.norm(x)
        return torch.stack([head(x[:, k], tables[k + 1]) for k, head in enumerate(self.heads)], dim=1)

    def codes(
        self, hidden: Tensor, first: Tensor, draw: Draw, tables: Tensor, vectors: Tensor, scale: Tensor
    ) -> Tensor:
        """One frame, book after book.

        Args:
            hidden: [rows, slow dim].
            first: Code 0: [rows].
            draw: Chooses from logits.
            tables: As for `forward`.
            vectors: The quantizer's vectors as they are: [num_codebooks, codebook_size, latent_dim].
            scale: What partial sums are multiplied by.

        Returns:
            [rows, num_codebooks].
        """
        base, chosen = self.from_hidden(hidden), [first]
        total = vectors[0][first]
        past: list[tuple[Tensor, Tensor] | None] = [None] * len(self.blocks)
        for k, head in enumerate(self.heads):
            x = (self.from_latent(total * scale) + base + self.book.weight[k]).unsqueeze(1)
            for layer, block in enumerate(self.blocks):
                x, past[layer] = block(x, past[layer])
            code = draw(k + 1, head(self.norm(x[:, 0]), tables[k + 1]))
            chosen.append(code)
            total = total + vectors[k + 1][code]
        return torch.stack(chosen, dim=1)
