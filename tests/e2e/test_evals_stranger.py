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
WIRE = [line for line in LINES if "--peer openai" in line]


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


@pytest.mark.parametrize(
    ("name", "less"), [("latency", "--seeds 1 --load closed:2:3"), ("barge-in", "--only 'first frame'")]
)
async def test_a_stranger_measures_a_server_with_one_command(address, tmp_path, name, less):
    (line,) = [line for line in WIRE if f"evals {name} " in line]
    assert "http://127.0.0.1:8000/v1" in line
    words = shlex.split(line.replace("http://127.0.0.1:8000/v1", address).replace("out/mine", str(tmp_path)))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words[1:], *shlex.split(less), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    found = json.loads(out.decode().splitlines()[-1])
    assert (process.returncode, found["passed"]) == (0, True)
    assert "abort() closes the connection; whether the server stops computing is not known" in found["config"]["lacks"]
    assert (tmp_path / f"{name}-openai.html").exists()
