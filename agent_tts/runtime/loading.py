"""From a model's name to the runner that fits its layout. Decides by what config.json says, never by a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent_tts.config import EngineConfig, Environment
from agent_tts.errors import CheckpointError
from agent_tts.models.license_gate import require_license
from agent_tts.runtime import hub
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
    name = config.model if hub.is_hub_id(config.model) else folder.name  # the hub's folders are named by commit
    if model_type == ALIGNED:
        from agent_tts.runtime.aligned_runner import load_aligned_runner

        return load_aligned_runner(folder, config, name=name)
    if model_type in PROMPT_LAYOUTS:
        from agent_tts.runtime.prompt_runner import load_prompt_runner

        return load_prompt_runner(folder, config, find_voices(folder), name=name)
    raise AssertionError(f"open_model() let {model_type!r} pass")


def open_model(config: EngineConfig) -> tuple[Path, str]:
    """The folder of `config.model` and its model_type, when its weights may be loaded: known, and licence accepted.

    Of a hub id the weights are fetched only then.

    Raises:
        LicenseNotAcceptedError, CheckpointError
    """
    name = config.model
    if not hub.is_hub_id(name):
        folder = find_model(name)
        return folder, _allowed_type(folder, config)
    about = hub.fetch_about(name)
    _allowed_type(about, config)
    folder = hub.fetch_weights(name, about)
    return folder, _allowed_type(folder, config)  # again: an acceptance is kept for exactly these weights


def find_model(name: str) -> Path:
    """The folder of a model that is here: the bundled voice, a folder, or what was fetched of a hub id before.

    Raises:
        CheckpointError: It is not here.
    """
    if name == BUNDLED:
        return Path(__file__).resolve().parent.parent / "assets" / BUNDLED
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if hub.is_hub_id(name):
        return hub.local_copy(name)
    raise CheckpointError(
        f"Cannot find the model {name!r}. Give {BUNDLED!r}, a checkpoint folder, or a hub id such as 'owner/name'."
    )


def _allowed_type(folder: Path, config: EngineConfig) -> str:
    """The model_type of a folder, when we know it and its licence was accepted."""
    model_type = read_config(folder).get("model_type")
    if model_type not in (ALIGNED, *PROMPT_LAYOUTS):
        allowed = ", ".join(repr(name) for name in (ALIGNED, *PROMPT_LAYOUTS))
        raise CheckpointError(f"{str(folder)!r} has model_type {model_type!r}. Supported: {allowed}.")
    if config.model != BUNDLED:
        environment = Environment.read()
        accept = config.accept_license or environment.accept_license
        require_license(folder, model_type, accept=accept, cache_dir=environment.cache_dir)
    return str(model_type)


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
