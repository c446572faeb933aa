"""Checkpoints by hub id: first the small files that say what it is and under which licence, then the weights.

What is read of a checkpoint is fetched and nothing else; both times at the same commit, so that the licence one accepts
is the one that lies beside the weights. Knows no layout.
"""

from __future__ import annotations

from pathlib import Path

from agent_tts.errors import CheckpointError
from agent_tts.models.licenses import LICENSE_FILES

ABOUT = ("config.json", "README.md", *LICENSE_FILES)
"""Kilobytes: what the layout and the licence are read from."""
NEEDED = (
    *ABOUT,
    "*.safetensors",
    "*.safetensors.index.json",
    "model.pth",
    "codec.pth",
    "codec_config.json",
    "tokenizer.json",
    "tokenizer.tiktoken",
    "special_tokens.json",
)
"""All that is ever read of a checkpoint."""


def is_hub_id(name: str) -> bool:
    """Whether `name` looks like 'owner/name' and no such folder is here."""
    looks = name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")
    return looks and not Path(name).is_dir()


def fetch_about(name: str) -> Path:
    """The small files of a hub id, in a folder named by its commit. Raises CheckpointError."""
    return _snapshot(name, ABOUT)


def fetch_weights(name: str, about: Path) -> Path:
    """All that is needed of a hub id, at the commit that fetch_about() got. Raises CheckpointError."""
    return _snapshot(name, NEEDED, revision=about.name)


def local_copy(name: str) -> Path:
    """What was fetched of a hub id before; asks nobody. Raises CheckpointError when there is nothing."""
    return _snapshot(name, ABOUT, local_files_only=True)


def _snapshot(
    name: str, files: tuple[str, ...], *, revision: str | None = None, local_files_only: bool = False
) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise CheckpointError(
            f"{name!r} is no folder here. To fetch it from the hub: pip install 'agent-tts[checkpoints]'."
        ) from error
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=list(files), local_files_only=local_files_only
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{name!r} is no folder here, and cannot be fetched from the hub ({type(error).__name__}). Download it and "
            "give the folder instead."
        ) from error
    return Path(folder)
