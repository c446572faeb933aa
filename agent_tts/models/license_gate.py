"""The question before weights are loaded: was their licence accepted? Asked once per weights and licence text.

find_license() ─▶ asks nothing ──────────────────────────────▶ go on
              └─▶ asks ─▶ accepted before (file) ────────────▶ go on
                       └▶ accept_license names it ─▶ record ─▶ go on
                       └▶ else ─▶ LicenseNotAcceptedError: which licence, what it allows, how to accept it
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent_tts.errors import CheckpointError, LicenseNotAcceptedError
from agent_tts.models.licenses import License, find_license

logger = logging.getLogger(__name__)

FOLDER = "licenses"
_WEIGHTS = (".safetensors", ".pth")


def require_license(
    folder: Path,
    model_type: object,
    *,
    accept: str | None,
    cache_dir: Path,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> License:
    """Let weights pass whose licence asks nothing, or was accepted, now or before. Reads no weights.

    Args:
        folder: The checkpoint.
        model_type: Of its config.json.
        accept: What config or environment says; the licence's name accepts it.
        cache_dir: Where acceptances are kept.

    Raises:
        LicenseNotAcceptedError: It has to be accepted first.
        CheckpointError: The folder cannot be read.
    """
    license = find_license(folder, model_type)
    if not license.asks:
        return license
    logger.info("weights in %s are under %s (%s)", folder, license.name, license.source)
    model = weights_identity(folder)
    path = cache_dir / FOLDER / f"{_key(license, model)}.json"
    if _was_accepted(path, license, model):
        return license
    if accept is None or not _same_name(accept, license.name):
        raise LicenseNotAcceptedError(license.name, str(folder), _sentence(license, accept))
    _record(
        path,
        {
            "license": license.name,
            "license_text_sha256": license.text_sha256,
            "stated_in": license.source,
            "model": model,
            "folder_name": folder.resolve().name,
            "accepted_at": now().isoformat(timespec="seconds"),
        },
    )
    return license


def weights_identity(folder: Path) -> str:
    """A hash that names the weights without reading them all: config.json, the index, and the files' sizes.

    Raises:
        CheckpointError: One of these files cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        try:
            if path.name == "config.json" or path.name.endswith(".index.json"):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
            elif path.suffix in _WEIGHTS:
                digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def _key(license: License, model: str) -> str:
    return hashlib.sha256(f"{license.name}\0{license.text_sha256}\0{model}".encode()).hexdigest()[:32]


def _was_accepted(path: Path, license: License, model: str) -> bool:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # no record, or one that says nothing: ask again
    return (
        isinstance(record, dict)
        and record.get("license") == license.name
        and record.get("license_text_sha256") == license.text_sha256
        and record.get("model") == model
    )


def _record(path: Path, record: dict[str, Any]) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        logger.warning("the acceptance of %s cannot be kept in %s: %s", record["license"], path.parent, error.strerror)


def _same_name(said: str, name: str) -> bool:
    return _plain(said) == _plain(name)


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _sentence(license: License, accept: str | None) -> str:
    other = f" accept_license is {accept!r}, which does not name it." if accept else ""
    return f"{license.terms} (Stated in {license.source}.){other}"
