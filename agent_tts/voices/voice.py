"""What a voice is, as a value: name, codes, text, consent. No files, no audio."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from agent_tts.text.prompt import Reference
from agent_tts.voices.consent import Consent

Codes = npt.NDArray[np.int64]
"""Codes of a recording, shape [codebooks, frames]."""


@dataclass(frozen=True, slots=True)
class CodecIdentity:
    """Which codec the codes belong to: codes of another one are noise.

    Attributes:
        fingerprint: Of the codec's weights (voices/codec.py).
    """

    fingerprint: str
    sample_rate: int
    frame_samples: int
    num_codebooks: int

    @property
    def frame_ms(self) -> float:
        return 1000 * self.frame_samples / self.sample_rate


@dataclass(frozen=True, slots=True, eq=False)
class VoiceContent:
    """What is stored once, whatever names it has: the codes of a recording, what is said in it, and its check.

    Attributes:
        codes: [codebooks, frames]; belongs to the value, not to be written to.
        findings: What the check of the recording had to say, in sentences.
    """

    codes: Codes
    text: str
    codec: CodecIdentity
    findings: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        return int(self.codes.shape[1])

    @property
    def duration_s(self) -> float:
        return self.num_frames * self.codec.frame_ms / 1000

    @property
    def content_hash(self) -> str:
        """Over codes, text and codec: two recordings share it only when they are the same voice in every respect."""
        head = json.dumps([self.text, self.codec.fingerprint, list(self.codes.shape)], ensure_ascii=False)
        digest = hashlib.sha256(head.encode("utf-8"))
        digest.update(np.ascontiguousarray(self.codes, dtype="<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A stored voice under its name.

    Attributes:
        content_hash: Names the content; equal for the same recording under two names.
        consent: Of this name; the same content may have two names with two purposes.
        added_at: UTC.
    """

    name: str
    content: VoiceContent
    content_hash: str
    consent: Consent
    added_at: datetime

    @property
    def text(self) -> str:
        return self.content.text

    @property
    def codes(self) -> Codes:
        return self.content.codes

    def reference(self) -> Reference:
        """As the prompt takes it: one tuple of codes per frame."""
        return Reference(self.text, tuple(tuple(int(code) for code in frame) for frame in self.codes.T))
