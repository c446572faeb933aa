"""What a frame cannot be faster than: the bytes that must be read, over the bandwidth. Plain arithmetic, no device.

Each weight is read once a frame: the Slow AR's blocks and the legal rows of its head, the Fast AR's blocks and head
nine times (ten positions, the first two in one pass), the codec's decoder; and each row's keys and values once.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from agent_tts.codec.dac import DacCodec
from agent_tts.models.dual_ar import DualAR

DATASHEET_GB_S = {"H200": 4800.0, "H100": 3350.0, "A100": 2039.0, "RTX 4090": 1008.0, "L40S": 864.0, "L4": 300.0}


@dataclass(frozen=True, slots=True)
class FrameBytes:
    """Bytes read for one frame of one row; the weights count once for all rows."""

    slow: int
    fast: int
    codec: int
    kv_per_position: int

    def total(self, rows: int, context: int) -> int:
        """Of one step."""
        return self.slow + self.fast + self.codec + rows * context * self.kv_per_position


def frame_bytes(model: DualAR, codec: DacCodec, dtype_bytes: int, fast_bytes: int | None = None) -> FrameBytes:
    """Counted from the modules' shapes. `fast_bytes`: of the Fast AR's blocks, where they are quantised."""
    config = model.config
    passes = config.num_codebooks - 1
    legal = config.semantic_end_id - config.semantic_begin_id + 2
    slow = (_count(model.slow.transformer) + legal * config.slow.dim) * dtype_bytes
    blocks = _count(model.fast.transformer) * (fast_bytes or dtype_bytes)
    fast = passes * (blocks + config.codebook_size * config.fast.dim * dtype_bytes)
    decoder = [codec.quantizer.post_module, codec.quantizer.upsample, codec.decoder]
    kv = 2 * config.slow.num_layers * config.slow.num_kv_heads * config.slow.head_dim * dtype_bytes
    return FrameBytes(slow, fast, 4 * sum(_count(module) for module in decoder), kv)


def floor_ms(num_bytes: int, gb_s: float) -> float:
    """Milliseconds to read so many bytes."""
    return num_bytes / gb_s / 1e6


def datasheet_gb_s(device_name: str) -> float | None:
    """The vendor's figure for a device, where it is known."""
    return next((speed for name, speed in DATASHEET_GB_S.items() if name in device_name), None)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
