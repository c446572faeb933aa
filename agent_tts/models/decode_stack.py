"""The same transformer for one position a row, with little between the matrix products. Eager PyTorch, any device.

At one position a row a small model spends most of its time on the way between kernels, so here q and k are normed and
turned together, the residual is added inside the product, and each weight lies the way round in which a product with
one row reads it fastest. The weights are not copied: the module's own parameters become views of the new layout.
Quantised weights (quantized.py) replace the module's, whose own forward() is then gone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import WeightFormat
from agent_tts.models.quantized import Packed, pack, product, product_added
from agent_tts.nn.attention import KVCache, Transformer, TransformerBlock, attend
from agent_tts.nn.rope import rotation


class Layer(NamedTuple):
    """Weights of one block as the products read them."""

    attention_norm: Tensor  # [dim]
    wqkv: Tensor | Packed  # [dim, (heads + 2 * kv_heads) * head_dim]
    qk_norm: Tensor | None  # [heads + kv_heads, head_dim]
    wo: Tensor | Packed  # [heads * head_dim, dim]
    ffn_norm: Tensor  # [dim]
    w13: Tensor | Packed  # [dim, 2 * ffn_dim]
    w2: Tensor | Packed  # [ffn_dim, dim]


class DecodeStack:
    """Runs the blocks of a Transformer for one new position in each row; equal to Transformer.forward()."""

    def __init__(self, transformer: Transformer, weights: WeightFormat = "full") -> None:
        """Lay the weights out anew. Call once, after loading; the module keeps working unless they are quantised."""
        config = transformer.config
        self.config = config
        self.weights = weights
        self._round = transformer.rope_bf16
        blocks = [block for block in transformer.layers if isinstance(block, TransformerBlock)]
        self.layers = [_lay_out(block) if weights == "full" else _packed(block, weights) for block in blocks]
        self.final_norm = weight = transformer.norm.weight.detach()
        self._eps = torch.full((), config.norm_eps, dtype=torch.float32, device=weight.device)
        self._exact = weight.dtype == torch.float32

    def angles(self, positions: Tensor) -> Tensor:
        """What forward() needs to know of the positions [rows]; may be kept for positions that come back.

        Complex, [rows, 1, head_dim / 2]: a pair turns by one product.
        """
        turn = rotation(positions.unsqueeze(1), self.config.head_dim, self.config.rope_base, round_to_bf16=self._round)
        return torch.complex(turn.cos, turn.sin).squeeze(1)

    def forward(self, x: Tensor, angles: Tensor, cache: KVCache) -> Tensor:
        """[rows, dim] -> the same shape, before the final norm."""
        for number, layer in enumerate(self.layers):
            mixed = self._attend(number, layer, self._norm(x, layer.attention_norm), angles, cache)
            x = product_added(x, mixed, layer.wo)
            gate, up = product(self._norm(x, layer.ffn_norm), layer.w13).chunk(2, dim=1)
            x = product_added(x, F.silu(gate).mul_(up), layer.w2)
        return x

    def norm(self, x: Tensor) -> Tensor:
        """The final norm: [rows, dim] -> the same shape."""
        return self._norm(x, self.final_norm)

    def _attend(self, number: int, layer: Layer, x: Tensor, angles: Tensor, cache: KVCache) -> Tensor:
        """[rows, dim] -> [rows, heads * head_dim]."""
        config, rows = self.config, x.shape[0]
        heads, kv_heads = config.num_heads, config.num_kv_heads
        qkv = product(x, layer.wqkv).view(rows, heads + 2 * kv_heads, config.head_dim)
        qk, v = torch.split(qkv, [heads + kv_heads, kv_heads], dim=1)
        if layer.qk_norm is not None:
            qk = self._norm(qk, layer.qk_norm)
        q, k = torch.split(self._turn(qk, angles), [heads, kv_heads], dim=1)
        keys, values, mask = cache.update(number, k.unsqueeze(1), v.unsqueeze(1))
        if rows == 1 and mask is None and x.device.type == "cpu":
            return _attend_alone(q[0], keys[0], values[0]).view(1, -1)
        return attend(q.unsqueeze(1), keys, values, mask).view(rows, -1)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        """nn/norm.py over the last axis; in 16 bits by PyTorch's own, one kernel on a GPU for seven."""
        if not self._exact:
            return F.rms_norm(x, x.shape[-1:], None, self.config.norm_eps) * weight
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = torch.addcmul(self._eps, length, length, value=1.0 / x.shape[-1]).rsqrt_()
        return (x * scale).mul_(weight)

    def _turn(self, x: Tensor, angles: Tensor) -> Tensor:
        """[rows, heads, head_dim] turned by rope."""
        pairs = torch.view_as_complex(x.float().view(*x.shape[:2], -1, 2))
        return torch.view_as_real(pairs * angles).view(x.shape).type_as(x)


def _attend_alone(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One row that sees its whole context: q [heads, head_dim], keys and values [context, kv_heads, head_dim]."""
    grouped = q.view(keys.shape[1], -1, q.shape[1])  # [kv_heads, heads of one kv head, head_dim]
    scores = torch.bmm(grouped * q.shape[1] ** -0.5, keys.permute(1, 2, 0))
    return torch.bmm(scores.softmax(dim=-1), values.transpose(0, 1))


@torch.no_grad()
def _lay_out(block: TransformerBlock) -> Layer:
    attention, feed_forward = block.attention, block.feed_forward
    w13 = _w13(block)
    for module, part in zip((feed_forward.w1, feed_forward.w3), w13.chunk(2, dim=1), strict=True):
        module.weight = nn.Parameter(part.t(), requires_grad=False)
    return _layer(block, turned_over(attention.wqkv), turned_over(attention.wo), w13, turned_over(feed_forward.w2))


@torch.no_grad()
def _packed(block: TransformerBlock, weights: WeightFormat) -> Layer:
    """Quantised; the module's own weights are given up one by one, so that both never lie in memory together."""
    attention, feed_forward = block.attention, block.feed_forward

    def taken(weight: Tensor, *modules: nn.Linear) -> Packed:
        made = pack(weight, weights)
        for module in modules:
            module.weight = nn.Parameter(module.weight.to("meta"), requires_grad=False)
        return made

    return _layer(
        block,
        taken(attention.wqkv.weight, attention.wqkv),
        taken(attention.wo.weight, attention.wo),
        taken(_w13(block).t(), feed_forward.w1, feed_forward.w3),
        taken(feed_forward.w2.weight, feed_forward.w2),
    )


def _layer(
    block: TransformerBlock, wqkv: Tensor | Packed, wo: Tensor | Packed, w13: Tensor | Packed, w2: Tensor | Packed
) -> Layer:
    attention = block.attention
    assert isinstance(block.attention_layer_scale, nn.Identity), "layer scale is not part of this stack"
    qk_norm = None
    if attention.q_norm is not None and attention.k_norm is not None:
        counts = (attention.num_heads, attention.num_kv_heads)
        weights = (attention.q_norm.weight, attention.k_norm.weight)
        qk_norm = torch.cat([weight.expand(count, -1) for weight, count in zip(weights, counts, strict=True)])
    return Layer(block.attention_norm.weight.detach(), wqkv, qk_norm, wo, block.ffn_norm.weight.detach(), w13, w2)


def _w13(block: TransformerBlock) -> Tensor:
    """[dim, 2 * ffn_dim], both matrices side by side."""
    feed_forward = block.feed_forward
    return _fastest(torch.cat([feed_forward.w1.weight, feed_forward.w3.weight]))


def turned_over(linear: nn.Linear) -> Tensor:
    """The weight as [in, out], in the layout that is read fastest; the module's own parameter becomes a view of it."""
    weight = _fastest(linear.weight.detach())
    linear.weight = nn.Parameter(weight.t(), requires_grad=False)
    return weight


def _fastest(weight: Tensor) -> Tensor:
    """[out, in] -> [in, out]. The BLAS of a CPU wants it in that order in memory; a GPU's reads it as it lies."""
    return weight.t().contiguous() if weight.device.type == "cpu" else weight.t()
