"""Causal convolutions that run whole or chunk by chunk; they know nothing of audio or codes.

All take [rows, channels, time]. `forward` is the whole signal from silence, `step` one chunk with
carried state; both give the same values. No output depends on a later input.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent_tts.nn.streaming import TensorState


class _Causal(nn.Module):
    """A convolution in either direction. Its kernel spans one stride and `carried` more, which each slot carries."""

    kind: type[nn.Conv1d] | type[nn.ConvTranspose1d]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.conv = self.kind(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, bias=bias
        )
        self.stride = stride
        self.carried = (kernel_size - 1) * dilation + 1 - stride
        assert self.carried >= 0, "a stride longer than the kernel would skip inputs, or leave gaps between outputs"

    def _zeros(self, slots: int, channels: int, device: torch.device | None, dtype: torch.dtype | None) -> TensorState:
        weight = self.conv.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        return TensorState(torch.zeros(slots, channels, self.carried, device=device, dtype=dtype))


class CausalConv1d(_Causal):
    """Convolution padded on the left only; with a stride, chunks must be multiples of it."""

    kind = nn.Conv1d

    def forward(self, x: Tensor) -> Tensor:
        """The whole signal: [rows, in_channels, time] -> [rows, out_channels, time / stride]."""
        return self.conv(F.pad(x, (self.carried, 0)))

    def init_state(
        self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> TensorState:
        """The last inputs of each slot, silence at first."""
        return self._zeros(slots, self.conv.in_channels, device, dtype)

    def step(self, x: Tensor, state: TensorState, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk, a multiple of `stride` long."""
        assert x.shape[-1] % self.stride == 0, f"chunk of {x.shape[-1]} is no multiple of stride {self.stride}"
        if self.carried == 0:
            return self.conv(x)
        joined = torch.cat([state.gather(slot_ids), x], dim=-1)
        state.put(joined[..., -self.carried :], slot_ids)
        return self.conv(joined)


class CausalConvTranspose1d(_Causal):
    """Upsampling by `stride`; what a chunk adds beyond its own span is carried to the next one.

    `forward` cuts that tail off, so the output is exactly `stride` times as long as the input.
    """

    kind = nn.ConvTranspose1d

    def forward(self, x: Tensor) -> Tensor:
        """The whole signal: [rows, in_channels, time] -> [rows, out_channels, time * stride]."""
        return self.conv(x)[..., : x.shape[-1] * self.stride]

    def init_state(
        self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> TensorState:
        """The part of each slot's output, without bias, that reaches into the next chunk."""
        return self._zeros(slots, self.conv.out_channels, device, dtype)

    def step(self, x: Tensor, state: TensorState, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk of any length."""
        conv, length = self.conv, x.shape[-1] * self.stride
        if self.carried == 0:
            return conv(x)
        full = F.conv_transpose1d(
            x, conv.weight, None, stride=conv.stride, groups=conv.groups, dilation=conv.dilation
        )  # [rows, out_channels, length + carried]
        full = full + F.pad(state.gather(slot_ids), (0, full.shape[-1] - self.carried))
        state.put(full[..., length:], slot_ids)
        out = full[..., :length]
        return out if conv.bias is None else out + conv.bias[:, None]


class ConvNeXtBlock(nn.Module):
    """Depthwise causal convolution, then a pointwise MLP, added to the input with a learnt scale."""

    def __init__(
        self,
        dim: int,
        *,
        kernel_size: int = 7,
        dilation: int = 1,
        mlp_ratio: float = 4.0,
        layer_scale: float = 1e-6,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        hidden = int(mlp_ratio * dim)
        self.dwconv = CausalConv1d(dim, dim, kernel_size, dilation=dilation, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.pwconv1 = nn.Linear(dim, hidden)
        self.pwconv2 = nn.Linear(hidden, dim)
        self.gamma = nn.Parameter(layer_scale * torch.ones(dim))

    def _mix_channels(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.pwconv1(self.norm(x.transpose(1, 2))))
        return (self.gamma * self.pwconv2(hidden)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The whole signal: [rows, dim, time] -> the same shape."""
        return x + self._mix_channels(self.dwconv(x))

    def init_state(
        self, slots: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> TensorState:
        """State of the depthwise convolution."""
        return self.dwconv.init_state(slots, device, dtype)

    def step(self, x: Tensor, state: TensorState, slot_ids: Tensor | None = None) -> Tensor:
        """One chunk of any length."""
        return x + self._mix_channels(self.dwconv.step(x, state, slot_ids))
