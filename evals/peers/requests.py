"""How a speech server is asked: OpenAI's form, Fish's, and any other by a template. Pure; knows no socket.

A template is JSON (`{"text": "{text}", "language": "en"}`) or a form (`tts_text={text}&spk_id={voice}`); a `{text}` in
the address itself makes it a GET.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote

FORMS = {
    "openai": "OpenAI's form ends in /v1",
    "fish": "Fish's form has no path",
    "http": "the whole address is wanted",
}
FIRST_VOICE = "alloy"
"""OpenAI's form must name a voice; the one for "default"."""
EXTRAS = ("stream",)
"""Fields that many servers want for streaming, and a few refuse."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where and with what a server is asked; the same for all requests of a run."""

    url: str
    key: str | None = None
    model: str = ""
    body: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: a POST of JSON or of a form, a GET without a body."""

    url: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)
    kind: str = "json"


def openai_request(place: Place, voice: str, text: str) -> Request:
    """POST {url}/audio/speech; response_format pcm is 24 kHz int16 mono."""
    body = {
        "model": place.model,
        "voice": FIRST_VOICE if voice == "default" else voice,
        "input": text,
        "response_format": "pcm",
        "stream": True,
    }
    return Request(f"{place.url.rstrip('/')}/audio/speech", body, _bearer(place.key))


def fish_request(place: Place, voice: str, text: str) -> Request:
    """POST {url}/v1/tts, Fish cloud and self-hosted servers."""
    body: dict[str, Any] = {"text": text, "format": "wav", "streaming": True, "latency": "balanced", "normalize": True}
    if voice != "default":
        body["reference_id"] = voice
    headers = _bearer(place.key) | ({"model": place.model} if place.model else {})
    return Request(f"{place.url.rstrip('/')}/v1/tts", body, headers)


def plain_request(place: Place, voice: str, text: str) -> Request:
    """{"text", "voice", "model"} by POST, or what the template says; the answer is chunked WAV or raw int16."""
    values, headers = {"text": text, "voice": voice, "model": place.model}, _bearer(place.key)
    if "{text}" in place.url:
        return Request(
            _filled(place.url, {name: quote(value, safe="") for name, value in values.items()}), {}, headers, "get"
        )
    if not place.body:
        return Request(place.url, {name: value for name, value in values.items() if value}, headers)
    form = _template(place.body)
    kind = "json" if place.body.lstrip().startswith("{") else "form"
    return Request(place.url, {name: _filled(value, values) for name, value in form.items()}, headers, kind)


def check_template(body: str) -> None:
    """Raises ValueError, with what is allowed, for a template that cannot be asked with."""
    if body and "{text}" not in body:
        raise ValueError("--body has no {text} in it: no server would know what to say")
    _template(body)


def _template(body: str) -> dict[str, Any]:
    if not body.lstrip().startswith("{"):
        return dict(parse_qsl(body, keep_blank_values=True))
    try:
        found = json.loads(body)
    except ValueError as error:
        raise ValueError(f'--body is no JSON ({error}); such as {{"text": "{{text}}"}} or text={{text}}') from error
    return dict(found)


def _filled(value: Any, values: dict[str, str]) -> Any:
    """With the words in place of their names, also inside lists and objects."""
    if isinstance(value, dict):
        return {name: _filled(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    if not isinstance(value, str):
        return value
    parts = value.split("{text}")
    for name in ("voice", "model"):
        parts = [part.replace("{" + name + "}", values[name]) for part in parts]
    return values["text"].join(parts)


def _bearer(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


MAKERS: dict[str, Callable[[Place, str, str], Request]] = {
    "openai": openai_request,
    "fish": fish_request,
    "http": plain_request,
}
