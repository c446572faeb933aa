"""A stranger's server: the commands of evals/README.md, word for word, against a server of OpenAI's speech API."""

import asyncio
import json
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from agent_tts import Engine, EngineConfig
from evals.__main__ import COMMANDS
from tests.fakes import ToneRunner
from tests.openai_server import start

ROOT = Path(__file__).parents[2]
README = (ROOT / "evals" / "README.md").read_text(encoding="utf-8")
LINES = [line.split("#")[0].strip() for line in re.findall(r"^    (python -m evals .*)$", README, re.MULTILINE)]


@pytest.fixture
async def address():
    engine = Engine.from_runner(ToneRunner(), EngineConfig(max_slots=4))
    runner, url = await start(engine, strict=True)
    yield url
    await runner.cleanup()
    await engine.close()


@pytest.mark.parametrize("line", LINES)
def test_every_command_of_the_page_is_understood(line):
    _, _, _, name, *arguments = shlex.split(line)
    module = import_module(COMMANDS[name][0])
    parser = getattr(module, "_parser", None)
    if parser is not None:
        parser().parse_args(arguments)


async def test_a_stranger_measures_a_server_with_one_command(address, tmp_path):
    (line,) = [line for line in LINES if "evals yours --url" in line and "--quick" in line]
    words = shlex.split(line.replace("http://127.0.0.1:8000/v1", address).replace("out/mine", str(tmp_path)))
    code, out = await run([*words[1:], "--only", "latency", "barge-in"])
    found = json.loads(out.splitlines()[-1])
    assert (code, found["passed"], found["not_run"]) == (0, True, {})
    assert "24000 Hz (as its WAV answer to the same words says)" in out
    assert [one["eval"] for one in found["runs"]] == ["latency", "barge-in"]
    for one in found["runs"]:
        assert (
            "abort() closes the connection; whether the server stops computing is not known" in one["config"]["lacks"]
        )
    latency, barge_in = found["runs"]
    replies = [load["n"] for load in latency["figures"].values()]
    # Besides: a reply and an event of warm-up, and two requests each time the server is opened.
    assert sum(replies) + 1 + 2 * barge_in["figures"]["n"] + 2 + 2 * 2 == found["asked"]["replies"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("Everything: plots, the worst cases to listen to, method") == 2
    assert "| openai | closed 1 | 4 | 0 |" in (tmp_path / "results.md").read_text(encoding="utf-8")
    code, out = await run(["-m", "evals", "compare", str(tmp_path), str(tmp_path)])
    again = json.loads(out.splitlines()[-1])
    assert (code, again["alone"]) == (0, [])
    better = [verdict["better"] for one in again["comparisons"] for verdict in one["verdicts"].values()]
    assert better
    assert set(better) == {None}, "a run against itself"


async def run(words: list[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(sys.executable, *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
