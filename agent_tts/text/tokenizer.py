"""Text to token ids for the released checkpoints: S2's tokenizer.json and S1's tiktoken ranks. Knows no prompts.

What a caller says can never become a control token: `encode()` runs on a vocabulary that has none. Control tokens are
asked for by name. Both readers need the package `tokenizers` (Apache-2.0): pip install "agent-tts[checkpoints]".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from agent_tts.errors import CheckpointError

# Pre-split of S1's tokenizer, alternatives in order; `\?` in the sixth is as the checkpoint was trained with.
_S1_PATTERN = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"\p{P}",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(\?!\S)",
        r"\s+",
    )
)


class Tokenizer(Protocol):
    """What a prompt needs to know about tokens."""

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text. `<|...|>` in it is text like any other."""
        ...

    def control(self, name: str) -> int | None:
        """Id of a control token such as `<|im_end|>`, or None when this checkpoint has none of that name."""
        ...


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a checkpoint folder: tokenizer.json (S2), or tokenizer.tiktoken and special_tokens.json (S1).

    Raises:
        CheckpointError: Neither is there, a file is damaged, or `tokenizers` is not installed.
    """
    folder = Path(folder)
    if (folder / "tokenizer.json").exists():
        return JsonTokenizer(folder / "tokenizer.json")
    if (folder / "tokenizer.tiktoken").exists():
        return RankTokenizer(folder / "tokenizer.tiktoken", folder / "special_tokens.json")
    raise CheckpointError(f"{folder} has no tokenizer: tokenizer.json or tokenizer.tiktoken is expected.")


class JsonTokenizer:
    """A tokenizer.json with its added tokens taken out: they are reachable by name only."""

    def __init__(self, path: Path) -> None:
        library, data = _tokenizers(), _read_json(path)
        try:
            self._control = {str(token["content"]): int(token["id"]) for token in data.pop("added_tokens")}
            data["added_tokens"] = []
            self._text = library.Tokenizer.from_str(json.dumps(data))
        except Exception as error:  # the library raises plain Exception for a file that it cannot read
            raise CheckpointError(f"{path} is not a tokenizer.json that `tokenizers` can read ({error}).") from error

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text."""
        return list(self._text.encode(text, add_special_tokens=False).ids)

    def control(self, name: str) -> int | None:
        """Id of a control token."""
        return self._control.get(name)


class RankTokenizer:
    """Byte-pair encoding by rank: `base64 rank` lines for text, a JSON mapping for control tokens."""

    def __init__(self, ranks: Path, special: Path) -> None:
        library = _tokenizers()
        self._ranks = _read_ranks(ranks)
        self._control = {str(name): int(token) for name, token in _read_json(special).items()}
        self._split = library.pre_tokenizers.Split(library.Regex(_S1_PATTERN), "isolated")

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text."""
        pieces = self._split.pre_tokenize_str(text)
        return [token for piece, _ in pieces for token in merge_by_rank(piece.encode("utf-8"), self._ranks)]

    def control(self, name: str) -> int | None:
        """Id of a control token."""
        return self._control.get(name)


def merge_by_rank(piece: bytes, ranks: Mapping[bytes, int]) -> list[int]:
    """Byte-pair encoding of one piece: join the neighbours of lowest rank until none can be joined."""
    if piece in ranks:
        return [ranks[piece]]
    parts = [piece[index : index + 1] for index in range(len(piece))]
    while len(parts) > 1:
        pairs = [ranks.get(parts[index] + parts[index + 1]) for index in range(len(parts) - 1)]
        best = min((rank for rank in pairs if rank is not None), default=None)
        if best is None:
            break
        index = pairs.index(best)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return [ranks[part] for part in parts]


def _read_ranks(path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), start=1):
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise CheckpointError(f"{path}, line {number}: `base64 rank` is expected; download it again.") from error
    missing = [value for value in range(256) if bytes([value]) not in ranks]
    if missing:
        raise CheckpointError(f"{path} lacks {len(missing)} of the 256 single bytes; the file is cut off.")
    return ranks


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is missing or no valid JSON ({error}); download it again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds {type(data).__name__}; a JSON object is expected.")
    return data


def _tokenizers() -> Any:
    try:
        import tokenizers
        import tokenizers.pre_tokenizers
    except ImportError as error:
        raise CheckpointError('Reading this checkpoint needs: pip install "agent-tts[checkpoints]"') from error
    return tokenizers
