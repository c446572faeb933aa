"""The README says what is there: its snippets run, its commands exist, its links lead somewhere."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from agent_tts import cli
from agent_tts.config import EngineConfig
from agent_tts.engine import Engine
from tests.fakes import ToneRunner

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = (line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines())
    return [part.strip() for line in lines if line for part in line.split("|")]


@pytest.fixture
def _tone_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def load(model: str | None = None, *, config: EngineConfig | None = None) -> Engine:
        return Engine.from_runner(ToneRunner(), config)

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_tone_engine")
@pytest.mark.parametrize("snippet", [block for block in blocks("python") if "Engine.load" in block])
def test_engine_snippet_runs(snippet: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    ttfa_ms, cancellation_ms = map(float, capsys.readouterr().out.split())
    assert ttfa_ms > 0
    assert cancellation_ms >= 0


@pytest.mark.parametrize("snippet", [block for block in blocks("python") if "Engine.load" not in block])
def test_adapter_snippet_names_what_the_adapter_has(snippet: str) -> None:
    compile(snippet, "README.md", "exec")
    for module, names in re.findall(r"^from (agent_tts[\w.]*) import (.+)$", snippet, re.MULTILINE):
        adapter = pytest.importorskip(module)
        assert all(hasattr(adapter, name.strip()) for name in names.split(","))


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("make ")])
def test_make_target_exists(command: str) -> None:
    done = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("agent-tts ")])
def test_agent_tts_command_parses(command: str) -> None:
    assert cli._parser().parse_args(shlex.split(command)[1:]).run is not None


@pytest.mark.usefixtures("_tone_engine")
def test_say_command_of_the_readme_writes_its_file() -> None:
    (command,) = [command for command in commands() if command.startswith("agent-tts say") and "-o " in command]
    assert cli.main(shlex.split(command)[1:]) == 0
    assert Path("speech.wav").exists()


@pytest.mark.parametrize("command", [command for command in commands() if command.startswith("python -m ")])
def test_module_command_names_a_module(command: str) -> None:
    module = shlex.split(command)[2].replace(".", "/")
    assert (ROOT / f"{module}.py").exists() or (ROOT / module / "__main__.py").exists()


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_folders_of_the_file_map_exist() -> None:
    file_map = re.search(r"## Files\n\n```\n(.*?)```", README, re.DOTALL)
    assert file_map is not None
    inside = [name for line in re.findall(r"^  (\S.*?)  ", file_map[1], re.MULTILINE) for name in line.split()]
    outside = re.findall(r"^(\w+)/", file_map[1], re.MULTILINE)
    missing = [name for name in inside if not (ROOT / "agent_tts" / name).exists()]
    assert missing + [name for name in outside if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_no_page_has_a_placeholder(page: Path) -> None:
    assert re.search(r"TODO|TBD|FIXME|XXX|lorem ipsum|coming soon", page.read_text(encoding="utf-8")) is None
