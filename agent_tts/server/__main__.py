"""`python -m agent_tts.server` is `agent-tts serve`."""

from __future__ import annotations

import argparse
import sys

from agent_tts.server.command import add_arguments, run

parser = argparse.ArgumentParser(prog="agent-tts serve", description="The engine in its own process, behind a socket.")
add_arguments(parser)
sys.exit(run(parser.parse_args()))
