"""Where LiveKit looks for plugins: `from livekit.plugins import agent_tts`. All of it is agent_tts.livekit."""

import logging

from livekit.agents import Plugin

from agent_tts import __version__
from agent_tts.livekit import *  # noqa: F403
from agent_tts.livekit import __all__ as __all__

logger = logging.getLogger("livekit.plugins.agent_tts")


class AgentTTSPlugin(Plugin):
    """Registered at import, which happens in LiveKit's forkserver: it starts nothing and loads no torch."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__, logger)

    def download_files(self) -> None:
        """The bundled voice is part of the package."""
        logger.info("agent_tts: the bundled voice is part of the package, nothing to download")


Plugin.register_plugin(AgentTTSPlugin())
