"""Causal convolution blocks chunk by chunk on NumPy: `step` of the modules in nn/conv.py in a quarter of the time.

Arrays are [rows, time, channels], so that a product over channels needs no transpose. State is explicit, a row per
slot, as in nn/streaming.py. Prepared from modules once, after loading; float32 or float64 on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import nn

from agent_tts.nn.conv import CausalConv1d, ConvNeXtBlock
from agent_tts.nn.numpy_layers import Affine, Array, affine_after, as_array, gelu, normalise

SlotIds = npt.NDArray[np.int64]


class Layer(Protocol):
    """One block of a NumpyStreaming; `context` inputs of `channels` each are remembered of each slot."""

    channels: int
    context: int
    dtype: np.dtype[Any]

    def __call__(self, joined: Array) -> Array:
        """The last `context` inputs and the new ones [rows, context + time, channels] -> [rows, time, out]."""
        ...


class NumpyStreaming:
    """A StreamingSequential of causal convolutions (stride 1), ConvNeXt blocks and GELUs."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._layers = [_layer(module) for module in modules]

    def init_state(self, slots: int) -> list[Array]:
        """For each layer its last inputs, silence at first: [slots, context, channels]; owned by the caller."""
        return [np.zeros((slots, layer.context, layer.channels), layer.dtype) for layer in self._layers]

    def step(self, x: Array, state: Sequence[Array], slot_ids: SlotIds) -> Array:
        """Advance these slots by one chunk: [rows, time, in] -> [rows, time, out]."""
        for layer, past in zip(self._layers, state, strict=True):
            if layer.context == 0:
                x = layer(x)
                continue
            joined = np.concatenate([past[slot_ids], x], axis=1)
            past[slot_ids] = joined[:, -layer.context :]
            x = layer(joined)
        return x


def reset(state: Iterable[Array], slot_ids: SlotIds) -> None:
    """These slots begin anew."""
    for past in state:
        past[slot_ids] = 0


class _Convolution:
    """CausalConv1d, not grouped: one product over the kernel's inputs side by side."""

    def __init__(self, module: CausalConv1d) -> None:
        conv = module.conv
        assert (conv.groups, conv.stride, conv.dilation) == (1, (1,), (1,)), "a plain convolution"
        weight = as_array(conv.weight.permute(2, 1, 0))  # [kernel, in, out]
        self._kernel, self.channels, _ = weight.shape
        self._product = Affine(weight.reshape(-1, weight.shape[2]), None if conv.bias is None else as_array(conv.bias))
        self.context = self._kernel - 1
        self.dtype: np.dtype[Any] = weight.dtype

    def __call__(self, joined: Array) -> Array:
        windows = _windows(joined, self._kernel)  # [rows, time, kernel, in]
        return self._product(np.ascontiguousarray(windows).reshape(*windows.shape[:2], -1))


class _ConvNeXt:
    """ConvNeXtBlock."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        conv = block.dwconv.conv
        assert conv.dilation == (1,)
        assert conv.bias is not None
        self._taps = as_array(conv.weight[:, 0].t())  # [kernel, channels]
        self._bias = as_array(conv.bias)
        self._up, self._eps = affine_after(block.norm, block.pwconv1), block.norm.eps
        down = block.pwconv2
        self._down = Affine(as_array(down.weight.t() * block.gamma), as_array(down.bias * block.gamma))
        self.context, self.channels = len(self._taps) - 1, self._taps.shape[1]
        self.dtype: np.dtype[Any] = self._taps.dtype

    def __call__(self, joined: Array) -> Array:
        mixed = np.einsum("rtkc,kc->rtc", _windows(joined, len(self._taps)), self._taps)
        mixed += self._bias
        out = self._down(gelu(self._up(normalise(mixed, self._eps))))
        out += joined[:, self.context :]
        return out


class _Gelu:
    def __init__(self) -> None:
        self.context = self.channels = 0
        self.dtype: np.dtype[Any] = np.dtype(np.float32)

    def __call__(self, joined: Array) -> Array:
        return gelu(joined)


def _windows(joined: Array, size: int) -> Array:
    """[rows, size - 1 + time, channels] -> [rows, time, size, channels], the same memory."""
    rows, length, channels = joined.shape
    by_row, by_time, by_channel = joined.strides
    shape, strides = (rows, length - size + 1, size, channels), (by_row, by_time, by_time, by_channel)
    windows: Array = np.lib.stride_tricks.as_strided(joined, shape, strides, writeable=False)
    return windows


def _layer(module: nn.Module) -> Layer:
    match module:
        case CausalConv1d():
            return _Convolution(module)
        case ConvNeXtBlock():
            return _ConvNeXt(module)
        case nn.GELU():
            return _Gelu()
    raise AssertionError(f"{type(module).__name__} has no counterpart on NumPy")
