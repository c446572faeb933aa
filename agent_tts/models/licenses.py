"""Under which licence the weights in a checkpoint folder are: read from what the folder holds, by one explicit table.

    LICENSE, LICENSE.md, LICENSE.txt, COPYING     the text itself
    README.md                                     license: and license_name: in its front matter
    config.json                                   model_type: what the released weights of that layout carry

The folder's name is never looked at. A licence that is not in the table is unknown, said so, and has to be accepted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent_tts.errors import CheckpointError

LICENSE_FILES = ("LICENSE.md", "LICENSE", "LICENSE.txt", "COPYING")
OURS = "agent_tts_aligned"
_MAX_CHARACTERS = 200_000


@dataclass(frozen=True, slots=True)
class LicenseTerms:
    """One line of the table.

    Attributes:
        name: What one accepts by; an SPDX id where there is one.
        asks: Whether it has to be accepted before weights under it are loaded.
        terms: What it allows, in a sentence or two; a reading, not legal advice.
        ids: What `license:` or `license_name:` of a front matter calls it.
        phrases: All of these stand in its text (lower case, single spaces).
    """

    name: str
    asks: bool
    terms: str
    ids: tuple[str, ...]
    phrases: tuple[str, ...]


_NON_COMMERCIAL = "Non-commercial use only, with attribution"
TABLE = (
    LicenseTerms(
        "fish-audio-research-license",
        True,
        "Research and non-commercial use only; commercial use needs a licence from Fish Audio; whoever passes the "
        "weights on includes the licence and shows 'Built with Fish Audio'.",
        ("fish-audio-research-license", "fish-audio-research"),
        ("fish audio research license",),
    ),
    LicenseTerms(
        "fish-audio-community-license",
        True,
        "Commercial use is free only below a limit of annual revenue; a hosted speech service needs a licence from "
        "Fish Audio.",
        ("fish-audio-community-license", "fish-audio-community"),
        ("fish audio community license",),
    ),
    LicenseTerms(
        "CC-BY-NC-SA-4.0",
        True,
        f"{_NON_COMMERCIAL}; what is made from the weights is shared under the same licence.",
        ("cc-by-nc-sa-4.0",),
        ("attribution-noncommercial-sharealike 4.0",),
    ),
    LicenseTerms("CC-BY-NC-4.0", True, f"{_NON_COMMERCIAL}.", ("cc-by-nc-4.0",), ("attribution-noncommercial 4.0",)),
    LicenseTerms("Apache-2.0", False, "", ("apache-2.0",), ("apache license", "version 2.0, january 2004")),
    LicenseTerms(
        "MIT", False, "", ("mit",), ("permission is hereby granted, free of charge, to any person obtaining",)
    ),
    LicenseTerms(
        "BSD",
        False,
        "",
        ("bsd-2-clause", "bsd-3-clause", "bsd"),
        ("redistribution and use in source and binary forms, with or without",),
    ),
    LicenseTerms("CC0-1.0", False, "", ("cc0-1.0",), ("cc0 1.0 universal",)),
    LicenseTerms("CC-BY-4.0", False, "", ("cc-by-4.0",), ("creative commons attribution 4.0 international",)),
)

OF_LAYOUT = {"fish_qwen3_omni": "fish-audio-research-license", "dual_ar": "CC-BY-NC-SA-4.0"}
"""model_type -> the licence of the weights that were released in this layout (S2-Pro, S1-mini)."""

UNKNOWN = LicenseTerms(
    "unknown", True, "Nothing in the folder names a licence that is known here: find out what it allows.", (), ()
)


@dataclass(frozen=True, slots=True)
class License:
    """What was found for one folder.

    Attributes:
        source: Which file says so.
        text_sha256: Of that file; another text is another licence, even under the same name.
    """

    name: str
    asks: bool
    terms: str
    source: str
    text_sha256: str


def find_license(folder: Path, model_type: object) -> License:
    """The licence of the weights in `folder`. Where several are stated, one that has to be accepted comes first.

    Args:
        model_type: Of its config.json; decides only where the folder states nothing.

    Raises:
        CheckpointError: A file that states a licence cannot be read.
    """
    stated = list(_stated(folder))
    asking = [license for license in stated if license.asks]
    for license in (*asking, *stated):
        return license
    if model_type == OURS:
        return License("none stated", False, "", "config.json: trained with this package", _sha256(b""))
    terms = _by_name(OF_LAYOUT.get(str(model_type), ""))
    source = f"model_type {model_type!r} in config.json; the folder holds no licence of its own"
    return _license(terms, source, b"")


def _stated(folder: Path) -> Iterator[License]:
    for name in LICENSE_FILES:
        if (folder / name).is_file():
            data = _read(folder / name)
            yield _license(_by_text(data.decode("utf-8", errors="replace")), name, data)
    if (folder / "README.md").is_file():
        data = _read(folder / "README.md")
        names = _front_matter_names(data.decode("utf-8", errors="replace"))
        if names:
            found = next((terms for terms in map(_by_name, names) if terms is not UNKNOWN), UNKNOWN)
            yield _license(found, "README.md", " ".join(names).encode())


def _license(terms: LicenseTerms, source: str, data: bytes) -> License:
    return License(terms.name, terms.asks, terms.terms, source, _sha256(data))


def _by_text(text: str) -> LicenseTerms:
    plain = re.sub(r"[\s*#_>`]+", " ", text[:_MAX_CHARACTERS].lower())
    return next((terms for terms in TABLE if all(phrase in plain for phrase in terms.phrases)), UNKNOWN)


def _by_name(name: str) -> LicenseTerms:
    key = re.sub(r"[\s_]+", "-", name.strip().lower())
    return next((terms for terms in TABLE if key in (terms.name.lower(), *terms.ids)), UNKNOWN)


def _front_matter_names(text: str) -> list[str]:
    """Values of license_name: and license: between the first two --- lines, the more special one first."""
    match = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    values = {}
    for line in match.group(1).splitlines() if match else ():
        key, colon, value = line.partition(":")
        if colon and key.strip() in ("license", "license_name") and key == key.lstrip():
            values[key.strip()] = value.strip().strip("\"'")
    names = [values.get("license_name", ""), values.get("license", "")]
    return [name for name in names if name]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
