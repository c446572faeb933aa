"""Text encoder of the aligned model: phoneme ids -> one vector per token, with a short, exact field of view."""

import torch.nn.functional as F
from torch import Tensor, nn

KERNEL_SIZE = 5
REACH = KERNEL_SIZE // 2
"""Tokens that one block sees to either side."""


class TextBlock(nn.Module):
    """Norm, convolution, pointwise layer, added to the input; outside of the text there are zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv1d(dim, dim, KERNEL_SIZE, padding=REACH)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, present: Tensor | None) -> Tensor:
        """[rows, time, dim] -> the same shape."""
        hidden = self.norm(x)
        if present is not None:
            hidden = hidden * present
        hidden = self.conv(hidden.transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.out(F.gelu(hidden))
        return out


class TextEncoder(nn.Module):
    """Each output sees REACH * num_blocks tokens behind and as many ahead, and nothing else of the text."""

    def __init__(self, vocab_size: int, dim: int, num_blocks: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, dim)
        self.blocks = nn.ModuleList(TextBlock(dim) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(dim)

    def forward(self, ids: Tensor, present: Tensor | None = None) -> Tensor:
        """Encode a text.

        Args:
            ids: [rows, time].
            present: False where there is no token, so that several texts with REACH such places between
                them can share a row; None = all are tokens. [rows, time] bool.

        Returns:
            [rows, time, dim].
        """
        x = self.embedding(ids)
        mask = None if present is None else present.unsqueeze(-1).to(x.dtype)
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out
