"""The exceptions a caller of agent_tts can do something about. An adapter turns this tree into its framework's.

    AgentTTSError
    ├── ConfigError                 a config value or key that is not allowed
    ├── CheckpointError             a model folder that cannot be loaded as it is
    │   ├── LicenseNotAcceptedError its licence was not accepted yet
    │   └── NotEnoughMemoryError    its weights do not fit what is free
    ├── UnknownVoiceError           no voice of that name
    ├── VoiceError                  a voice that cannot be stored as it was given
    │   ├── ReferenceAudioError     its recording is not fit for a voice
    │   ├── ConsentError            nobody said that the speaker agreed, or the consent is over
    │   └── VoiceFileError          its stored files are damaged or were changed
    ├── SampleRateError             audio at a rate that is not allowed here
    ├── TextAfterEndError           push_text() or flush() after end_text()
    ├── EngineClosedError           use after close()
    ├── EngineUnavailableError      no connection to an engine in another process now; it is being retried
    ├── EngineBusyError             no room for one more utterance now; retry later
    └── GenerationError             the model failed in a step; `original` is what it raised

A message holds the value received and the values allowed. It never holds what a caller says.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable


class AgentTTSError(Exception):
    """Base of everything agent_tts raises on purpose."""


class ConfigError(AgentTTSError):
    """A config file, key or value that is not allowed."""


class CheckpointError(AgentTTSError):
    """A model folder or file that cannot be loaded as it is."""


class LicenseNotAcceptedError(CheckpointError):
    """The weights carry a licence that has to be accepted once."""

    def __init__(self, license_name: str, source: str, terms: str = "") -> None:
        super().__init__(
            f"The weights in {source!r} are under {license_name!r}. {terms}{terms and ' '}Read it, then accept it once "
            f"with accept_license={license_name!r} (config, AGENT_TTS_ACCEPT_LICENSE or --accept-license)."
        )
        self.license_name = license_name
        self.source = source


class NotEnoughMemoryError(CheckpointError):
    """The weights, or what is computed with them at once, need more memory than is free."""

    def __init__(self, what: str, needed: int, available: int, device: str, advice: str) -> None:
        self.needed = needed
        self.available = available
        super().__init__(
            f"{what} needs {needed / 2**30:.2f} GiB on {device}, {available / 2**30:.2f} GiB are free. "
            f"{advice}, or free memory first."
        )


class UnknownVoiceError(AgentTTSError):
    """No voice of that name is known to this engine."""

    def __init__(self, name: str, available: Iterable[str]) -> None:
        self.name = name
        self.available = tuple(sorted(available))
        known = ", ".join(repr(voice) for voice in self.available) or "none"
        super().__init__(f"Unknown voice {name!r}. Available: {known}. Add one with `agent-tts voices add`.")


class VoiceError(AgentTTSError):
    """A voice that cannot be stored as it was given: its name, its text, its model."""


class ReferenceAudioError(VoiceError):
    """A recording that is not fit to make a voice of; each reason is a sentence."""

    def __init__(self, source: str, reasons: Iterable[str]) -> None:
        self.source = source
        self.reasons = tuple(reasons)
        super().__init__(f"{source!r} is not fit for a voice: {' '.join(self.reasons)}")


class ConsentError(VoiceError):
    """A voice without a complete record of the speaker's consent, or whose consent is over."""


class VoiceFileError(VoiceError):
    """A stored voice that cannot be read back as it was written."""


class SampleRateError(AgentTTSError):
    """A sample rate that is not allowed here."""

    def __init__(self, sample_rate: int, allowed: Iterable[int]) -> None:
        self.sample_rate = sample_rate
        self.allowed = tuple(sorted(allowed))
        rates = ", ".join(str(rate) for rate in self.allowed)
        super().__init__(f"Sample rate {sample_rate} Hz is not allowed here. Allowed: {rates} Hz.")


class TextAfterEndError(AgentTTSError):
    """Text was pushed into an utterance whose text had already been ended."""

    def __init__(self, utterance_id: str) -> None:
        super().__init__(f"Utterance {utterance_id!r} takes no more text after end_text(). Open a new utterance.")


class EngineClosedError(AgentTTSError):
    """The engine was closed, or its thread has stopped."""

    def __init__(self, reason: str = "close() was called") -> None:
        super().__init__(f"The engine is closed: {reason}. Load a new one with Engine.load().")


class EngineUnavailableError(AgentTTSError):
    """There is no connection to the engine's process now."""

    def __init__(self, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(f"No engine at {address}: {reason}. Start one with `agent-tts serve`.")


class EngineBusyError(AgentTTSError):
    """The engine takes no further utterance now."""

    def __init__(self, waiting: int, limit: int) -> None:
        self.waiting = waiting
        self.limit = limit
        super().__init__(
            f"{waiting} utterances are open or waiting and max_waiting is {limit}. "
            "Retry when one has ended, raise max_waiting, or add an engine."
        )


class GenerationError(AgentTTSError):
    """The model failed while it spoke this utterance; other utterances go on.

    Attributes:
        original: What the model raised, in this process. It is no `__cause__`, which every log would print with the
            traceback: its message is the model's, and may hold what was to be said.
    """

    def __init__(self, message: str, original: Exception | None = None) -> None:
        self.original = original
        super().__init__(message)


def without_words(error: BaseException) -> str:
    """The kind of an exception and where it came from, without its message."""
    return f"{type(error).__name__}\n{''.join(traceback.format_tb(error.__traceback__))}"
