"""`python -m agent_tts.training STAGE`: one command for each stage, `all` for every one in turn.

Stages: data, codec, codes, vocoder, polish, model, export, evaluate. Each skips what is complete and goes on
where it stopped. Work files lie in .cache/training, the voice goes to agent_tts/assets/bundled.
"""

import argparse
import json
import logging
from collections.abc import Callable
from pathlib import Path

from agent_tts.training import pipeline

STAGES: dict[str, Callable[[pipeline.Plan], None]] = {
    "data": pipeline.data,
    "codec": pipeline.codec,
    "codes": pipeline.codes,
    "vocoder": pipeline.vocoder,
    "polish": pipeline.polish,
    "model": pipeline.model,
    "export": pipeline.export_voice,
    "evaluate": pipeline.evaluate,
}


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m agent_tts.training", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=[*STAGES, "all"])
    parser.add_argument("--work", type=Path, default=Path(".cache/training"), help="work folder (%(default)s)")
    parser.add_argument("--out", type=Path, default=pipeline.ASSETS, help="where the voice is written (%(default)s)")
    parser.add_argument("--hours", type=float, default=40.0, help="speech to synthesise (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="workers for data and codes (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each training process (%(default)s)")
    parser.add_argument("--sentences", type=int, help="evaluate on so many sentences instead of all")
    parser.add_argument("--settings", type=Path, help="JSON that overrides settings: {'codec': {'steps': 100}, ...}")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("faster_whisper").setLevel(logging.WARNING)
    overrides = json.loads(arguments.settings.read_text(encoding="utf-8")) if arguments.settings else {}
    plan = pipeline.Plan(
        work=arguments.work,
        out=arguments.out,
        hours=arguments.hours,
        processes=arguments.processes,
        threads=arguments.threads,
        sentences=arguments.sentences,
        settings=pipeline.Settings.from_overrides(overrides),
    )
    for name in STAGES if arguments.stage == "all" else [arguments.stage]:
        STAGES[name](plan)


if __name__ == "__main__":
    main()
