"""Importing does nothing: no torch, no framework, no thread, no environment write, no log set-up."""

import subprocess
import sys
from pathlib import Path

import pytest

import agent_tts

PACKAGE = Path(agent_tts.__file__).parent

TORCH_FREE = [
    "agent_tts",
    "agent_tts.cli",
    "agent_tts.engine",
    "agent_tts.config",
    "agent_tts.errors",
    "agent_tts.metrics",
    "agent_tts.types",
    "agent_tts.remote.door",
    "agent_tts.remote.process",
    "agent_tts.runtime.audio_stream",
    "agent_tts.runtime.loop",
    "agent_tts.runtime.request",
    "agent_tts.runtime.scheduler",
    "agent_tts.runtime.step",
    "agent_tts.cache.pages",
    "agent_tts.cache.radix",
    "agent_tts.server.command",
    "agent_tts.text.phonemes",
    "agent_tts.audio.resample",
]
PROBE = """
import json, logging, os, sys, threading
before = dict(os.environ), threading.active_count(), list(logging.getLogger().handlers)
import {module}
after = dict(os.environ), threading.active_count(), list(logging.getLogger().handlers)
heavy = {{"torch", "livekit", "pipecat", "hibari", "onnxruntime", "aiohttp", "ray", "soxr"}}
print(json.dumps([sorted(heavy & set(sys.modules)), before == after]))
"""


@pytest.mark.parametrize("module", TORCH_FREE)
def test_import_loads_nothing_heavy_and_changes_nothing(module: str) -> None:
    probe = PROBE.format(module=module)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[], true]"


def test_every_folder_of_the_package_is_one_and_inner_ones_export_nothing() -> None:
    """A folder without __init__.py is invisible to the layer check, and so is what leaks through a full one."""
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    missing = [folder.name for folder in folders if not (folder / "__init__.py").exists()]
    leaking = [
        folder.name
        for folder in folders - {PACKAGE, PACKAGE / "livekit", PACKAGE / "pipecat"}
        if (folder / "__init__.py").exists() and "import" in (folder / "__init__.py").read_text()
    ]
    assert (missing, leaking) == ([], [])
