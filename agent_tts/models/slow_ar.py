"""The transformer along time: columns of tokens and codes in, logits of the next semantic code and a hidden state out.

A column is [main token, c0, c1, .. c(N-1)]. Its code rows count only where the main token is a semantic one: prompts
hold zeros elsewhere, but generated columns may not. Knows no requests, no sampling and no audio.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import ModelConfig
from agent_tts.models.stepper import Stepper
from agent_tts.nn.attention import KVCache, Transformer


class SlowAR(nn.Module):
    """Embeddings, blocks and head of the Slow AR."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.slow.dim
        self.config = config
        self.embeddings = nn.Embedding(config.vocab_size, dim)
        self.codebook_embeddings = nn.Embedding(config.num_codebooks * config.codebook_size, dim)
        self.transformer = Transformer(config.slow)
        self.output = None if config.tie_word_embeddings else nn.Linear(dim, config.vocab_size, bias=False)

    def embed(self, columns: Tensor) -> Tensor:
        """[rows, codebooks + 1, time] int64 -> [rows, time, dim]."""
        config = self.config
        main, codes = columns[:, 0], columns[:, 1:]
        is_semantic = (main >= config.semantic_begin_id) & (main <= config.semantic_end_id)  # [rows, time]
        offsets = torch.arange(config.num_codebooks, device=columns.device).view(1, -1, 1) * config.codebook_size
        legal = codes * is_semantic.unsqueeze(1) + offsets
        token = self.embeddings(main)
        frame = token + self.codebook_embeddings(legal).sum(dim=1)
        if config.scale_codebook_embeddings:
            frame = frame / math.sqrt(config.num_codebooks + 1)
        return torch.where(is_semantic.unsqueeze(-1), frame, token)

    def forward(self, columns: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Run the blocks over new columns.

        Args:
            columns: [rows, codebooks + 1, time] int64.
            positions: [rows or 1, time], absolute; None = from 0.
            cache: What earlier positions left; None = these columns are all there is.

        Returns:
            [rows, time, dim] before the final norm.
        """
        x: Tensor = self.transformer(self.embed(columns), positions, cache)
        return x

    def hidden(self, x: Tensor) -> Tensor:
        """What the Fast AR is given, from forward()'s [..., dim]: after the final norm, or before it, by layout."""
        normed: Tensor = self.transformer.norm(x) if self.config.norm_fast_input else x
        return normed

    @property
    def head_weight(self) -> Tensor:
        """[vocab_size, dim]; the embedding itself when tied."""
        return self.embeddings.weight if self.output is None else self.output.weight

    def logits(self, x: Tensor) -> Tensor:
        """Logits of the whole vocabulary from forward()'s [..., dim]: [..., vocab_size]. Decoding uses SlowHead."""
        return F.linear(self.transformer.norm(x), self.head_weight)


class SlowHead:
    """The rows of the head that can win, copied once: of 155,776 rows of S2-Pro only 4,097 are legal.

    Candidate c below `num_semantic` is semantic code c; S2 has one more, the end token. S1 masks nothing, so there each
    token of the vocabulary is a candidate under its own id.
    """

    def __init__(self, slow: SlowAR) -> None:
        config, weight = slow.config, slow.head_weight
        self._norm = slow.transformer.norm
        if config.layout == "dual_ar":
            self.token_ids = torch.arange(config.vocab_size, device=weight.device)
            self.weight = weight.detach()
        else:
            semantic = torch.arange(config.semantic_begin_id, config.semantic_end_id + 1, device=weight.device)
            self.token_ids = torch.cat([semantic, torch.full_like(semantic[:1], config.im_end_id)])  # [candidates]
            self.weight = weight.detach()[self.token_ids].contiguous()  # [candidates, dim]
        self.is_semantic = (self.token_ids >= config.semantic_begin_id) & (self.token_ids <= config.semantic_end_id)

    def logits(self, x: Tensor) -> Tensor:
        """[rows, dim] before the final norm -> [rows, candidates]."""
        return F.linear(self._norm(x), self.weight)


class SlowDecoder:
    """Runs a SlowAR for one new column in each row; the same values as SlowAR.forward(), with less in between."""

    def __init__(self, slow: SlowAR) -> None:
        self._slow = slow
        self._stepper = Stepper(slow.transformer)

    def step(self, columns: Tensor, positions: Tensor, cache: KVCache) -> Tensor:
        """columns [rows, codebooks + 1], positions [rows], absolute -> [rows, dim] before the final norm."""
        return self._stepper.step(self._slow.embed(columns.unsqueeze(-1)).squeeze(1), positions, cache)


def semantic_code(config: ModelConfig, tokens: Tensor) -> Tensor:
    """c0 of main tokens: the distance from the first semantic id, clamped to the codebook; same shape."""
    return (tokens - config.semantic_begin_id).clamp(0, config.codebook_size - 1)
