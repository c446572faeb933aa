"""One interruption on a line of `evals live`: what tests of lines have in common. Knows no line by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def packets_of_one_interruption(where: str, preset: str, folder: Path) -> dict[str, Any]:
    """Run it to a good end with every stage recorded, and nothing lost on the way; what the caller's stack counted."""
    from evals.live.run import main

    arguments = ["--where", where, "--preset", preset, "--n", "1", "--warm-up", "0"]
    assert main([*arguments, "--out", str(folder), "--logs", str(folder)]) == 0
    (written,) = folder.glob("live-*.json")
    figures = json.loads(written.read_text())["figures"]
    stages = {name for name, spread in figures["stages"].items() if spread["n"] == 1}
    assert stages >= {
        "suspicion",
        "decision to interrupt",
        "abort() called",
        "engine released",
        "last frame to transport",
        "transport cleared",
        "silence at the ear",
    }
    packets: dict[str, Any] = figures["live"]["packets"]
    assert packets["received"] > 0
    assert packets["lost"] == 0
    return packets
