"""The codec that voices are encoded with: found in a checkpoint folder, known by a fingerprint, opened when needed."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agent_tts.errors import VoiceError
from agent_tts.voices.audio_file import FloatSamples
from agent_tts.voices.voice import CodecIdentity

if TYPE_CHECKING:
    from agent_tts.codec.dac import DacCodec
    from agent_tts.codec.dac_config import DacConfig

CODEC_FILE = "codec.pth"
MAPS_AT_ONCE = 7
"""Feature maps as large as the encoder's largest that are alive at once: 6.1 to 6.5 were measured (docs/voices.md)."""


def codec_fingerprint(folder: str | Path) -> str:
    """Names the weights of the codec in a checkpoint folder; cheap, reads none of them.

    codec.pth is a zip archive whose directory holds a checksum of every tensor: equal directories, equal weights.

    Raises:
        VoiceError: There is no codec, or it is no such archive.
    """
    path = Path(folder) / CODEC_FILE
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted((_inner_name(info), info.file_size, info.CRC) for info in archive.infolist())
    except FileNotFoundError as error:
        raise VoiceError(
            f"{str(folder)!r} has no {CODEC_FILE}; voices are made with the codec of an S2-Pro or S1-mini checkpoint."
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise VoiceError(f"{path} cannot be read as a codec ({type(error).__name__}); download it again.") from error
    digest = hashlib.sha256()
    for name, size, checksum in members:
        digest.update(name.encode("utf-8") + struct.pack("<xQL", size, checksum))
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class CheckpointCodec:
    """The encoder of a checkpoint's codec, on the CPU in float32: its codes are exact only there."""

    identity: CodecIdentity
    _codec: DacCodec

    def encode(self, pcm: FloatSamples) -> npt.NDArray[np.int64]:
        """Samples at the codec's rate, [num_samples] -> codes [codebooks, frames].

        Raises:
            NotEnoughMemoryError: So long a recording does not fit what is free; checked before anything is computed.
        """
        import torch

        from agent_tts.nn.tensor_files import check_memory

        check_memory(
            memory_to_encode(self._codec.config, len(pcm)),
            torch.device("cpu"),
            what=f"Encoding a recording of {len(pcm) / self.identity.sample_rate:.0f} s",
            advice="Give a shorter recording (10 s are enough)",
        )
        with torch.inference_mode():
            codes = self._codec.encode(torch.from_numpy(np.ascontiguousarray(pcm, np.float32)).unsqueeze(0))
        return np.asarray(codes[0].numpy(), np.int64)


def memory_to_encode(config: DacConfig, num_samples: int) -> int:
    """Bytes that encoding takes beside the weights, for a recording of so many samples at the codec's rate."""
    widest, channels, hop = 0.0, config.encoder_dim, 1
    for rate in (*config.encoder_rates, 1):
        widest = max(widest, channels / hop)
        channels, hop = 2 * channels, hop * rate
    return int(MAPS_AT_ONCE * widest * num_samples * np.dtype(np.float32).itemsize)


def open_codec(folder: str | Path) -> CheckpointCodec:
    """Load the codec of a checkpoint folder. Slow: reads all of its weights.

    Raises:
        VoiceError: The folder has no codec.
        CheckpointError: The codec cannot be loaded as it is.
    """
    fingerprint = codec_fingerprint(folder)
    from agent_tts.codec.dac_checkpoint import load_codec

    codec = load_codec(Path(folder) / CODEC_FILE).codec
    shape = codec.config
    return CheckpointCodec(
        CodecIdentity(fingerprint, shape.sample_rate, shape.frame_samples, shape.num_codebooks), codec
    )


def _inner_name(info: zipfile.ZipInfo) -> str:
    """Without the archive's own folder, which is only the name the file was once saved under."""
    return info.filename.partition("/")[2]
