"""agents/livekit_agent.py with a tone for a voice, as a worker: `python -m tests.e2e.room_agent start`."""

from __future__ import annotations

from livekit.agents import cli

from agent_tts import Engine
from agent_tts.livekit import TTS
from agents import livekit_agent
from tests.fakes import ToneRunner


def tone() -> TTS:
    return TTS(engine=Engine.from_runner(ToneRunner()))


livekit_agent.make_tts = tone
server = livekit_agent.server

if __name__ == "__main__":
    cli.run_app(server)
