"""Runs the adapters' tests at both ends of the framework versions that pyproject.toml allows: `make test-ranges`.

    python -m tests.ranges              every framework
    python -m tests.ranges pipecat      one

Each end is put into a folder of its own, without its dependencies, in front of the environment that is there: nothing
is installed twice, and the environment stays as it is. The low end is the lowest version allowed, the high end the
newest that the package index has in the range.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".cache" / "ranges"


NO_FRAMEWORK = "not [engine and not -engine] and not [socket and not -socket"
"""Of the common suite, the speakers that no framework's version changes."""


@dataclass(frozen=True, slots=True)
class Framework:
    """What is pinned together, and which tests tell whether our adapter works with it."""

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    only: str


FRAMEWORKS = {
    "livekit": Framework(
        packages=("livekit-agents", "livekit-plugins-silero", "livekit-plugins-openai"),
        tests=(
            "tests/contract/test_any_tts.py",
            "tests/contract/test_livekit_agent.py",
            "tests/contract/test_livekit_binding.py",
            "tests/contract/test_livekit_caller_tap.py",
            "tests/contract/test_livekit_playout.py",
            "tests/contract/test_livekit_tts.py",
            "tests/e2e/test_livekit_loop.py",
            "tests/e2e/test_livekit_room_output.py",
        ),
        only="not Pipecat and " + NO_FRAMEWORK,
    ),
    "pipecat": Framework(
        packages=("pipecat-ai",),
        tests=(
            "tests/contract/test_any_tts.py",
            "tests/contract/test_pipecat_agent.py",
            "tests/contract/test_pipecat_barge_in.py",
            "tests/contract/test_pipecat_dead_engine.py",
            "tests/contract/test_pipecat_observer.py",
            "tests/contract/test_pipecat_service.py",
        ),
        only="not LiveKit and " + NO_FRAMEWORK,
    ),
}


def pins() -> dict[str, set[str]]:
    """Every range that pyproject.toml gives for a package of the frameworks: one, or something is wrong."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: dict[str, set[str]] = {}
    for requirement in itertools.chain(*project["optional-dependencies"].values()):
        name, range_ = re.fullmatch(r"([\w.-]+?)(?:\[[\w,]+\])?([<>=!~].*)?", requirement).groups()
        if any(name in framework.packages for framework in FRAMEWORKS.values()):
            found.setdefault(name, set()).add(range_ or "")
    return found


def ends(range_: str) -> dict[str, str]:
    """The requirement of each end of a range `>=low,<limit`."""
    low, _ = re.fullmatch(r">=([\d.]+),<([\d.]+)", range_).groups()
    return {"low": f"=={low}", "high": range_}


def main() -> int:
    chosen = sys.argv[1:] or list(FRAMEWORKS)
    failed = [f"{name} {end}" for name in chosen for end in ("low", "high") if not passes(name, FRAMEWORKS[name], end)]
    print("failed: " + ", ".join(failed) if failed else "ranges: every end passed")
    return bool(failed)


def passes(name: str, framework: Framework, end: str) -> bool:
    """Whether the tests pass with that end in front of the environment."""
    folder = FOLDER / f"{name}-{end}"
    (range_,) = pins()[framework.packages[0]]
    wanted = [package + ends(range_)[end] for package in framework.packages]
    install = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps"]
    shutil.rmtree(folder, ignore_errors=True)
    # pip says of a namespace package that its folder exists: true, and meant.
    subprocess.run([*install, "--target", str(folder), *wanted], check=True, stderr=subprocess.DEVNULL)
    env = os.environ | {"PYTHONPATH": str(folder)}
    print(f"-- {name}, {end} end: {versions(framework, env)}", flush=True)
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", framework.only, *framework.tests]
    return subprocess.run(tests, cwd=ROOT, env=env).returncode == 0


def versions(framework: Framework, env: dict[str, str]) -> str:
    """What is imported there, as the packages themselves say."""
    code = "import sys, importlib.metadata as m; print(*(f'{name} {m.version(name)}' for name in sys.argv[1:]))"
    shown = subprocess.run([sys.executable, "-c", code, *framework.packages], env=env, check=True, capture_output=True)
    return shown.stdout.decode().strip()


if __name__ == "__main__":
    sys.exit(main())
