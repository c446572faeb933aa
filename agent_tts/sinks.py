"""Where `agent-tts say` puts samples: a WAV file, a player program, or both. Writing blocks: not for the event loop."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from agent_tts.audio.wav import WavWriter
from agent_tts.errors import ConfigError
from agent_tts.types import Pcm

PLAYERS = (
    ("pw-play", "--rate", "{rate}", "--channels", "1", "--format", "s16", "-"),
    ("paplay", "--raw", "--rate={rate}", "--channels=1", "--format=s16le"),
    ("aplay", "-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r", "{rate}", "-"),
    ("play", "-q", "-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", "{rate}", "-"),
    ("ffplay", "-loglevel", "error", "-nodisp", "-autoexit", "-f", "s16le", "-ar", "{rate}", "-"),
)
"""Programs that play raw 16-bit samples from standard input, the one with the least delay first."""


class Sink(Protocol):
    """Takes samples."""

    def write(self, pcm: Pcm) -> None: ...


class Player:
    """A running player program. Its end, when the user closes it, is no error: there is nobody to hear the rest."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def write(self, pcm: Pcm) -> None:
        """Hand samples over; waits while the player's buffer is full."""
        assert self._process.stdin is not None
        if self._process.poll() is None:
            try:
                self._process.stdin.write(pcm.astype("<i2").tobytes())
                self._process.stdin.flush()
            except BrokenPipeError:
                self._process.wait()


class Several:
    """Writes to each of several sinks."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def write(self, pcm: Pcm) -> None:
        for sink in self._sinks:
            sink.write(pcm)


@contextmanager
def open_sink(path: str | None, *, play: bool, sample_rate: int) -> Iterator[Sink]:
    """A file, a player, or both; completed when the block is left. Raises ConfigError when no player is installed."""
    with ExitStack() as stack:
        sinks: list[Sink] = []
        if play:
            sinks.append(stack.enter_context(_player(sample_rate)))
        if path is not None:
            sinks.append(stack.enter_context(WavWriter(path, sample_rate)))
        yield Several(sinks)


@contextmanager
def _player(sample_rate: int) -> Iterator[Player]:
    command = next((command for command in PLAYERS if shutil.which(command[0])), None)
    if command is None:
        names = ", ".join(command[0] for command in PLAYERS)
        raise ConfigError(f"--play needs one of these programs: {names}. Or write a file with -o FILE.")
    arguments = [argument.format(rate=sample_rate) for argument in command]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE) as process:
        yield Player(process)
