"""The bundled decoder frame by frame on a CPU: its networks on NumPy, its source and filters as they are.

Equal to SourceFilterDecoder.step() up to rounding, in half the time; the networks are many small blocks, and PyTorch's
calls cost more than their arithmetic. Reads the decoder once; the state is explicit, a row per slot.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from agent_tts.codec.source_filter import RenderState, SourceFilterDecoder
from agent_tts.nn import numpy_conv
from agent_tts.nn.numpy_conv import NumpyStreaming, SlotIds
from agent_tts.nn.numpy_layers import Array, affine_after, as_array, normalise

Codes = npt.NDArray[np.int64]


class StepperState:
    """All that one SourceFilterStepper carries between steps, a row per slot."""

    def __init__(self, networks: list[list[Array]], render: RenderState) -> None:
        self.trunk, self.blocks, self.pitch = networks
        self.render = render

    def reset(self, slot_ids: SlotIds) -> None:
        """These slots begin a new stream."""
        for part in (self.trunk, self.blocks, self.pitch):
            numpy_conv.reset(part, slot_ids)
        self.render.reset(torch.from_numpy(slot_ids))


class SourceFilterStepper:
    """A decoder in eval mode, float32 on a CPU; its weights must not change after."""

    def __init__(self, decoder: SourceFilterDecoder) -> None:
        self.delay_samples = decoder.delay_samples
        self._decoder = decoder
        self._tables = as_array(decoder.quantizer.codebooks)  # [books, size, latent_dim]
        self._trunk, self._blocks = NumpyStreaming(decoder.trunk.layers), NumpyStreaming(decoder.blocks)
        self._pitch = NumpyStreaming(decoder.pitch)
        self._upsample, self._trunk_eps = affine_after(decoder.trunk.norm, decoder.upsample), decoder.trunk.norm.eps
        self._head, self._eps = affine_after(decoder.norm, decoder.head), decoder.norm.eps
        self._step_dim = decoder.config.step_dim

    def init_state(self, slots: int) -> StepperState:
        """State for that many streams, each at its beginning."""
        networks = [part.init_state(slots) for part in (self._trunk, self._blocks, self._pitch)]
        return StepperState(networks, RenderState(slots, torch.device("cpu")))

    @torch.inference_mode()
    def step(self, codes: Codes, state: StepperState, slot_ids: SlotIds) -> Array:
        """Decode the next frame of each of these slots.

        Args:
            codes: [rows, num_codebooks].
            state: From `init_state`.
            slot_ids: The slot of each row, without repeats.

        Returns:
            float PCM [rows, frame_samples], delayed by `delay_samples`.
        """
        latent: Array = np.add.reduce(self._tables[np.arange(codes.shape[1]), codes], axis=1)[:, None]
        features = self._trunk.step(latent, state.trunk, slot_ids)
        steps = self._upsample(normalise(features, self._trunk_eps)).reshape(len(codes), -1, self._step_dim)
        hidden = self._blocks.step(steps, state.blocks, slot_ids)
        spectra = self._head(normalise(hidden, self._eps))
        pitch = self._pitch.step(latent.astype(np.float64), state.pitch, slot_ids)
        controls = self._decoder.controls(torch.from_numpy(spectra), torch.from_numpy(pitch))
        pcm: Array = self._decoder.render(controls, state.render, torch.from_numpy(slot_ids)).numpy()
        return pcm

    def flush(self, state: StepperState, slot_ids: SlotIds) -> Array:
        """The last `delay_samples` of these streams, once their last frame is decoded: [rows, delay_samples]."""
        return state.render.tail.gather(torch.from_numpy(slot_ids))[:, : self.delay_samples].numpy().copy()
