"""What a measurement must say about where it was made: commit, hardware, versions, load, config."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from agent_tts.config import EngineConfig

PACKAGES = ("agent-tts", "torch", "numpy", "hibari-tts", "onnxruntime")


def describe_run(config: EngineConfig, model_name: str) -> dict[str, Any]:
    """The header of an evaluation's JSON line."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "model": model_name,
        "config": asdict(config),
        "hardware": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "load_1min": round(os.getloadavg()[0], 2),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version(), **package_versions()},
    }


def git_commit() -> str | None:
    """The commit of the checkout this file is in, with + when files differ from it; None outside of a checkout."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def cpu_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def package_versions() -> dict[str, str]:
    """Versions of what the numbers depend on, of those that are installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
