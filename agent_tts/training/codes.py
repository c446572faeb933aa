"""Writes the frozen codec's codes beside each shard: `codes.u16`, [frames, num_codebooks]."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent_tts.codec.mel_encoder import MelConfig
from agent_tts.training.codec import CodecModel, CodecSettings
from agent_tts.training.corpus import Shard
from agent_tts.training.data import finished_shards
from agent_tts.training.loop import load_checkpoint
from agent_tts.training.teacher import FRAME_SAMPLES

LOG = logging.getLogger(__name__)
WINDOW, CONTEXT, BATCH = 240, 16, 8


def load_codec(work: Path, settings: CodecSettings) -> CodecModel:
    """The trained first phase, frozen."""
    model = CodecModel(settings, MelConfig())
    step = load_checkpoint(work / "codec.pt", model=model)
    assert step >= settings.steps, f"codec.pt stops at step {step} of {settings.steps}: train the codec first"
    return model.eval().requires_grad_(False)


def write_codes(work: Path, settings: CodecSettings, part: int = 0, parts: int = 1) -> None:
    """Encode every finished shard that has no codes yet.

    Args:
        work: The work folder.
        settings: Of the codec.
        part, parts: This process takes each `parts`-th shard, from `part` on.
    """
    model = load_codec(work, settings)
    for path in finished_shards(work / "data")[part::parts]:
        target = path / "codes.u16"
        if target.exists():
            continue
        codes = encode_signal(model, Shard(path).audio)
        partial = target.with_suffix(".partial")
        codes.astype(np.uint16).tofile(partial)
        partial.rename(target)
        LOG.info("codes: %s, %d frames", path.name, len(codes))


@torch.no_grad()
def encode_signal(model: CodecModel, audio: NDArray[np.int16]) -> NDArray[np.int64]:
    """Codes of a whole signal, encoded window by window with context on both sides: [frames, num_codebooks]."""
    frames = len(audio) // FRAME_SAMPLES
    windows = -(-frames // WINDOW)
    padded = np.zeros((windows * WINDOW + 2 * CONTEXT) * FRAME_SAMPLES, np.float32)
    begin = CONTEXT * FRAME_SAMPLES
    padded[begin : begin + len(audio)] = audio.astype(np.float32) / 32768.0
    stretches = torch.from_numpy(padded).unfold(0, (WINDOW + 2 * CONTEXT) * FRAME_SAMPLES, WINDOW * FRAME_SAMPLES)
    parts = [_encode_batch(model, batch) for batch in stretches.split(BATCH)]
    return torch.cat(parts).numpy()[:frames]


def _encode_batch(model: CodecModel, audio: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        latent = model.encoder(model.log_mel(audio))
    codes = model.quantizer.quantizer.encode(latent.float())[..., CONTEXT:-CONTEXT]
    return codes.transpose(1, 2).flatten(0, 1)
