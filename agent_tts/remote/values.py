"""Orders, errors, metrics and stats as JSON objects, and back. The only place that knows both forms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent_tts.config import from_mapping
from agent_tts.errors import (
    AgentTTSError,
    ConfigError,
    ConsentError,
    EngineBusyError,
    EngineClosedError,
    EngineUnavailableError,
    GenerationError,
    UnknownVoiceError,
)
from agent_tts.remote.wire import ProtocolError
from agent_tts.runtime.door import Order
from agent_tts.types import EngineStats, FinishReason, SamplingParams, TtsMetrics

MAX_NAME = 256
"""Characters of a voice's or an utterance's name."""
RANGES: dict[str, tuple[type, float, float]] = {
    "seed": (int, -(2**63), 2**63 - 1),
    "top_k": (int, 1, 2**31),
    "temperature": (float, 0.0, 100.0),
    "fast_temperature": (float, 0.0, 100.0),
    "lead_ms": (float, 0.0, 1e9),
}
"""What a client may ask for; others are shares, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a server says of its engine, once per connection."""

    sample_rate: int
    frame_ms: float
    model_name: str
    voices: tuple[str, ...]
    max_waiting: int
    heartbeat_s: float
    stats: EngineStats


def welcome_to_json(welcome: Welcome) -> dict[str, Any]:
    return asdict(welcome)


def welcome_from_json(value: Mapping[str, Any]) -> Welcome:
    try:
        fields = {name: value[name] for name in Welcome.__slots__}
        return Welcome(**fields | {"voices": tuple(value["voices"]), "stats": stats_from_json(value["stats"])})
    except (KeyError, TypeError) as error:
        raise ProtocolError("a WELCOME message that is not whole") from error


def order_to_json(order: Order) -> dict[str, Any]:
    return asdict(order)


def order_from_json(value: Mapping[str, Any]) -> Order:
    """Read what a client wants. A model must never see a value of another type: a step is shared with other clients.

    Raises:
        ProtocolError: It is not an order.
        ConfigError: A value is not allowed.
    """
    try:
        utterance_id, voice = value["utterance_id"], value["voice"]
        sampling, lead_ms = value["sampling"], value["lead_ms"]
    except KeyError as error:
        raise ProtocolError("an OPEN message that is not whole") from error
    for name in (utterance_id, voice):
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise ConfigError(f"A voice and an utterance_id have 1 to {MAX_NAME} characters.")
    if not isinstance(sampling, dict):
        raise ProtocolError("an OPEN message whose sampling is not an object")
    for key, number in [*sampling.items(), ("lead_ms", lead_ms)]:
        _require_number(key, number)
    return Order(utterance_id, voice, from_mapping(SamplingParams, sampling, where="sampling"), lead_ms)


def _require_number(name: str, value: object) -> None:
    kind, least, most = RANGES.get(name, (float, 0.0, 1.0))
    kinds = (int,) if kind is int else (int, float)
    if value is None or (isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most):
        return
    raise ConfigError(f"{name} is {value!r}; {kind.__name__} from {least} to {most} is allowed.")


def stats_to_json(stats: EngineStats) -> dict[str, Any]:
    return asdict(stats)


def stats_from_json(value: Any) -> EngineStats:
    """What this version knows of them; a newer server may say more."""
    try:
        return EngineStats(**{name: value[name] for name in EngineStats.__slots__ if name in value})
    except TypeError as error:
        raise ProtocolError("stats that are not whole") from error


def metrics_to_json(metrics: TtsMetrics) -> dict[str, Any]:
    return asdict(metrics) | {"finish_reason": metrics.finish_reason.value}


def metrics_from_json(value: Any) -> TtsMetrics:
    """What this version knows of them; a newer server may say more."""
    try:
        known = {name: value[name] for name in TtsMetrics.__slots__ if name in value}
        return TtsMetrics(**known | {"finish_reason": FinishReason(value["finish_reason"])})
    except (TypeError, KeyError, ValueError) as error:
        raise ProtocolError("metrics that are not whole") from error


def error_to_json(error: AgentTTSError) -> dict[str, Any]:
    match error:
        case UnknownVoiceError():
            return {"kind": "unknown_voice", "name": error.name, "available": error.available}
        case EngineBusyError():
            return {"kind": "busy", "waiting": error.waiting, "limit": error.limit}
        case EngineClosedError():
            return {"kind": "closed"}
        case ConfigError():
            return {"kind": "config", "message": str(error)}
        case ConsentError():
            return {"kind": "consent", "message": str(error)}
        case _:
            return {"kind": "generation", "message": str(error)}


def error_from_json(value: Mapping[str, Any], address: str) -> AgentTTSError:
    """The same error on the client's side. An engine that shuts down is, seen from here, one that is not there."""
    try:
        match value["kind"]:
            case "unknown_voice":
                return UnknownVoiceError(str(value["name"]), value["available"])
            case "busy":
                return EngineBusyError(value["waiting"], value["limit"])
            case "closed":
                return EngineUnavailableError(address, "it is shutting down")
            case "config":
                return ConfigError(str(value["message"]))
            case "consent":
                return ConsentError(str(value["message"]))
            case _:
                return GenerationError(str(value["message"]))
    except (KeyError, TypeError) as error:
        raise ProtocolError("an error that is not whole") from error
