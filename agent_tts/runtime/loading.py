"""From a model's name to the runner that fits its layout. Decides by what config.json says, never by a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent_tts.config import EngineConfig, Environment
from agent_tts.errors import CheckpointError
from agent_tts.models.license_gate import require_license
from agent_tts.runtime.step import Runner
from agent_tts.text.prompt import Reference

BUNDLED = "bundled"
ALIGNED = "agent_tts_aligned"
PROMPT_LAYOUTS = ("fish_qwen3_omni", "dual_ar")


FindVoices = Callable[[Path], Mapping[str, Reference]]
"""Checkpoint folder -> the stored voices whose codes belong to its codec."""


def load_runner(config: EngineConfig, find_voices: FindVoices = lambda folder: {}) -> Runner:
    """Load the model that `config.model` names. Slow: reads all weights.

    Args:
        find_voices: Asked for the stored voices of a layout that takes references.

    Raises:
        LicenseNotAcceptedError: The licence of its weights has to be accepted first.
        CheckpointError: There is no such folder, it holds no config.json, or its layout is not supported.
    """
    folder, model_type = open_model(config)
    if model_type == ALIGNED:
        from agent_tts.runtime.aligned_runner import load_aligned_runner

        return load_aligned_runner(folder, config)
    if model_type in PROMPT_LAYOUTS:
        from agent_tts.runtime.prompt_runner import load_prompt_runner

        return load_prompt_runner(folder, config, find_voices(folder))
    raise AssertionError(f"open_model() let {model_type!r} pass")


def open_model(config: EngineConfig) -> tuple[Path, str]:
    """The folder of `config.model` and its model_type, when its weights may be loaded: known, and licence accepted.

    Raises:
        LicenseNotAcceptedError, CheckpointError
    """
    folder = find_model(config.model)
    model_type = read_config(folder).get("model_type")
    if model_type not in (ALIGNED, *PROMPT_LAYOUTS):
        allowed = ", ".join(repr(name) for name in (ALIGNED, *PROMPT_LAYOUTS))
        raise CheckpointError(f"{str(folder)!r} has model_type {model_type!r}. Supported: {allowed}.")
    if config.model != BUNDLED:
        environment = Environment.read()
        accept = config.accept_license or environment.accept_license
        require_license(folder, model_type, accept=accept, cache_dir=environment.cache_dir)
    return folder, str(model_type)


def find_model(name: str) -> Path:
    """The folder of a model: the bundled voice, a folder on disk, or a hub id that is fetched once."""
    if name == BUNDLED:
        return Path(__file__).resolve().parent.parent / "assets" / BUNDLED
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return _download(name)
    raise CheckpointError(
        f"Cannot find the model {name!r}. Give {BUNDLED!r}, a checkpoint folder, or a hub id such as 'owner/name'."
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises CheckpointError when it is missing or not a JSON object."""
    path = folder / "config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read ({error.strerror}); a checkpoint folder has one."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{str(path)!r} is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{str(path)!r} holds {type(data).__name__}, an object is expected.")
    return data


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"{name!r} is no folder here. To fetch it from the hub: pip install 'agent-tts[checkpoints]'."
        ) from error
    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"Cannot fetch {name!r} from the hub ({type(error).__name__}). Download it and give the folder instead."
        ) from error
