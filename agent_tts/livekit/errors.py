"""Our exceptions in the words of LiveKit Agents. Knows which of them are worth a retry; raises nothing on its own.

A dead engine in the agent's own machine does not come back by asking again: three retries would be four seconds of
silence, so `retryable` is False wherever the same request would fail the same way.
"""

from __future__ import annotations

from livekit.agents import APIConnectionError, APIError, APIStatusError

from agent_tts.errors import (
    AgentTTSError,
    EngineBusyError,
    EngineClosedError,
    EngineUnavailableError,
    GenerationError,
    UnknownVoiceError,
)


def to_api_error(error: AgentTTSError) -> APIError:
    """The framework's exception for one of ours; raise it `from` the original."""
    message = str(error)
    match error:
        case EngineBusyError():
            return APIStatusError(message, status_code=429, retryable=True)
        case GenerationError():
            return APIStatusError(message, status_code=500, retryable=True)
        case UnknownVoiceError():
            return APIStatusError(message, status_code=404, retryable=False)
        case EngineClosedError():
            return APIConnectionError(message, retryable=False)
        case EngineUnavailableError():  # its client connects again by itself: a retry may find it
            return APIConnectionError(message, retryable=True)
        case _:
            return APIError(message, retryable=False)
