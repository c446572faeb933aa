"""Bundled streaming decoder: codes -> PCM, frame by frame, from a source and learnt filters.

Order of operations for each frame of `frame_samples` (all causal):

    codes -> sum of codebook vectors -> trunk at 25 Hz -> x4 -> blocks at 100 Hz ("steps" of 240 samples)
    -> per step: harmonic and noise log-magnitude (513 bins each)
    the same sum of vectors -> pitch network in float64 -> log F0 and voicing per step
    -> source: pulses along F0, times voicing | noise from a table, picked by the slot's step counter
    -> windows of 480 source samples are filtered by their step's spectra (FFT of 1024, the harmonics'
       with minimum phase, as a throat would) and overlap-added

The output lags its source by DELAY_SAMPLES (15 ms): a stream begins with so many samples of pre-roll,
and `flush` gives the last ones. Nothing depends on another row, on the chunking, or on a random state.

F0 is integrated into a phase, so its rounding errors would add up and the top harmonics would drift
apart between two batch shapes or chunkings. Hence a network of its own, small enough for float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from agent_tts.codec.excitation import (
    DELAY_SAMPLES,
    FFT_SIZE,
    HOP,
    NOISE_STEPS,
    minimum_phase,
    noise_spectra,
    overlap_add,
    pulses,
    source_spectra,
)
from agent_tts.codec.quantizer import ResidualQuantizer
from agent_tts.codec.trunk import LatentTrunk
from agent_tts.nn.conv import CausalConv1d, ConvNeXtBlock
from agent_tts.nn.streaming import StateList, StreamingSequential, TensorState

BINS = FFT_SIZE // 2 + 1
FIRST_LOG_F0 = 5.3
"""About 200 Hz: where F0 heads count from and where a stream's first step comes from."""


@dataclass(frozen=True, slots=True)
class SourceFilterConfig:
    """Shape of the bundled codec's decoder and quantizer."""

    num_codebooks: int = 8
    codebook_size: int = 1024
    latent_dim: int = 64
    sample_rate: int = 24_000
    steps_per_frame: int = 4
    frame_dim: int = 320
    frame_blocks: int = 3
    step_dim: int = 192
    step_blocks: int = 3
    pitch_dim: int = 128

    @property
    def frame_samples(self) -> int:
        """PCM samples per frame."""
        return self.steps_per_frame * HOP


@dataclass(frozen=True, slots=True)
class Controls:
    """What the network says about each step; the last axis of the spectra is the bin."""

    log_f0: Tensor  # [rows, steps], float64
    voicing: Tensor  # [rows, steps], logit
    harmonic: Tensor  # [rows, steps, bins], log-magnitude
    noise: Tensor  # [rows, steps, bins], log-magnitude


class RenderState:
    """What the source and the overlap-add carry between steps, a row per slot."""

    def __init__(self, slots: int, device: torch.device) -> None:
        self.log_f0 = TensorState(torch.full((slots,), FIRST_LOG_F0, dtype=torch.float64, device=device))
        self.voicing = TensorState(torch.zeros(slots, device=device))
        self.phase = TensorState(torch.zeros(slots, dtype=torch.float64, device=device))
        self.pulses = TensorState(torch.zeros(slots, HOP, device=device))
        self.counter = TensorState(torch.zeros(slots, dtype=torch.long, device=device))
        self.tail = TensorState(torch.zeros(slots, FFT_SIZE - HOP, device=device))

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """These slots (None: all) begin a new stream."""
        for part in (self.log_f0, self.voicing, self.phase, self.pulses, self.counter, self.tail):
            part.reset(slot_ids)


class DecoderState:
    """All that one decoder carries between steps, a row per slot."""

    def __init__(self, networks: Sequence[StateList], render: RenderState) -> None:
        self.trunk, self.blocks, self.pitch = networks
        self.render = render

    def reset(self, slot_ids: Tensor | None = None) -> None:
        """These slots (None: all) begin a new stream."""
        for part in (self.trunk, self.blocks, self.pitch, self.render):
            part.reset(slot_ids)


class SourceFilterDecoder(nn.Module):
    """Codes [rows, num_codebooks, frames] -> PCM [rows, frames * frame_samples]."""

    noise_table: Tensor
    delay_samples = DELAY_SAMPLES

    def __init__(self, config: SourceFilterConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.step_dim
        self.quantizer = ResidualQuantizer(config.num_codebooks, config.codebook_size, config.latent_dim)
        self.trunk = LatentTrunk(config.latent_dim, config.frame_dim, config.frame_blocks)
        self.upsample = nn.Linear(config.frame_dim, config.steps_per_frame * dim)
        self.blocks = StreamingSequential(
            *(ConvNeXtBlock(dim, mlp_ratio=3, layer_scale=0.1) for _ in range(config.step_blocks))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 2 * BINS)
        self.pitch = StreamingSequential(
            CausalConv1d(config.latent_dim, config.pitch_dim, 3),
            nn.GELU(),
            CausalConv1d(config.pitch_dim, config.pitch_dim, 3),
            nn.GELU(),
            CausalConv1d(config.pitch_dim, 2 * config.steps_per_frame, 1),
        ).double()
        self.register_buffer("noise_table", noise_spectra(), persistent=False)

    def init_state(self, slots: int, device: torch.device | None = None) -> DecoderState:
        """State for that many streams, each at its beginning."""
        device = device or self.head.weight.device
        networks = [part.init_state(slots, device) for part in (self.trunk, self.blocks, self.pitch)]
        return DecoderState(networks, RenderState(slots, device))

    def step(self, codes: Tensor, state: DecoderState, slot_ids: Tensor | None = None) -> Tensor:
        """Decode the next frames of these slots, any number of them.

        Args:
            codes: [rows, num_codebooks, frames]; fewer codebooks give a coarser voice.
            state: From `init_state`.
            slot_ids: The slot of each row; None = all slots, in order.

        Returns:
            float PCM [rows, frames * frame_samples], delayed by `delay_samples`.
        """
        latent = self.quantizer.decode(codes)
        features = self.trunk.step(latent, state.trunk, slot_ids)
        hidden = self.blocks.step(self._upsample(features), state.blocks, slot_ids)
        pitch = self.pitch.step(latent.double(), state.pitch, slot_ids)
        controls = self.controls(self.head(self.norm(hidden.transpose(1, 2))), pitch.transpose(1, 2))
        return self.render(controls, state.render, slot_ids)

    def flush(self, state: DecoderState, slot_ids: Tensor | None = None) -> Tensor:
        """The last `delay_samples` of these streams, once their last frame is decoded: [rows, delay_samples]."""
        return state.render.tail.gather(slot_ids)[:, :DELAY_SAMPLES].clone()

    def forward(self, latent: Tensor) -> Controls:
        """The whole signal from quantized latents [rows, latent_dim, frames], for training."""
        hidden = self.blocks(self._upsample(self.trunk(latent)))
        pitch = self.pitch(latent.double())
        return self.controls(self.head(self.norm(hidden.transpose(1, 2))), pitch.transpose(1, 2))

    def _upsample(self, features: Tensor) -> Tensor:
        """[rows, frame_dim, frames] -> [rows, step_dim, steps]."""
        spread = self.upsample(features.transpose(1, 2))  # [rows, frames, steps_per_frame * step_dim]
        return spread.reshape(len(spread), -1, self.config.step_dim).transpose(1, 2)

    def controls(self, spectra: Tensor, pitch: Tensor) -> Controls:
        """What the networks say, in units: spectra [rows, steps, 2 * bins], pitch [rows, frames, 2 * steps a frame]."""
        harmonic, noise = spectra.float().chunk(2, dim=-1)
        log_f0, voicing = pitch.chunk(2, dim=-1)  # [rows, frames, steps_per_frame]
        return Controls(
            log_f0=(FIRST_LOG_F0 + log_f0.flatten(1)).clamp(3.9, 6.5),
            voicing=voicing.flatten(1).float(),
            harmonic=(harmonic - 4.0).clamp(max=4.0),
            noise=(noise - 5.0).clamp(max=4.0),
        )

    def render(self, controls: Controls, state: RenderState, slot_ids: Tensor | None) -> Tensor:
        """The sound of these steps: [rows, steps * HOP]."""
        steps = controls.log_f0.shape[1]
        source, phase = pulses(
            controls.log_f0, state.log_f0.gather(slot_ids), state.phase.gather(slot_ids), self.config.sample_rate
        )
        gated = source * gate(controls.voicing, state.voicing.gather(slot_ids))
        counter = state.counter.gather(slot_ids)
        numbers = (counter[:, None] + torch.arange(steps, device=counter.device)) % NOISE_STEPS
        parts = self.filter_source(controls, gated, state.pulses.gather(slot_ids), numbers)
        audio, tail = overlap_add(parts, state.tail.gather(slot_ids))
        state.log_f0.put(controls.log_f0[:, -1], slot_ids)
        state.voicing.put(controls.voicing[:, -1], slot_ids)
        state.phase.put(phase, slot_ids)
        state.pulses.put(gated[:, -HOP:], slot_ids)
        state.counter.put((counter + steps) % NOISE_STEPS, slot_ids)
        state.tail.put(tail, slot_ids)
        return audio

    def filter_source(self, controls: Controls, source: Tensor, before: Tensor, noise_numbers: Tensor) -> Tensor:
        """Filter each window of the source and its noise.

        Args:
            controls: The spectra.
            source: Gated pulses [rows, steps * HOP].
            before: The HOP samples before them.
            noise_numbers: Row of the noise table for each step: [rows, steps].

        Returns:
            Windows to overlap-add: [rows, steps, FFT_SIZE].
        """
        hops = torch.cat([before, source], dim=1).unflatten(1, (-1, HOP))  # [rows, steps + 1, HOP]
        spectrum = source_spectra(torch.cat([hops[:, :-1], hops[:, 1:]], dim=-1))
        filtered = spectrum * torch.polar(torch.exp(controls.harmonic), minimum_phase(controls.harmonic))
        shaped = self.noise_table[noise_numbers] * torch.exp(controls.noise)
        return torch.fft.irfft(filtered + shaped, n=FFT_SIZE)


def gate(voicing: Tensor, previous: Tensor) -> Tensor:
    """Voicing logits at the end of each step -> gain per sample, ramped: [rows, steps * HOP]."""
    gains = torch.sigmoid(torch.cat([previous[:, None], voicing], dim=1))
    ramp = (torch.arange(HOP, device=gains.device, dtype=gains.dtype) + 1) / HOP
    return torch.lerp(gains[:, :-1, None], gains[:, 1:, None], ramp).flatten(1)
