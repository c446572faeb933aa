"""What a speech server's answer means when it is no speech, in sentences that say what to do. Pure, except for reading
the beginning of a refusal; a key never stands in what it gives back.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from evals.metrics.audio import onset_ms
from evals.metrics.reply import MIN_MS_PER_CHARACTER, longest_ms, spoken_characters
from evals.peers.base import Pcm, ReplyFailedError

MESSAGE_CHARACTERS = 160
NO_SOUND = re.compile(r"text/|application/(json|xml|xhtml)|audio/(mpeg|mp3|mp4|m4a|ogg|opus|aac|flac|webm)|video/")
COMPRESSED = {
    b"ID3": "MP3",
    b"OggS": "Ogg",
    b"fLaC": "FLAC",
    b"\x1aE\xdf\xa3": "WebM",
    b"<!DO": "HTML",
    b"<htm": "HTML",
}
ALLOWED = "allowed: raw 16-bit PCM or WAV"
NOISE = 0.3
"""Correlation of neighbouring samples below which it is noise: speech has .8 and more at 8 kHz."""


class RefusedError(ReplyFailedError):
    """The server answered with a status that is none of success.

    Attributes:
        status: The HTTP status.
        says: The server's own message, shortened, without the key; empty where it gave none.
        wait_s: What it asks to wait, by Retry-After.
    """

    def __init__(self, status: int, says: str = "", wait_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.says = says
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Asked:
    """What a refusal is about: where, and with which options."""

    url: str
    model: str
    voice: str
    key_name: str
    has_key: bool
    form: str
    """What an address of this kind looks like."""


def explain(error: Exception, asked: Asked) -> str:
    """Why there is no speech, and what to do."""
    where = f"no speech from {shown(asked.url)}"
    if isinstance(error, RefusedError):
        said = f" ({error.says})" if error.says else ""
        return f"{where}: {error}{said}: {_advice(error, asked)}"
    if isinstance(error, TimeoutError):
        return f"{where}: it stood still ({str(error) or 'too slow'}): is it still loading? A longer wait: --timeout-s"
    if isinstance(error, OSError):
        return f"{where}: it cannot be reached ({error.strerror or type(error).__name__}): does it run, is --url right?"
    if isinstance(error, ReplyFailedError):
        return f"{where}: {error}: the server's own log may say why"
    return f"{where}: {error or type(error).__name__}"


def _advice(error: RefusedError, asked: Asked) -> str:
    which = f"--model {asked.model or '(none)'} and --voice {asked.voice}"
    match error.status:
        case 401 | 403 if asked.has_key:
            return f"the server refuses the key in {asked.key_name}; another variable: --key-env"
        case 401 | 403:
            name = asked.key_name or "a variable"
            return f"the server wants a key: put it into {name}, or name the variable that holds it: --key-env"
        case 404 | 405:
            return f"is --url right ({asked.form}), and does the server know {which}?"
        case 400 | 422:
            return f"does the server know {which}?"
        case 429:
            wait = f", it asks for {error.wait_s:g} s" if error.wait_s is not None else ""
            return f"too many requests{wait}: wait, or take less with --quick"
        case status if status >= 500:
            return "the server failed; its own log says why"
    return "not an answer of a speech API; is --url right?"


def message_of(body: bytes, key: str | None) -> str:
    """What a refusal says, on one line, shortened; nothing of a page for people."""
    text = body.decode("utf-8", "replace").strip()
    if text.startswith("<"):
        title = re.search(r"<title>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        text = f"a web page, {title[1].strip()!r}" if title else "a web page"
    else:
        text = _inner(text)
    return shortened(text, key)


def shortened(text: str, key: str | None) -> str:
    """On one line, at most so long, without the key."""
    if key:
        text = text.replace(key, "<key>")
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_CHARACTERS else text[: MESSAGE_CHARACTERS - 3] + "..."


def _inner(text: str) -> str:
    try:
        found: Any = json.loads(text)
    except ValueError:
        return text
    for _ in range(4):
        if isinstance(found, list) and found:
            found = found[0]
        elif isinstance(found, dict):
            found = next((found[name] for name in ("error", "message", "detail", "msg", "reason") if name in found), "")
    return found if isinstance(found, str) else ""


def wait_of(header: str | None) -> float | None:
    """Seconds of a Retry-After header; None where it has none, or a date."""
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        return None


def check_type(content_type: str) -> None:
    """Raises ValueError for what cannot be raw samples."""
    if NO_SOUND.match(content_type):
        raise ValueError(f"the server answers {content_type}; {ALLOWED}{_instead(content_type)}")


def _instead(what: str) -> str:
    """What to do about such an answer."""
    is_page = what == "HTML" or what.startswith(("text/", "application/"))
    return ": is --url the API's address?" if is_page else ": set the server to that"


def check_url(url: str) -> None:
    """Raises ValueError for an address without its scheme."""
    if not url.startswith(("http://", "https://", "ws://", "wss://")):
        raise ValueError("--url has no scheme; such as http://127.0.0.1:8000/v1")


def shown(url: str) -> str:
    """An address without what may be secret in it: a password, and what stands behind the question mark."""
    return re.sub(r"//[^/@]*@", "//", url).partition("?")[0]


def rate_of(label: str) -> int | None:
    """Hz in a label such as audio/pcm;rate=16000."""
    found = re.search(r"\brate=(\d+)", label)
    return int(found[1]) if found else None


def check_beginning(data: bytes) -> None:
    """Raises ValueError where the first bytes are those of a compressed file or a page, whatever the label says."""
    for start, name in COMPRESSED.items():
        if data.startswith(start):
            raise ValueError(f"the server answers {name} under another label; {ALLOWED}{_instead(name)}")


def check_sound(pcm: Pcm, sample_rate: int) -> None:
    """Raises ValueError for nothing, silence and noise."""
    if not len(pcm):
        raise ValueError("the answer has no audio in it: the server's own log may say why")
    if onset_ms(pcm, sample_rate) is None:
        raise ValueError("the answer is silence: the server's own log may say why")
    if _smoothness(pcm) < NOISE:
        raise ValueError(f"the answer is noise and no speech: is it 16-bit little-endian PCM? ({ALLOWED})")


def check_length(pcm: Pcm, sample_rate: int, text: str) -> None:
    """Raises ValueError for audio that is too short or too long for the text at that rate."""
    ms, letters = 1000 * len(pcm) / sample_rate, spoken_characters(text)
    if ms < MIN_MS_PER_CHARACTER * letters:
        raise ValueError(
            f"{ms:.0f} ms for {letters} letters is too short: is it 16-bit PCM at {sample_rate} Hz? (--rate)"
        )
    if ms > longest_ms(text):
        raise ValueError(
            f"{ms:.0f} ms or more for {letters} letters: it does not stop, or is not at {sample_rate} Hz (--rate)"
        )


def _smoothness(pcm: Pcm) -> float:
    """How much a sample tells of the next one: the correlation at a lag of one."""
    values = pcm.astype(float)
    power = float((values * values).sum())
    return float((values[1:] * values[:-1]).sum()) / power if power else 1.0
