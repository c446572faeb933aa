"""Voices by name: a recording comes in, is checked, encoded once and kept; the engine takes out what fits its codec.

recording ─▶ check ─▶ mono at the codec's rate ─▶ encode (once) ─▶ VoiceStore ─▶ Voice ─▶ prompt
               consent ──────────────────────────────────────────────┘
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from agent_tts.config import EngineConfig, Environment
from agent_tts.errors import AgentTTSError, VoiceError, VoiceFileError
from agent_tts.text.prompt import Reference
from agent_tts.voices.audio_file import FloatSamples, Recording, read_recording
from agent_tts.voices.codec import codec_fingerprint
from agent_tts.voices.consent import ConsentClaim, record_consent
from agent_tts.voices.reference import require_fit, to_codec_rate
from agent_tts.voices.store import VoiceStore, check_name
from agent_tts.voices.voice import CodecIdentity, Codes, Voice, VoiceContent

logger = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


class VoiceCodec(Protocol):
    """What turns a recording into codes."""

    @property
    def identity(self) -> CodecIdentity: ...

    def encode(self, pcm: FloatSamples) -> npt.NDArray[np.integer]:
        """Samples at the codec's rate, [num_samples] -> codes [codebooks, frames]."""
        ...


class VoiceRegistry:
    """The stored voices of one folder. Touches no file until it is asked something."""

    def __init__(self, folder: str | Path, *, now: Callable[[], datetime] = utc_now) -> None:
        self.store = VoiceStore(folder)
        self._now = now

    @property
    def today(self) -> date:
        """The day that consent is held against (UTC)."""
        return self._now().date()

    def add(
        self,
        name: str,
        audio: str | Path,
        text: str,
        claim: ConsentClaim,
        open_codec: Callable[[], VoiceCodec],
        *,
        replace: bool = False,
    ) -> Voice:
        """Make a voice of a recording and store it. Opens the codec only when everything else is in order.

        Args:
            text: What is said in the recording, word for word.
            claim: What is said about the speaker's consent.
            open_codec: Loads the codec whose codes the voice will hold; slow.
            replace: Take the name even if a voice has it.

        Raises:
            ReferenceAudioError, ConsentError, VoiceError
        """
        check_name(name)
        if name in self.store.names() and not replace:
            raise VoiceError(f"There is a voice {name!r} already. Remove it first, or replace it.")
        recording = read_recording(audio)
        consent = record_consent(claim, recording.sha256, self._now())
        text = " ".join(text.split())
        report = require_fit(recording, text)
        content = VoiceContent(*_encode(recording, text, open_codec()), report.advice)
        voice = Voice(name, content, content.content_hash, consent, consent.recorded_at)
        self.store.put(voice, replace=replace)
        return voice

    def names(self) -> list[str]:
        return self.store.names()

    def get(self, name: str) -> Voice:
        """Raises UnknownVoiceError, VoiceFileError."""
        return self.store.get(name)

    def remove(self, name: str) -> None:
        """Raises UnknownVoiceError."""
        self.store.remove(name)

    def usable(self, codec_fingerprint: str) -> dict[str, Voice]:
        """The voices whose codes belong to this codec, by name. Damaged and foreign ones are left out and logged.

        A voice whose consent has ended is among them, with a warning: whoever speaks with it is refused by name.
        """
        voices = {}
        for name in self.store.names():
            try:
                voice = self.store.get(name)
            except AgentTTSError as error:
                logger.warning("voice %s is left out: %s", name, error)
                continue
            if voice.content.codec.fingerprint != codec_fingerprint:
                logger.info("voice %s is left out: it was encoded by another codec", name)
                continue
            if voice.consent.expired(self.today):
                logger.warning("voice %s: its consent %s", name, voice.consent.status(self.today))
            voices[name] = voice
        return voices

    def damaged(self) -> Mapping[str, str]:
        """Names that cannot be read back -> why."""
        found = {}
        for name in self.store.names():
            try:
                self.store.get(name)
            except VoiceFileError as error:
                found[name] = str(error)
        return found


class StoredVoices:
    """The stored voices as one engine has them: their prompts when it loads, their consent at every use."""

    def __init__(self, config: EngineConfig, *, now: Callable[[], datetime] = utc_now) -> None:
        self._registry = open_registry(config, now=now)
        self._voices: Mapping[str, Voice] = {}

    def references(self, folder: Path) -> dict[str, Reference]:
        """The voices for the checkpoint in `folder`, as its prompts take them; none when it has no codec."""
        if not self._registry.names():
            return {}
        try:
            fingerprint = codec_fingerprint(folder)
        except VoiceError as error:
            logger.warning("no stored voice can be used: %s", error)
            return {}
        self._voices = self._registry.usable(fingerprint)
        return {name: voice.reference() for name, voice in self._voices.items()}

    def require_consent(self, name: str) -> None:
        """Raise ConsentError when the consent for this voice is over by now. Reads no file."""
        if name in self._voices:
            self._voices[name].consent.require_valid(name, self._registry.today)


def open_registry(config: EngineConfig | None = None, *, now: Callable[[], datetime] = utc_now) -> VoiceRegistry:
    """The registry in `config.voices_dir`, or where the environment says. Creates nothing."""
    folder = config.voices_dir if config else None
    return VoiceRegistry(folder or Environment.read().voices_dir, now=now)


def _encode(recording: Recording, text: str, codec: VoiceCodec) -> tuple[Codes, str, CodecIdentity]:
    identity = codec.identity
    pcm = to_codec_rate(recording, identity.sample_rate)
    codes = np.asarray(codec.encode(pcm), np.int64)
    expected = -(-len(pcm) // identity.frame_samples)
    assert codes.shape == (identity.num_codebooks, expected), f"codes {codes.shape} for {expected} frames"
    return codes, text, identity
