"""The plain transformer that Slow AR, Fast AR and both codecs share; knows positions and a cache, not what it models.

Parameter names are those of the released checkpoints (`layers.N.attention.wqkv.weight`, ...), so that a loader only
has to put a prefix in front.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.config import TransformerConfig
from agent_tts.nn.norm import RMSNorm
from agent_tts.nn.rope import Rotation, rotate, rotation


class KVCache(Protocol):
    """Keys and values of earlier positions, for one forward pass over all layers."""

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Store the new positions of one layer and return all that their queries may see.

        Args:
            layer: 0, 1, 2, ...
            k, v: [rows, time, kv_heads, head_dim], rotated already.

        Returns:
            keys and values [rows, context, kv_heads, head_dim], and a mask [rows or 1, time, context]: bool, True where
            a query sees a key, or what is added to the scores, in their dtype; None = every query sees every key. Each
            query sees at least one key.
        """
        ...


class CausalContext:
    """No cache: the positions of this call see each other, causally and inside the window. For training, encoders."""

    def __init__(self, time: int, window: int | None, device: torch.device) -> None:
        self._mask = causal_mask(time, time, window, device).unsqueeze(0) if time > 1 else None

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The new positions are all there is."""
        return k, v, self._mask


def causal_mask(time: int, context: int, window: int | None, device: torch.device | None = None) -> Tensor:
    """[time, context] bool; the last query stands at the last key. Query i sees keys i - window < j <= i."""
    query = torch.arange(context - time, context, device=device).unsqueeze(1)
    key = torch.arange(context, device=device).unsqueeze(0)
    visible = key <= query
    return visible if window is None else visible & (key > query - window)


class Attention(nn.Module):
    """Grouped-query attention with one fused projection, rows q | k | v."""

    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.num_heads, self.num_kv_heads, self.head_dim = config.num_heads, config.num_kv_heads, config.head_dim
        rows = (config.num_heads + 2 * config.num_kv_heads) * config.head_dim
        self.wqkv = nn.Linear(config.dim, rows, bias=False)
        self.wo = nn.Linear(config.num_heads * config.head_dim, config.dim, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, angles: Rotation, cache: KVCache) -> Tensor:
        """[rows, time, dim] -> the same shape."""
        heads, kv_heads = self.num_heads, self.num_kv_heads
        qkv = self.wqkv(x).view(*x.shape[:2], heads + 2 * kv_heads, self.head_dim)
        q, k, v = qkv.split((heads, kv_heads, kv_heads), dim=2)  # each [rows, time, (kv_)heads, head_dim]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        keys, values, mask = cache.update(self.layer, rotate(k, angles), v)
        out: Tensor = self.wo(attend(rotate(q, angles), keys, values, mask).flatten(2))
        return out


def attend(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """q [rows, time, heads, head_dim] over keys and values [rows, context, kv_heads, head_dim] -> the shape of q.

    Heads that share a key stand behind each other as more queries of one head: kernels that take a mask would else copy
    each key for each of its heads.
    """
    rows, time, heads, head_dim = q.shape
    kv_heads = keys.shape[2]
    grouped = q.view(rows, time, kv_heads, -1, head_dim).permute(0, 2, 3, 1, 4).flatten(2, 3)
    if mask is not None:
        mask = mask.unsqueeze(1)
        if time > 1 and heads > kv_heads:
            mask = mask.repeat(1, 1, heads // kv_heads, 1)
    mixed = F.scaled_dot_product_attention(grouped, keys.transpose(1, 2), values.transpose(1, 2), attn_mask=mask)
    return mixed.view(rows, kv_heads, -1, time, head_dim).permute(0, 3, 1, 2, 4).reshape(q.shape)


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, ffn_dim, bias=False)
        self.w3 = nn.Linear(dim, ffn_dim, bias=False)
        self.w2 = nn.Linear(ffn_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> the same shape."""
        out: Tensor = self.w2(F.silu(self.w1(x)) * self.w3(x))
        return out


class LayerScale(nn.Module):
    """A learnt factor per channel on a residual branch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), 1e-2))

    def forward(self, x: Tensor) -> Tensor:
        """[..., dim] -> the same shape."""
        return x * self.gamma


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward; with `layer_scale` both branches are scaled per channel (the codec's)."""

    def __init__(self, config: TransformerConfig, layer: int, *, layer_scale: bool = False) -> None:
        super().__init__()
        self.attention = Attention(config, layer)
        self.feed_forward = FeedForward(config.dim, config.ffn_dim)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention_layer_scale = LayerScale(config.dim) if layer_scale else nn.Identity()
        self.ffn_layer_scale = LayerScale(config.dim) if layer_scale else nn.Identity()

    def forward(self, x: Tensor, angles: Rotation, cache: KVCache) -> Tensor:
        """[rows, time, dim] -> the same shape."""
        x = x + self.attention_layer_scale(self.attention(self.attention_norm(x), angles, cache))
        out: Tensor = x + self.ffn_layer_scale(self.feed_forward(self.ffn_norm(x)))
        return out


class Transformer(nn.Module):
    """A stack of blocks and the final norm, which the caller applies: some models hand on what is before it."""

    def __init__(self, config: TransformerConfig, *, layer_scale: bool = False, rope_bf16: bool = True) -> None:
        super().__init__()
        self.config = config
        self.rope_bf16 = rope_bf16
        self.layers = nn.ModuleList(
            TransformerBlock(config, layer, layer_scale=layer_scale) for layer in range(config.num_layers)
        )
        self.norm = RMSNorm(config.dim, config.norm_eps)

    def forward(self, x: Tensor, positions: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Run all blocks.

        Args:
            x: [rows, time, dim].
            positions: [rows or 1, time], absolute; None = 0, 1, 2, ... in every row.
            cache: What earlier positions left; None = causal within this call, inside the config's window.

        Returns:
            [rows, time, dim], before the final norm: apply `self.norm` where the model asks for it.
        """
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device).unsqueeze(0)
        if cache is None:
            cache = CausalContext(x.shape[1], self.config.window, x.device)
        angles = rotation(positions, self.config.head_dim, self.config.rope_base, round_to_bf16=self.rope_bf16)
        for block in self.layers:
            x = block(x, angles, cache)
        return x
