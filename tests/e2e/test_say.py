"""The command line with the bundled voice, as a user runs it: a process, a file, a pipe."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent_tts.audio.pcm import first_audible
from agent_tts.audio.wav import read_wav

TEXT = "Your table is booked for seven on Friday."


def say(*arguments: str, stdin: str = "", folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent_tts", "say", *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, dict]:
    folder = tmp_path_factory.mktemp("say")
    done = say(TEXT, "-o", "whole.wav", "--seed", "7", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return read_wav(folder / "whole.wav")[0], json.loads(done.stdout)


def test_say_speaks_the_sentence_and_reports_it(spoken: tuple[np.ndarray, dict]) -> None:
    samples, metrics = spoken
    assert metrics["finish_reason"] == "completed"
    assert metrics["delivered_audio_ms"] == pytest.approx(1000 * len(samples) / 24_000)
    assert 1.0 < len(samples) / 24_000 < 6.0
    assert first_audible(samples) is not None
    assert metrics["characters"] == len(TEXT)


def test_a_pipe_that_writes_the_same_text_gives_the_same_audio(spoken: tuple[np.ndarray, dict], tmp_path: Path) -> None:
    done = say("-", "-o", "piped.wav", "--seed", "7", stdin=TEXT, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(read_wav(tmp_path / "piped.wav")[0], spoken[0], atol=4)


def test_what_cannot_be_said_ends_well_without_audio(tmp_path: Path) -> None:
    done = say("🙂 ***", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "nothing to say\n")


def test_an_unknown_voice_is_one_line(tmp_path: Path) -> None:
    done = say(TEXT, "--voice", "nobody", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("agent-tts: Unknown voice 'nobody'")
    assert done.stderr.count("\n") == 1
