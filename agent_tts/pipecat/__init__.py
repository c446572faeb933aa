"""agent_tts for Pipecat: a TTS service that aborts the engine on an interruption, and an observer that times it.

tts = AgentTTSService()                       # the bundled voice
observer = InterruptionLatencyObserver(tts)   # one row per barge-in
"""

try:
    import pipecat as _pipecat  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError('agent_tts.pipecat needs Pipecat: pip install "agent-tts[pipecat]"') from error

from agent_tts.pipecat.barge_in import PipecatBargeIn
from agent_tts.pipecat.observer import InterruptionLatencyObserver, Moment
from agent_tts.pipecat.service import AgentTTSService
from agent_tts.pipecat.translate import AgentTTSSettings

__all__ = ["AgentTTSService", "AgentTTSSettings", "InterruptionLatencyObserver", "Moment", "PipecatBargeIn"]
