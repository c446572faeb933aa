"""python -m evals.gpu: how fast the engine decodes an S2-Pro-shaped model on this GPU, against what the memory allows.

Random weights in the exact shape of S2-Pro (4.56 B parameters, bfloat16) and of its codec (float32), built on the
device: speed does not depend on what weights say, quality is not looked at. Real time = one frame of 2048 samples at
44.1 kHz every 46.44 ms. Sections, in this order; what each clock starts and stops at stands in its docstring:

    check         a tiny model here against a CPU                   steps.py
    memory        weights, KV, graphs, peak
    floor         bytes a frame must read / bandwidth
    decode        ms per frame: slow, fast, codec, whole; RTF; batch 1, 8, 32, 64; with graphs and without
    first_frame   a sentence behind a cached 20 s voice             talk.py
    engine        TTFA and abort -> released, idle and under load
    fast_weights  the Fast AR in int8 and fp8                       kernels.py
    context, codec_dtype, attention, products                       what to do next

Each section is printed and saved when it ends, so that a run that is cut short loses one section; those that the
budget has no time for are named. Weights, start-up and captures are counted out of all times (`load_s` holds them).
Needs torch, numpy and safetensors and nothing else; `--tiny --device cpu` runs all of it anywhere in seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_tts.errors import ConfigError
from evals.outcome import Gate, Outcome, finish, rounded

if TYPE_CHECKING:
    from evals.gpu.lab import Lab

NEEDED = ("torch", "numpy", "safetensors")
BREAKS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a defect raises. A machine may be had for one call: a defect in one section must not cost the others."""
LEAST_S = 20.0
"""A section does not begin with less left."""


def main(argv: Sequence[str] | None = None) -> int:
    options = options_parser().parse_args(argv)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"cannot run: pip install {' '.join(missing)}")
        return 2
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        print("cannot run: torch sees no CUDA device. --tiny --device cpu runs the same code without one.")
        return 2
    figures: dict[str, Any] = {}
    begin = time.perf_counter()
    lab = _lab(options)
    figures["load_s"] = time.perf_counter() - begin
    print(f"loaded, captured and ready after {figures['load_s']:.1f} s", flush=True)
    failed = [name for name, section in _sections().items() if not _run(name, section, lab, figures, options.out)]
    return finish(_outcome(options, figures, failed, lab.notes), options.out)


def _sections() -> dict[str, Callable[[Lab], dict[str, Any]]]:
    from evals.gpu import kernels, steps, talk

    return {
        "check": steps.check,
        "memory": steps.memory,
        "floor": steps.floor,
        "decode": steps.decode,
        "first_frame": talk.first_frame,
        "engine": talk.engine,
        "fast_weights": kernels.fast_weights,
        "context": steps.context,
        "codec_dtype": kernels.codec_dtype,
        "attention": kernels.attention,
        "products": kernels.products,
        "memory_after": steps.memory,
    }


def _run(
    name: str, section: Callable[[Lab], dict[str, Any]], lab: Lab, figures: dict[str, Any], out: Path | None
) -> bool:
    """One section; False = it failed. One that fails does not take the others with it."""
    from agent_tts.errors import AgentTTSError

    if lab.budget.left_s < LEAST_S:
        lab.notes.append(f"{name}: no time left")
        return True
    print(f"{name} ({lab.budget.spent_s:.0f} s so far)", flush=True)
    try:
        figures[name] = section(lab)
    except (*BREAKS, AgentTTSError) as error:
        traceback.print_exc()
        lab.notes.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        return False
    print(json.dumps(rounded(figures[name])), flush=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "gpu-partial.json").write_text(json.dumps(rounded(figures), indent=1), encoding="utf-8")
    return True


def _lab(options: argparse.Namespace) -> Lab:
    import torch

    from evals.gpu.lab import FULL, TINY, Lab, engine_config, make_runner
    from evals.gpu.model import build
    from evals.gpu.timing import Budget

    budget = Budget(options.budget_s)
    device = torch.device(options.device)
    dtype = torch.float32 if options.tiny and device.type == "cpu" else torch.bfloat16
    effort, notes = TINY if options.tiny else FULL, []
    built = build(device, dtype, tiny=options.tiny, seed=options.seed)
    print(f"built after {budget.spent_s:.1f} s", flush=True)
    step = "graphs" if device.type == "cuda" else "static"
    try:
        config = engine_config(device, dtype, effort, step)
        runner = make_runner(built, config)
    except (ConfigError, RuntimeError) as error:
        if step == "static":
            raise
        traceback.print_exc()
        notes.append(f"graphs could not be captured, steps are static: {str(error).partition(chr(10))[0]}")
        config = engine_config(device, dtype, effort, "static")
        runner = make_runner(built, config)
    return Lab(built, device, dtype, effort, budget, config, runner, notes)


def _outcome(options: argparse.Namespace, figures: dict[str, Any], failed: list[str], notes: list[str]) -> Outcome:
    check = figures.get("check", {"speakers": 0, "equal_columns": 0})
    gates = (
        Gate("sections that failed", len(failed)),
        Gate("speakers of the check that said something else", check["speakers"] - check["equal_columns"]),
        Gate("pages held after the engine's load", figures.get("engine", {}).get("pages_held_after", 0)),
    )
    return Outcome(
        evaluation="gpu",
        peer="agent_tts",
        config={"device": options.device, "tiny": options.tiny},
        seed=options.seed,
        figures=figures,
        gates=gates,
        pairs={},
        not_measured=tuple(notes),
    )


def options_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a tiny model instead of S2-Pro's shape")
    parser.add_argument("--budget-s", type=float, default=480.0, help="no section begins when so much has been spent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for the JSON files, also the one written after each section")
    return parser


if __name__ == "__main__":
    sys.exit(main())
