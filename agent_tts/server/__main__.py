"""`python -m agent_tts.server` is `agent-tts serve`, for who starts one without knowing where the command is."""

from __future__ import annotations

import argparse
import sys

from agent_tts.errors import AgentTTSError
from agent_tts.server.command import add_arguments, run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="agent-tts serve")
    add_arguments(parser)
    try:
        sys.exit(run(parser.parse_args()))
    except AgentTTSError as error:
        sys.exit(f"agent-tts serve: {error}")
