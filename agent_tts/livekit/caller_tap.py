"""Listens to the caller in front of the session's VAD. Passes every frame on as it came."""

from __future__ import annotations

import importlib.resources
import importlib.util
from collections.abc import Callable

import numpy as np
from livekit import rtc
from livekit.agents.voice import io

from agent_tts.audio.onset import Activity, Silero
from agent_tts.audio.onset_listener import OnsetListener


class CallerTap(io.AudioInput):
    """The session's audio input with an onset test beside it.

    Args:
        source: The input to listen to.
        on_activity: Called on the event loop when activity starts, grows or ends.
    """

    def __init__(self, source: io.AudioInput, on_activity: Callable[[Activity], None]) -> None:
        super().__init__(label="agent_tts.CallerTap", source=source)
        self.listener = OnsetListener(_silero, on_activity)

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await super().__anext__()
        self.listener.hear(np.frombuffer(frame.data, np.int16)[:: frame.num_channels].copy(), frame.sample_rate)
        return frame


def knows_speech() -> bool:
    """Whether LiveKit's Silero plugin is installed, so that the tap can tell speech from other sounds."""
    return importlib.util.find_spec("livekit.plugins.silero") is not None


def _silero() -> Silero | None:
    """The model from that plugin; without it the level alone decides."""
    if not knows_speech():
        return None
    model = importlib.resources.files("livekit.plugins.silero.resources") / "silero_vad.onnx"
    with importlib.resources.as_file(model) as path:
        return Silero(path)
