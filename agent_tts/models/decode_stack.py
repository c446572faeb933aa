"""The same transformer for one position a row, with little between the matrix products. Eager PyTorch, any device.

At one position a row a small model spends most of its time on the way between kernels, so here q and k are normed and
turned together, the residual is added inside the product, and each weight lies the way round in which a product with
one row reads it fastest. The weights are not copied: the module's own parameters become views of the new layout.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.nn.attention import KVCache, Transformer, TransformerBlock
from agent_tts.nn.rope import Rotation, rotate, rotation


class Layer(NamedTuple):
    """Weights of one block as the products read them."""

    attention_norm: Tensor  # [dim]
    wqkv: Tensor  # [dim, (heads + 2 * kv_heads) * head_dim]
    qk_norm: Tensor | None  # [heads + kv_heads, head_dim]
    wo: Tensor  # [heads * head_dim, dim]
    ffn_norm: Tensor  # [dim]
    w13: Tensor  # [dim, 2 * ffn_dim]
    w2: Tensor  # [ffn_dim, dim]


class DecodeStack:
    """Runs the blocks of a Transformer for one new position in each row; equal to Transformer.forward()."""

    def __init__(self, transformer: Transformer) -> None:
        """Lay the weights out anew. Call once, after loading; the module keeps working."""
        config = transformer.config
        self.config = config
        self._round = transformer.rope_bf16
        self.layers = [_lay_out(block) for block in transformer.layers if isinstance(block, TransformerBlock)]
        self.final_norm = weight = transformer.norm.weight.detach()
        self._eps = torch.tensor(config.norm_eps, dtype=torch.float32, device=weight.device)
        self._exact = weight.dtype == torch.float32  # no casts, and pairs turn as complex numbers: one kernel for six

    def angles(self, positions: Tensor) -> Tensor | Rotation:
        """What forward() needs to know of the positions [rows]; may be kept for positions that come back."""
        turn = rotation(positions.unsqueeze(1), self.config.head_dim, self.config.rope_base, round_to_bf16=self._round)
        return torch.complex(turn.cos, turn.sin).squeeze(1) if self._exact else turn

    def forward(self, x: Tensor, angles: Tensor | Rotation, cache: KVCache) -> Tensor:
        """[rows, dim] -> the same shape, before the final norm."""
        for number, layer in enumerate(self.layers):
            mixed = self._attend(number, layer, self._norm(x, layer.attention_norm), angles, cache)
            x = torch.addmm(x, mixed, layer.wo)
            gate, up = torch.mm(self._norm(x, layer.ffn_norm), layer.w13).chunk(2, dim=1)
            x = torch.addmm(x, F.silu(gate).mul_(up), layer.w2)
        return x

    def norm(self, x: Tensor) -> Tensor:
        """The final norm: [rows, dim] -> the same shape."""
        return self._norm(x, self.final_norm)

    def _attend(self, number: int, layer: Layer, x: Tensor, angles: Tensor | Rotation, cache: KVCache) -> Tensor:
        """[rows, dim] -> [rows, heads * head_dim]."""
        config, rows = self.config, x.shape[0]
        heads, kv_heads = config.num_heads, config.num_kv_heads
        qkv = torch.mm(x, layer.wqkv).view(rows, heads + 2 * kv_heads, config.head_dim)
        qk, v = torch.split(qkv, [heads + kv_heads, kv_heads], dim=1)
        if layer.qk_norm is not None:
            qk = self._norm(qk, layer.qk_norm)
        q, k = torch.split(self._turn(qk, angles), [heads, kv_heads], dim=1)
        keys, values, mask = cache.update(number, k.unsqueeze(1), v.unsqueeze(1))
        if rows == 1 and mask is None:
            return _attend_alone(q[0], keys[0], values[0]).view(1, -1)
        mixed = F.scaled_dot_product_attention(
            q.unsqueeze(2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            attn_mask=None if mask is None else mask.unsqueeze(1),
            enable_gqa=heads != kv_heads,
        )  # [rows, heads, 1, head_dim]
        return mixed.reshape(rows, -1)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """nn/norm.py over the last axis."""
        wide = x if self._exact else x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1.0 / x.shape[-1]).rsqrt_()
        normed: Tensor = wide * scale
        return normed.mul_(weight) if self._exact else normed.type_as(x).mul_(weight)

    def _turn(self, x: Tensor, angles: Tensor | Rotation) -> Tensor:
        """[rows, heads, head_dim] turned by rope."""
        if isinstance(angles, Rotation):
            return rotate(x.unsqueeze(1), angles).squeeze(1)
        pairs = torch.view_as_complex(x.view(*x.shape[:2], -1, 2))
        return torch.view_as_real(pairs * angles).view(x.shape)


def _attend_alone(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One row that sees its whole context: q [heads, head_dim], keys and values [context, kv_heads, head_dim]."""
    grouped = q.view(keys.shape[1], -1, q.shape[1])  # [kv_heads, heads of one kv head, head_dim]
    scores = torch.bmm(grouped * q.shape[1] ** -0.5, keys.permute(1, 2, 0))
    return torch.bmm(scores.softmax(dim=-1), values.transpose(0, 1))


@torch.no_grad()
def _lay_out(block: TransformerBlock) -> Layer:
    attention, feed_forward = block.attention, block.feed_forward
    assert isinstance(block.attention_layer_scale, nn.Identity), "layer scale is not part of this stack"
    w13 = torch.cat([feed_forward.w1.weight, feed_forward.w3.weight]).t().contiguous()
    for module, part in zip((feed_forward.w1, feed_forward.w3), w13.chunk(2, dim=1), strict=True):
        module.weight = nn.Parameter(part.t(), requires_grad=False)
    qk_norm = None
    if attention.q_norm is not None and attention.k_norm is not None:
        counts = (attention.num_heads, attention.num_kv_heads)
        weights = (attention.q_norm.weight, attention.k_norm.weight)
        qk_norm = torch.cat([weight.expand(count, -1) for weight, count in zip(weights, counts, strict=True)])
    return Layer(
        block.attention_norm.weight.detach(),
        turned_over(attention.wqkv),
        qk_norm,
        turned_over(attention.wo),
        block.ffn_norm.weight.detach(),
        w13,
        turned_over(feed_forward.w2),
    )


def turned_over(linear: nn.Linear) -> Tensor:
    """The weight as [in, out]; the module's own parameter becomes a view of it."""
    weight = linear.weight.t().contiguous()
    linear.weight = nn.Parameter(weight.t(), requires_grad=False)
    return weight
