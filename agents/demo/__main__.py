"""A whole voice call on this machine: the agent is asked, answers, is interrupted mid-reply, and answers again.

    python -m agents.demo              the caller is a process that talks over WebRTC; prints and writes what happened
    python -m agents.demo --open       the caller is you: a page with your own microphone

Ends with code 0 only when the agent stopped, nothing stale was heard, and the second question was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
PAGE_PORT = 7860


def main() -> int:
    arguments = _arguments()
    for name, value in ONE_THREAD.items():  # read by the libraries below when they are imported
        os.environ.setdefault(name, value)
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="DEBUG" if arguments.verbose else "ERROR")
    from agent_tts import AgentTTSError
    from agents.demo.chromium import MissingBrowserError
    from agents.demo.run import DemoError, open_page, play

    try:
        return asyncio.run(open_page(arguments) if arguments.open else play(arguments))
    except (DemoError, AgentTTSError, MissingBrowserError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agents.demo", description="Hear the agent be interrupted.")
    parser.add_argument("--open", action="store_true", help="serve a page to talk with your own microphone")
    parser.add_argument("--browser", type=int, default=0, metavar="N", help="call from Chromium, with N interruptions")
    parser.add_argument("--port", type=int, default=PAGE_PORT, help="of the page")
    parser.add_argument("--config", default=str(ROOT / "configs" / "agents" / "demo.yaml"))
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "demo", help="for the recording and the report")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache", help="for models and the caller's speech")
    parser.add_argument("--verbose", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
