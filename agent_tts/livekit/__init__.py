"""agent_tts for LiveKit Agents. Importing this starts nothing and loads no torch."""

try:
    import livekit.agents  # noqa: F401
except ImportError as error:
    raise ImportError("agent_tts.livekit needs LiveKit Agents: pip install 'agent-tts[livekit]'") from error

from agent_tts.livekit.attach import WorkerEngine, attach
from agent_tts.livekit.binding import EVENTS_TOPIC, Binding, BindingEvent, bind
from agent_tts.livekit.playout import PlayoutReporter
from agent_tts.livekit.room_output import RoomAudioOutput
from agent_tts.livekit.tts import TTS, VoiceOptions

__all__ = [
    "EVENTS_TOPIC",
    "TTS",
    "Binding",
    "BindingEvent",
    "PlayoutReporter",
    "RoomAudioOutput",
    "VoiceOptions",
    "WorkerEngine",
    "attach",
    "bind",
]
