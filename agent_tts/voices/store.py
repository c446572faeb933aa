"""Voices on disk: content once by its hash, and small records that name it. Read strictly, written atomically.

    <folder>/names/alice.json            name, content hash, consent, date
    <folder>/content/<hash>/voice.json   text, codec, check, SHA-256 of the codes' file
    <folder>/content/<hash>/codes.npz    codes [codebooks, frames]; plain numbers, never a pickle

Both JSON files end with a checksum of what stands before it. A record is written after its content and removed before
it, so a reader never meets a name without content. Writers take turns by a lock file. Nothing is created before put().
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent_tts.errors import ConsentError, UnknownVoiceError, VoiceError, VoiceFileError
from agent_tts.voices.consent import Consent
from agent_tts.voices.voice import CodecIdentity, Codes, Voice, VoiceContent

FORMAT = 1
RESERVED = frozenset({"default"})
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")


def check_name(name: str) -> None:
    """Raise VoiceError unless `name` may name a stored voice."""
    if not _NAME.fullmatch(name):
        raise VoiceError(
            f"{name!r} cannot name a voice. Allowed: 1 to 64 of a-z, 0-9, '-' and '_', a letter or digit first."
        )
    if name in RESERVED:
        raise VoiceError(f"{name!r} is the model's own voice; give the new one another name.")


class VoiceStore:
    """One folder of voices. Reads at every call, so that several processes may share it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def names(self) -> list[str]:
        """All stored names, sorted; none when the folder does not exist yet."""
        return sorted(path.stem for path in self._names.glob("*.json") if _NAME.fullmatch(path.stem))

    def get(self, name: str) -> Voice:
        """Read one voice and check it against its hashes.

        Raises:
            UnknownVoiceError: No such name.
            VoiceFileError: A file is missing, damaged, or not what was written.
        """
        if not _NAME.fullmatch(name) or not (path := self._names / f"{name}.json").is_file():
            raise UnknownVoiceError(name, self.names())
        record = _read_sealed(path, {"name", "content", "consent", "added_at"})
        if record["name"] != name or not _HASH.fullmatch(str(record["content"])):
            raise VoiceFileError(f"{path} does not name {name!r} and a content hash; it was changed. {_AGAIN}")
        try:
            consent = Consent.from_json(record["consent"])
            added_at = datetime.fromisoformat(str(record["added_at"]))
        except (ConsentError, ValueError) as error:
            raise VoiceFileError(f"{path}: {error} {_AGAIN}") from error
        return Voice(name, self._read_content(record["content"]), record["content"], consent, added_at)

    def put(self, voice: Voice, *, replace: bool = False) -> None:
        """Store a voice; its content only when it is not there yet.

        Raises:
            VoiceError: The name is not allowed, or taken and `replace` is False.
        """
        check_name(voice.name)
        with self._writing():
            path = self._names / f"{voice.name}.json"
            if path.exists() and not replace:
                raise VoiceError(f"There is a voice {voice.name!r} already. Remove it first, or replace it.")
            self._write_content(voice.content)
            record = {
                "name": voice.name,
                "content": voice.content_hash,
                "consent": voice.consent.to_json(),
                "added_at": voice.added_at.isoformat(),
            }
            _write_file(path, seal(record))
            self._sweep()

    def remove(self, name: str) -> None:
        """Forget a name, and the content when no other name has it. Raises UnknownVoiceError."""
        if name not in self.names():
            raise UnknownVoiceError(name, self.names())
        with self._writing():
            (self._names / f"{name}.json").unlink(missing_ok=True)
            self._sweep()

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def _names(self) -> Path:
        return self.folder / "names"

    @property
    def _content(self) -> Path:
        return self.folder / "content"

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._names.mkdir(parents=True, exist_ok=True)
            self._content.mkdir(exist_ok=True)
            with (self.folder / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise VoiceError(f"Cannot write to the voices in {str(self.folder)!r}: {error.strerror}.") from error

    def _read_content(self, content_hash: str) -> VoiceContent:
        folder = self._content / content_hash
        head = _read_sealed(folder / "voice.json", {"text", "codec", "findings", "codes_sha256"})
        data = _read_bytes(folder / "codes.npz")
        if hashlib.sha256(data).hexdigest() != head["codes_sha256"]:
            raise VoiceFileError(f"{folder / 'codes.npz'} is not the file that was written. {_AGAIN}")
        content = VoiceContent(
            codes=_parse_codes(data, folder / "codes.npz"),
            text=str(head["text"]),
            codec=_parse_codec(head["codec"], folder / "voice.json"),
            findings=tuple(str(finding) for finding in head["findings"]),
        )
        if content.content_hash != content_hash:
            raise VoiceFileError(f"{folder} does not hold what its name says; it was changed. {_AGAIN}")
        return content

    def _write_content(self, content: VoiceContent) -> None:
        target = self._content / content.content_hash
        if target.is_dir():
            try:
                self._read_content(content.content_hash)
                return
            except VoiceFileError:
                shutil.rmtree(target)  # damaged: its name says what it should hold, and that is here
        data = _codes_bytes(content.codes)
        codec = {name: getattr(content.codec, name) for name in CodecIdentity.__dataclass_fields__}
        head = {
            "text": content.text,
            "codec": codec,
            "findings": list(content.findings),
            "codes_sha256": hashlib.sha256(data).hexdigest(),
        }
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=self._content))
        try:
            _write_file(draft / "codes.npz", data)
            _write_file(draft / "voice.json", seal(head))
            draft.replace(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _sweep(self) -> None:
        """Delete content that no record names. Keeps everything while a record cannot be read: it may be the namer."""
        named = set()
        for path in self._names.glob("*.json"):
            try:
                named.add(str(_read_json(path).get("content")))
            except VoiceFileError:
                return
        for folder in self._content.iterdir():
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)


_AGAIN = "Remove the voice and add it again."


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise VoiceFileError(f"{path} cannot be read: {error.strerror}. {_AGAIN}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_read_bytes(path))
    except ValueError as error:
        raise VoiceFileError(f"{path} is not valid JSON ({error}). {_AGAIN}") from error
    if not isinstance(data, dict):
        raise VoiceFileError(f"{path} holds {type(data).__name__}; an object is expected. {_AGAIN}")
    return data


def _read_sealed(path: Path, known: set[str]) -> dict[str, Any]:
    """A JSON object of this format with exactly these keys, as it was written."""
    data = _read_json(path)
    if data.get("format") != FORMAT:
        raise VoiceFileError(f"{path} has format {data.get('format')!r}; this version reads {FORMAT}.")
    known = known | {"format", "checksum"}
    if set(data) != known:
        wrong = ", ".join(sorted(set(data) ^ known))
        raise VoiceFileError(f"{path} misses or does not know: {wrong}. {_AGAIN}")
    if data.pop("checksum") != _checksum(data):
        raise VoiceFileError(f"{path} was changed or damaged after it was written. {_AGAIN}")
    return data


def seal(data: Mapping[str, Any]) -> bytes:
    """A JSON file with format and checksum. The checksum tells damage, not forgery: anyone can compute it."""
    content = {"format": FORMAT, **data}
    sealed = {**content, "checksum": _checksum(content)}
    return json.dumps(sealed, ensure_ascii=False, indent=2).encode("utf-8") + b"\n"


def _checksum(data: Mapping[str, Any]) -> str:
    plain = json.dumps(data, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode("ascii")).hexdigest()


def _parse_codec(data: object, path: Path) -> CodecIdentity:
    kinds = {"fingerprint": str, "sample_rate": int, "frame_samples": int, "num_codebooks": int}
    if not isinstance(data, dict) or set(data) != set(kinds):
        raise VoiceFileError(f"{path}: codec must hold {', '.join(kinds)}. {_AGAIN}")
    for name, kind in kinds.items():
        if type(data[name]) is not kind or (kind is int and data[name] <= 0):
            raise VoiceFileError(f"{path}: codec.{name} is {data[name]!r}; a positive {kind.__name__} is expected.")
    return CodecIdentity(**data)


def _codes_bytes(codes: Codes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, codes=codes.astype("<i4"))
    return buffer.getvalue()


def _parse_codes(data: bytes, path: Path) -> Codes:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            codes = np.asarray(archive["codes"])
    except (ValueError, KeyError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise VoiceFileError(f"{path} is not an archive of plain codes ({type(error).__name__}). {_AGAIN}") from error
    if codes.ndim != 2 or codes.dtype.kind not in "iu" or 0 in codes.shape or codes.min() < 0:
        raise VoiceFileError(f"{path} holds {codes.dtype} {codes.shape}; codes [codebooks, frames] are expected.")
    return np.asarray(codes, np.int64)


def _write_file(path: Path, data: bytes) -> None:
    """All or nothing: the name appears when every byte is on disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
