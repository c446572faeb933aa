"""What the service says in Pipecat's words: its settings, and our errors as Pipecat's."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipecat.frames.frames import ErrorFrame
from pipecat.services.settings import TTSSettings
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.types import NOT_GIVEN, NotGiven

from agent_tts.errors import AgentTTSError, EngineClosedError, UnknownVoiceError, VoiceError


@dataclass
class AgentTTSSettings(TTSSettings):
    """What can be changed while the pipeline runs. A change holds from the next turn on.

    Parameters:
        seed: Same text, voice and seed give the same speech. None = a new one for each turn.
        temperature: Of the sampler. None = as the voice recommends.
    """

    seed: int | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)
    temperature: float | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)


def error_frame(error: AgentTTSError) -> ErrorFrame:
    """Ours in Pipecat's words. A closed engine stays closed: Pipecat gives such a service no more work."""
    permanent = isinstance(error, EngineClosedError | UnknownVoiceError | VoiceError)
    category = ErrorCategory.INVALID_REQUEST if permanent else ErrorCategory.SERVER
    return ErrorFrame(error=str(error), exception=error, category=category)
