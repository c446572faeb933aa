"""The command line: what it writes, prints and exits with. The engine is real, its model sings a tone."""

import io
import json
import os
import sys
from pathlib import Path

import pytest

from agent_tts import cli
from agent_tts.audio.wav import read_wav
from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from agent_tts.errors import CheckpointError
from tests.fakes import ToneRunner


@pytest.fixture(autouse=True)
def _tone_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def load(model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
        if config is not None and config.model != "bundled":
            raise CheckpointError(f"Cannot find the model {config.model!r}.")
        return Engine.from_runner(ToneRunner(), config)

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.chdir(tmp_path)


def test_say_writes_the_audio_and_prints_the_latencies(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["say", "one two three", "-o", "out.wav"]) == 0
    samples, rate = read_wav("out.wav")
    assert rate == 24_000
    assert len(samples) == 3 * 4 * 960
    said = capsys.readouterr().out
    assert "first frame" in said
    assert "playable" in said
    assert "audible" in said
    assert "RTF" in said


def test_say_without_a_place_to_write_makes_speech_wav() -> None:
    assert cli.main(["say", "hello"]) == 0
    assert Path("speech.wav").stat().st_size > 44


def test_say_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["say", "one two", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["finish_reason"] == "completed"
    assert metrics["delivered_audio_ms"] == 2 * 4 * 40
    assert metrics["output"] == "speech.wav"


def test_say_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.write(writing, "zwei Wörter".encode())
    os.close(writing)
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.main(["say", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["characters"] == len("zwei Wörter")


def test_nothing_to_say_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["say", ""]) == 0
    assert capsys.readouterr().out == "nothing to say\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["say", "x", "--voice", "nobody"], 2, "Unknown voice 'nobody'"),
        (["say", "x", "--model", "no/such"], 3, "no/such"),
        (["say", "x", "--config", "none.yaml"], 2, "none.yaml"),
        (["say", "x", "--threads", "0"], 2, "num_threads is 0"),
        (["say", "x", "-o", "no/where.wav"], 1, "no/where.wav"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("agent-tts: ")
    assert words in error
    assert error.count("\n") == 1


def test_an_unknown_key_in_the_config_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    Path("engine.yaml").write_text("lead_msec: 500\n")
    assert cli.main(["say", "x", "--config", "engine.yaml"]) == 2
    assert "Did you mean 'lead_ms'?" in capsys.readouterr().err


def test_play_without_a_player_names_those_that_would_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert cli.main(["say", "x", "--play"]) == 2
    assert "aplay" in capsys.readouterr().err


def test_play_hands_every_sample_to_the_player(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    player = tmp_path / "bin" / "aplay"
    player.parent.mkdir()
    player.write_text(f"#!/bin/sh\nexec /bin/cat > {tmp_path}/played.raw\n")
    player.chmod(0o755)
    monkeypatch.setenv("PATH", str(player.parent))
    assert cli.main(["say", "one two", "--play"]) == 0
    assert (tmp_path / "played.raw").stat().st_size == 2 * 2 * 4 * 960
    assert not Path("speech.wav").exists()


def test_voices_list_prints_what_the_engine_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["voices", "list"]) == 0
    assert capsys.readouterr().out.split() == ["default", "other"]


def test_a_command_that_does_not_exist_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(SystemExit) as leaving:
        cli.main(["sing"])
    assert leaving.value.code == 2


def test_serve_without_a_place_to_listen_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve"]) == 2
    assert "--socket" in capsys.readouterr().err
