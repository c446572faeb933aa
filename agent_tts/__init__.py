"""agent_tts: the text-to-speech that stops when you talk. These are the public names; importing them loads no torch."""

from agent_tts.config import EngineConfig
from agent_tts.engine import Engine, Utterance
from agent_tts.errors import AgentTTSError
from agent_tts.types import AudioChunk, FinishReason, SamplingParams, TtsMetrics, WordTime

__all__ = [
    "AgentTTSError",
    "AudioChunk",
    "Engine",
    "EngineConfig",
    "FinishReason",
    "SamplingParams",
    "TtsMetrics",
    "Utterance",
    "WordTime",
]
__version__ = "0.1.0"
