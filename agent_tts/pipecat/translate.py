"""What the service says in Pipecat's words: its settings, and our errors as Pipecat's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from pipecat.frames.frames import ErrorFrame
from pipecat.services.settings import TTSSettings
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.types import NOT_GIVEN, NotGiven

from agent_tts.config import EngineConfig, model_for_agent
from agent_tts.engine import Engine
from agent_tts.errors import AgentTTSError, EngineClosedError, UnknownVoiceError, VoiceError
from agent_tts.types import SamplingParams


@dataclass
class AgentTTSSettings(TTSSettings):
    """What can be changed while the pipeline runs. A change holds from the next turn on.

    Parameters:
        seed: Same text, voice and seed give the same speech. None = a new one for each turn.
        temperature: Of the sampler. None = as the voice recommends.
    """

    seed: int | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)
    temperature: float | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)


def complete(settings: AgentTTSSettings | None, engine: Engine | None, config: EngineConfig | None) -> AgentTTSSettings:
    """With a value in every field, as a service keeps them."""
    whole = AgentTTSSettings(model=None, voice="default", language="en", seed=None, temperature=None)
    if settings is not None:
        whole.apply_update(settings)
    whole.model = engine.model_name if engine is not None else model_for_agent(cast("str | None", whole.model), config)
    return whole


def sampling_of(settings: AgentTTSSettings) -> SamplingParams:
    """Of settings that are complete."""
    return SamplingParams(
        seed=cast("int | None", settings.seed), temperature=cast("float | None", settings.temperature)
    )


@dataclass
class TurnFailedFrame(ErrorFrame):
    """An error after which nothing more of a turn is spoken.

    Parameters:
        context_id: The turn.
    """

    context_id: str = ""


def error_frame(error: AgentTTSError, context_id: str) -> TurnFailedFrame:
    """Ours in Pipecat's words. A closed engine stays closed: Pipecat gives such a service no more work."""
    permanent = isinstance(error, EngineClosedError | UnknownVoiceError | VoiceError)
    category = ErrorCategory.INVALID_REQUEST if permanent else ErrorCategory.SERVER
    return TurnFailedFrame(error=str(error), exception=error, category=category, context_id=context_id)
