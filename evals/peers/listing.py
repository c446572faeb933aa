"""Which peers can run here, and what each cannot do."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from evals.outcome import table
from evals.peers.base import PeerUnavailableError
from evals.peers.registry import ABILITIES, add_options, make_peer

BY_ADDRESS = ("openai", "fish", "fish-live", "http")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m evals peers", description=__doc__)
    add_options(parser)
    options = parser.parse_args(argv)
    rows = []
    for name, can in ABILITIES.items():
        options.peer = name
        state = "needs --url" if name in BY_ADDRESS and not options.url else asyncio.run(_state(options))
        rows.append((name, can.text, can.audio, can.abort, "yes" if can.words else "no", state))
    print(table(("peer", "takes text", "gives audio", "abort stops", "word times", "here"), rows), end="\n\n")
    for name, can in ABILITIES.items():
        for lack in can.lacks:
            print(f"{name}: {lack}")
    return 0


async def _state(options: argparse.Namespace) -> str:
    try:
        peer = make_peer(options)
    except PeerUnavailableError as error:
        return str(error)
    try:
        await peer.open()
    except PeerUnavailableError as error:
        return str(error)
    finally:
        await peer.close()
    return f"ready, {peer.sample_rate} Hz"
