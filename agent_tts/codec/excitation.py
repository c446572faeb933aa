"""Sources of the bundled decoder: a band-limited pulse train that follows F0, and noise from a table.

Both are functions of per-slot counters and phases only, so a stream sounds the same whatever its
neighbours do and however it is cut.
"""

import math

import numpy as np
import torch
from torch import Tensor

HOP = 240
"""Samples of one step: the rate of F0 and of the filters."""
WINDOW = 2 * HOP
FFT_SIZE = 1024
LEAD = 128
"""Samples a filter may reach back; the rest of the FFT is its tail."""
DELAY_SAMPLES = HOP + LEAD
TOP_HZ = 11_000.0
NOISE_STEPS = 512
"""The noise repeats after so many steps (5.1 s), far beyond what an ear can match."""


def pulses(log_f0: Tensor, previous: Tensor, phase: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Sum of equal cosines at all multiples of F0 below TOP_HZ; the highest fades in, so nothing jumps.

    Args:
        log_f0: Natural log of F0 at the end of each step, float64: [rows, steps].
        previous: The same at the end of the step before: [rows].
        phase: Cycles at the end of the step before, float64: [rows].

    Returns:
        Samples [rows, steps * HOP] and the phase at their end, in [-0.5, 0.5].
    """
    before = torch.cat([previous[:, None], log_f0[:, :-1]], dim=1)
    ramp = (torch.arange(HOP, device=log_f0.device, dtype=log_f0.dtype) + 1) / HOP
    f0 = torch.exp(torch.lerp(before[..., None], log_f0[..., None], ramp)).flatten(1)  # [rows, samples]
    cycles = phase[:, None] + torch.cumsum(f0 / sample_rate, dim=1)
    cycles = cycles - torch.round(cycles)  # small on both sides of a pulse, where accuracy counts
    turn = (2 * math.pi * cycles).float()
    harmonics = (TOP_HZ / f0).float()
    whole = torch.floor(harmonics)
    sine = 2 * torch.sin(turn / 2)
    small = sine.abs() < 1e-5
    kernel = torch.where(small, 2 * whole + 1, torch.sin((whole + 0.5) * turn) / torch.where(small, 1.0, sine) * 2)
    top = (harmonics - whole) * torch.cos((whole + 1) * turn)
    return 0.5 * (kernel - 1) + top, cycles[:, -1]


def noise_spectra() -> Tensor:
    """FFTs of windowed stretches of white noise, one per step, overlapping by half: [NOISE_STEPS, bins]."""
    samples = np.random.Generator(np.random.PCG64(20)).standard_normal(NOISE_STEPS * HOP).astype(np.float32)
    noise = torch.from_numpy(samples).reshape(NOISE_STEPS, HOP)
    stretches = torch.cat([noise.roll(1, 0), noise], dim=1)
    return source_spectra(stretches)


def source_spectra(stretches: Tensor) -> Tensor:
    """Window stretches of WINDOW samples and transform: [..., WINDOW] -> [..., FFT_SIZE / 2 + 1]."""
    window = torch.hann_window(WINDOW, device=stretches.device, dtype=stretches.dtype)
    return torch.fft.rfft(torch.nn.functional.pad(stretches * window, (LEAD, FFT_SIZE - WINDOW - LEAD)))


def minimum_phase(log_magnitude: Tensor) -> Tensor:
    """Phase of the causal filter with the shortest reach that has this log-magnitude: [..., bins] -> [..., bins].

    By folding the cepstrum. The waveform's peaks come out as low as those of natural speech, which no
    loss on magnitudes would teach.
    """
    cepstrum = torch.fft.irfft(log_magnitude, n=FFT_SIZE)
    fold = torch.zeros(FFT_SIZE, device=cepstrum.device, dtype=cepstrum.dtype)
    fold[0] = fold[FFT_SIZE // 2] = 1.0
    fold[1 : FFT_SIZE // 2] = 2.0
    return torch.fft.rfft(cepstrum * fold).imag


def overlap_add(parts: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
    """Add filtered windows at their places.

    Args:
        parts: [rows, steps, FFT_SIZE].
        carried: What earlier windows reach into the first FFT_SIZE - HOP samples: [rows, FFT_SIZE - HOP].

    Returns:
        Finished samples [rows, steps * HOP] and what reaches beyond them.
    """
    rows, steps, size = parts.shape
    columns = -(-size // HOP)
    padded = torch.nn.functional.pad(parts, (0, columns * HOP - size)).reshape(rows, steps, columns, HOP)
    out = parts.new_zeros(rows, steps + columns - 1, HOP)
    for column in range(columns):
        out[:, column : column + steps] += padded[:, :, column]
    flat = out.flatten(1)
    flat = flat + torch.nn.functional.pad(carried, (0, flat.shape[1] - carried.shape[1]))
    done = steps * HOP
    return flat[:, :done], flat[:, done : done + size - HOP]
