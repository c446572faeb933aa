"""The consent record of a voice: who agreed, to what, until when, for which recording. Stores nothing.

A recording of a person is theirs. Without a record no voice is stored, unless it is declared, in words that are kept,
to be the speaker's own or nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Any

from agent_tts.errors import ConsentError

NO_END = "no-end"
"""What --consent-until takes when no end was agreed: to be said, never assumed."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ConsentKind(Enum):
    """On what ground a voice may be used."""

    GIVEN = "given"
    """The speaker, another person, agreed."""
    OWN_VOICE = "own-voice"
    """The speaker is the one who adds the voice."""
    SYNTHETIC = "synthetic"
    """No person speaks in the recording, and none is imitated."""


ATTESTATIONS = {
    ConsentKind.GIVEN: (
        "The speaker named here knows of this recording, agreed that a synthetic voice is made of it and used for the "
        "purpose named here until the date named here, and can withdraw that."
    ),
    ConsentKind.OWN_VOICE: "I am the speaker of this recording and agree that a synthetic voice is made of it.",
    ConsentKind.SYNTHETIC: "This recording was made by a machine; it is no person's voice and imitates none.",
}
"""What one states by adding a voice; kept word for word unless another text is given."""


@dataclass(frozen=True, slots=True)
class ConsentClaim:
    """What whoever adds a voice says about the consent, before it is checked. Empty = not said."""

    kind: ConsentKind | None = None
    speaker: str = ""
    purpose: str = ""
    until: str = ""
    attestation: str = ""


@dataclass(frozen=True, slots=True)
class Consent:
    """A checked record. Part of the stored voice.

    Attributes:
        speaker: Who speaks in the recording.
        purpose: What the voice may be used for.
        valid_until: Last day of validity; None = no end was agreed.
        audio_sha256: Of the recording's file, byte for byte.
        attestation: What was stated when it was added, word for word.
        recorded_at: When it was added (UTC).
    """

    kind: ConsentKind
    speaker: str
    purpose: str
    valid_until: date | None
    audio_sha256: str
    attestation: str
    recorded_at: datetime

    def expired(self, today: date) -> bool:
        """Whether the last day of validity has passed."""
        return self.valid_until is not None and today > self.valid_until

    def status(self, today: date) -> str:
        """One sentence for people: valid until when, or that it is over."""
        if self.valid_until is None:
            return "valid, no end was agreed"
        if self.expired(today):
            return f"EXPIRED: it ended on {self.valid_until.isoformat()}; nothing is spoken with this voice any more"
        return f"valid until {self.valid_until.isoformat()}"

    def require_valid(self, voice: str, today: date) -> None:
        """Raises ConsentError when it is over."""
        if self.valid_until is not None and self.expired(today):
            raise ConsentError(
                f"The consent for the voice {voice!r} ended on {self.valid_until.isoformat()}: nothing is spoken with "
                "it any more. Add it again with a new consent (--replace), or remove it."
            )

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "speaker": self.speaker,
            "purpose": self.purpose,
            "valid_until": self.valid_until.isoformat() if self.valid_until else None,
            "audio_sha256": self.audio_sha256,
            "attestation": self.attestation,
            "recorded_at": self.recorded_at.isoformat(),
        }

    @classmethod
    def from_json(cls, data: object) -> Consent:
        """Read a stored record strictly. Raises ConsentError naming the field that is missing or wrong."""
        if not isinstance(data, Mapping):
            raise ConsentError(f"The consent record is {type(data).__name__}; an object is expected.")
        known = set(cls.__dataclass_fields__)
        if set(data) != known:
            wrong = ", ".join(sorted(set(data) ^ known))
            raise ConsentError(f"The consent record misses or does not know: {wrong}.")
        texts = {name: data[name] for name in ("speaker", "purpose", "audio_sha256", "attestation", "recorded_at")}
        for name, value in texts.items():
            if not isinstance(value, str):
                raise ConsentError(f"The consent record's {name} is {type(value).__name__}; a text is expected.")
        until = data["valid_until"]
        try:
            return cls(
                kind=ConsentKind(data["kind"]),
                speaker=texts["speaker"],
                purpose=texts["purpose"],
                valid_until=None if until is None else date.fromisoformat(until),
                audio_sha256=_checked_hash(texts["audio_sha256"]),
                attestation=texts["attestation"],
                recorded_at=datetime.fromisoformat(texts["recorded_at"]),
            )
        except (ValueError, TypeError) as error:
            raise ConsentError(f"The consent record holds a value that is not allowed: {error}.") from error


def record_consent(claim: ConsentClaim, audio_sha256: str, now: datetime) -> Consent:
    """Make the record out of what was said.

    Raises:
        ConsentError: Nothing was said, something is missing, or the consent is over already. Names all that is missing.
    """
    if claim.kind is None and not (claim.speaker or claim.purpose or claim.until):
        raise ConsentError(
            "A voice is stored only with its speaker's consent. Say who speaks (--consent-from), what it may be used "
            f"for (--consent-for) and until when (--consent-until, YYYY-MM-DD or {NO_END}); or declare --own-voice, "
            "or --synthetic when no person speaks."
        )
    kind = claim.kind or ConsentKind.GIVEN
    missing = _missing(claim) if kind is ConsentKind.GIVEN else []
    if missing:
        raise ConsentError(f"The consent is incomplete; missing: {', '.join(missing)}.")
    until = _parse_until(claim.until)
    if until is not None and until < now.date():
        raise ConsentError(f"The consent ended on {until.isoformat()}; a voice cannot be added with it.")
    return Consent(
        kind=kind,
        speaker=claim.speaker.strip() or _default_speaker(kind),
        purpose=claim.purpose.strip() or "not restricted",
        valid_until=until,
        audio_sha256=_checked_hash(audio_sha256),
        attestation=claim.attestation.strip() or ATTESTATIONS[kind],
        recorded_at=now.astimezone(UTC).replace(microsecond=0),
    )


def _missing(claim: ConsentClaim) -> list[str]:
    needed = {"--consent-from": claim.speaker, "--consent-for": claim.purpose, "--consent-until": claim.until}
    return [flag for flag, value in needed.items() if not value.strip()]


def _parse_until(text: str) -> date | None:
    if text.strip() in ("", NO_END):
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise ConsentError(f"--consent-until is {text!r}; a day as YYYY-MM-DD, or {NO_END}, is needed.") from error


def _default_speaker(kind: ConsentKind) -> str:
    return "the one who added it" if kind is ConsentKind.OWN_VOICE else "a machine"


def _checked_hash(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise ValueError("audio_sha256 is not a SHA-256 in hexadecimal")
    return text
