"""What every evaluation ends with: gates on counts, the environment it ran in, and the one JSON line for scripts."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("agent-tts", "torch", "numpy", "hibari-tts", "faster-whisper", "livekit-agents", "pipecat-ai")


@dataclass(frozen=True, slots=True)
class Gate:
    """A count and the most it may be. Gates never look at absolute times."""

    name: str
    count: int
    limit: int = 0

    @property
    def passed(self) -> bool:
        return 0 <= self.count <= self.limit  # fewer than none: the books are wrong, for example a page freed twice

    def __str__(self) -> str:
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {self.count} (at most {self.limit})"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one evaluation of one peer.

    Attributes:
        figures: What a script compares: names to numbers or to nested mappings of them.
        pairs: Values by key (a text, a scenario and its repetition), so that two runs can be compared pairwise.
        not_measured: What was asked for and could not be measured here, and why.
    """

    evaluation: str
    peer: str
    config: Mapping[str, Any]
    seed: int
    figures: Mapping[str, Any]
    gates: tuple[Gate, ...]
    pairs: Mapping[str, Mapping[str, float]]
    not_measured: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)

    def as_dict(self) -> dict[str, Any]:
        return {
            "eval": self.evaluation,
            "peer": self.peer,
            "passed": self.passed,
            "config": dict(self.config),
            "seed": self.seed,
            "figures": dict(self.figures),
            "gates": [asdict(gate) | {"passed": gate.passed} for gate in self.gates],
            "not_measured": list(self.not_measured),
            "environment": environment(),
        }


def finish(outcome: Outcome, out: Path | None) -> int:
    """Print gates and the JSON line, save the file, and say how the process should end: 0 or 1."""
    for gate in outcome.gates:
        print(gate)
    for reason in outcome.not_measured:
        print(f"not measured: {reason}")
    values = outcome.as_dict()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{outcome.evaluation}-{outcome.peer}.json"
        path.write_text(json.dumps(rounded(values | {"pairs": outcome.pairs}), indent=1), encoding="utf-8")
        print(f"written: {path}")
    print(json.dumps(rounded(values)))
    return 0 if outcome.passed else 1


def existing(text: str) -> Path:
    """A file or folder that an option names; argparse says when it is not there."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} is not there")
    return Path(text)


def environment() -> dict[str, Any]:
    """Commit, hardware, versions and date: what a figure means nothing without."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": _gpu(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def rounded(value: Any) -> Any:
    """The same with floats to four decimals: more is noise."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """Columns for people; numbers to the right."""
    cells = [tuple(show(value) for value in row) for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(_pad(row[i], widths[i], first=i == 0) for i in range(len(header))) for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def show(value: Any) -> str:
    """A number as it is read best; a dash for what was not observed."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"
    return str(value)


def progress(done: int, total: int) -> None:
    """A line on stderr that rewrites itself, on a terminal only."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\r  {done}/{total} ", end=end, file=sys.stderr, flush=True)


def _pad(cell: str, width: int, *, first: bool) -> str:
    return cell.ljust(width) if first else cell.rjust(width)


def _commit() -> str | None:
    folder = Path(__file__).parent
    try:
        found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    return found.stdout.strip() or None


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _gpu() -> str | None:
    try:
        found = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
