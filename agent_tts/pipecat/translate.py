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
from agent_tts.errors import (
    AgentTTSError,
    CheckpointError,
    ConfigError,
    EngineClosedError,
    EngineUnavailableError,
    UnknownVoiceError,
    VoiceError,
)
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


PERMANENT = (UnknownVoiceError, VoiceError, ConfigError, CheckpointError)
"""The same request fails the same way until something is changed: Pipecat gives such a service no more work."""


def error_frame(error: AgentTTSError, context_id: str, *, loads_anew: bool) -> TurnFailedFrame:
    """Ours in Pipecat's words. `loads_anew`: a closed engine is not the end of it."""
    category = category_of(error, loads_anew=loads_anew)
    return TurnFailedFrame(error=str(error), exception=error, category=category, context_id=context_id)


def category_of(error: AgentTTSError, *, loads_anew: bool) -> ErrorCategory:
    if isinstance(error, PERMANENT) or (isinstance(error, EngineClosedError) and not loads_anew):
        return ErrorCategory.INVALID_REQUEST
    return ErrorCategory.CONNECTIVITY if isinstance(error, EngineUnavailableError) else ErrorCategory.SERVER


def unusable_frame(why: ErrorFrame | None, context_id: str) -> TurnFailedFrame:
    """Of a turn whose text Pipecat kept from us. `why`: the error after which it took the service for unusable."""
    if why is None:
        advice = "The service was set unusable; set_usable(True) gives it work again."
        return TurnFailedFrame(error=advice, category=ErrorCategory.APPLICATION, context_id=context_id)
    said = f"Not spoken, as the service is unusable. {why.error}"
    return TurnFailedFrame(error=said, exception=why.exception, category=why.category, context_id=context_id)
