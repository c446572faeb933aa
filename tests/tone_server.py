"""`python -m tests.tone_server --socket PATH`: the engine server in a process of its own, with a model that sings."""

from __future__ import annotations

import argparse
import asyncio
import time

from agent_tts import Engine, EngineConfig
from agent_tts.server.command import read_addresses
from agent_tts.server.process import serve
from tests.fakes import ToneRunner


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", action="append", default=[])
    parser.add_argument("--tcp", action="append", default=[])
    parser.add_argument("--with-parent", action="store_true")
    parser.add_argument("--max-slots", type=int, default=4)
    parser.add_argument("--step-ms", type=float, default=0.0, help="what a step takes, beside the singing")
    options, _ = parser.parse_known_args()

    async def load() -> Engine:
        runner = ToneRunner(on_step=lambda plan: time.sleep(options.step_ms / 1000))
        return Engine.from_runner(runner, EngineConfig(max_slots=options.max_slots))

    addresses = read_addresses(options.socket, options.tcp)
    asyncio.run(serve(load, addresses, with_parent=options.with_parent))


if __name__ == "__main__":
    main()
