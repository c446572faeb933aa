"""bind(session): one call that joins a running AgentSession to our engine. Puts parts together; decides nothing."""

from __future__ import annotations

from typing import Any

from livekit.agents import AgentSession, UserStateChangedEvent

from agent_tts.errors import ConfigError
from agent_tts.livekit.playout import PlayoutReporter

PRESETS = ("immediate", "framework")


class Binding:
    """What bind() added to a session; `aclose()` takes it away again."""

    def __init__(self, session: AgentSession[Any], preset: str, reporter: PlayoutReporter) -> None:
        self.preset = preset
        self.reporter = reporter
        self._session = session
        if preset == "immediate":
            session.on("user_state_changed", self._interrupt_at_once)

    def close(self) -> None:
        self._session.off("user_state_changed", self._interrupt_at_once)

    def _interrupt_at_once(self, event: UserStateChangedEvent) -> None:
        speech = self._session.current_speech
        if event.new_state == "speaking" and speech is not None and speech.allow_interruptions:
            self._session.interrupt()


def bind(session: AgentSession[Any], *, preset: str = "framework") -> Binding:
    """Join a session that has been started to the engine that speaks in it.

    Playout is reported to the engine, so that it never runs further ahead than its lead limit, also while LiveKit has
    paused the output; an interrupted reply ends in the history at the last word that was heard.

    Args:
        session: Started, with an audio output.
        preset: When a caller who talks interrupts. "immediate": at the VAD's start of speech. "framework": as the
            session's own turn handling says.
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset is {preset!r}; allowed: {', '.join(PRESETS)}.")
    output = session.output.audio
    if output is None:
        raise ConfigError("The session has no audio output yet; call bind() after session.start().")
    reporter = PlayoutReporter(output)
    session.output.audio = reporter
    return Binding(session, preset, reporter)
