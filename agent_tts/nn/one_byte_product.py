# mypy: disable-error-code="no-untyped-def, untyped-decorator"
"""x times a weight of one byte per number, on a GPU: a Triton kernel that widens the bytes in registers, not in memory.

Imported only where it runs: Triton comes with PyTorch's builds for Linux GPUs, and with no others. Each program takes
OUT rows of the weight and reads them once for up to 64 rows of x, so that few rows cost the bytes of the weight alone.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

MAX_ROWS = 64
OUT, IN = 16, 256
WARPS, STAGES = 4, 4


@triton.jit
def kernel(
    x,  # [rows, num_in]
    weight,  # [num_out, num_in], int8 or fp8
    scales,  # [num_out] float32
    residual,  # [rows, num_out], looked at if ADDS
    out,  # [rows, num_out]
    rows,
    num_out,
    num_in,
    ADDS: tl.constexpr,
    ROWS: tl.constexpr,
    OUT: tl.constexpr,
    IN: tl.constexpr,
):
    """One block of ROWS x OUT results."""
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) * OUT + tl.arange(0, OUT)[None, :]
    sums = tl.zeros((ROWS, OUT), dtype=tl.float32)
    for begin in range(0, num_in, IN):
        along = begin + tl.arange(0, IN)
        left = tl.load(x + row * num_in + along[None, :], mask=(row < rows) & (along[None, :] < num_in), other=0.0)
        fits = (column < num_out) & (along[:, None] < num_in)
        right = tl.load(weight + column * num_in + along[:, None], mask=fits)
        sums = tl.dot(left, tl.where(fits, right.to(left.dtype), 0.0), sums)
    sums = sums * tl.load(scales + column, mask=column < num_out, other=0.0)
    inside = (row < rows) & (column < num_out)
    if ADDS:
        sums += tl.load(residual + row * num_out + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + row * num_out + column, sums.to(out.dtype.element_ty), mask=inside)


def product(x: Tensor, values: Tensor, scales: Tensor, residual: Tensor | None = None) -> Tensor:
    """x [rows, in] times values [out, in] times scales [1, out], plus residual [rows, out] -> [rows, out]."""
    x = x.contiguous()
    rows, (num_out, num_in) = len(x), values.shape
    out = torch.empty(rows, num_out, dtype=x.dtype, device=x.device)
    block = min(MAX_ROWS, max(16, triton.next_power_of_2(rows)))
    kernel[triton.cdiv(num_out, OUT), triton.cdiv(rows, block)](
        x,
        values,
        scales,
        x if residual is None else residual.contiguous(),
        out,
        rows,
        num_out,
        num_in,
        ADDS=residual is not None,
        ROWS=block,
        OUT=OUT,
        IN=IN,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return out
