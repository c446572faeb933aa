"""A checkpoint by hub id: what is fetched, in which order, and what is asked in between. The hub is a folder."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from agent_tts import cli
from agent_tts.config import EngineConfig
from agent_tts.errors import CheckpointError, LicenseNotAcceptedError
from agent_tts.runtime.loading import find_model, load_runner, open_model
from tests.speechlike import speechlike, write_wav

huggingface_hub = pytest.importorskip("huggingface_hub")

NAME = "someone/a-voice"
RESEARCH = "# FISH AUDIO RESEARCH LICENSE AGREEMENT"
WEIGHTS = {"model-00001-of-00001.safetensors", "codec.pth"}


class FakeHub:
    """snapshot_download() of a hub with one repository; its cache has the real one's folders."""

    def __init__(self, folder: Path) -> None:
        self.commit = "a" * 40
        self.origin = folder / "origin"
        self.cache = folder / "cache" / "models--someone--a-voice"
        self.revisions: list[str | None] = []
        self.origin.mkdir()
        for name in (*WEIGHTS, "model.safetensors.index.json", "tokenizer.json", "train.py", "demo.mp4"):
            (self.origin / name).write_text("{}")
        self.write("config.json", json.dumps({"model_type": "fish_qwen3_omni"}))
        self.write("LICENSE.md", RESEARCH)

    def write(self, name: str, text: str) -> None:
        (self.origin / name).write_text(text)

    def fetched(self) -> set[str]:
        return {path.name for path in self.cache.glob("snapshots/*/*")}

    def snapshot_download(
        self, name: str, *, revision: str | None, allow_patterns: list[str], local_files_only: bool
    ) -> str:
        folder = self.cache / "snapshots" / (revision or self.commit)
        if name != NAME or (local_files_only and not folder.exists()):
            raise huggingface_hub.errors.LocalEntryNotFoundError("nothing here")
        if not local_files_only:
            self.revisions.append(revision)
            folder.mkdir(parents=True, exist_ok=True)
            for path in self.origin.iterdir():
                if any(fnmatch(path.name, pattern) for pattern in allow_patterns):
                    shutil.copy(path, folder / path.name)
        return str(folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "acceptances"))
    monkeypatch.setenv("AGENT_TTS_VOICES", str(tmp_path / "voices"))
    monkeypatch.delenv("AGENT_TTS_ACCEPT_LICENSE", raising=False)
    fake = FakeHub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


def test_the_licence_is_asked_for_before_any_weights_are_fetched(hub: FakeHub):
    with pytest.raises(LicenseNotAcceptedError, match="fish-audio-research-license"):
        open_model(EngineConfig(model=NAME))
    assert hub.fetched() == {"config.json", "LICENSE.md"}


def test_what_was_accepted_is_fetched_once_at_the_same_commit_and_nothing_that_is_not_read(hub: FakeHub):
    folder, model_type = open_model(EngineConfig(model=NAME, accept_license="fish-audio-research-license"))
    assert model_type == "fish_qwen3_omni"
    assert hub.revisions == [None, hub.commit]
    assert {path.name for path in folder.iterdir()} == hub.fetched()
    assert hub.fetched() >= WEIGHTS | {"tokenizer.json", "model.safetensors.index.json"}
    assert not hub.fetched() & {"train.py", "demo.mp4"}
    assert open_model(EngineConfig(model=NAME))[0] == folder, "accepted before"


def test_a_model_of_the_hub_is_called_by_its_id_not_by_its_commit(hub: FakeHub):
    for path in (Path(__file__).parents[2] / "agent_tts" / "assets" / "bundled").iterdir():
        shutil.copy(path, hub.origin / path.name)
    (hub.origin / "LICENSE.md").unlink()
    assert load_runner(EngineConfig(model=NAME)).model_name == NAME


def test_other_weights_under_another_licence_are_asked_for_again_before_they_are_fetched(hub: FakeHub):
    open_model(EngineConfig(model=NAME, accept_license="fish-audio-research-license"))
    hub.commit = "b" * 40
    hub.write("LICENSE.md", "# Fish Audio Community License")
    with pytest.raises(LicenseNotAcceptedError, match="fish-audio-community-license"):
        open_model(EngineConfig(model=NAME))
    assert not (hub.cache / "snapshots" / hub.commit / "codec.pth").exists()


def test_an_unknown_layout_is_refused_before_its_weights_are_fetched(hub: FakeHub):
    hub.write("config.json", json.dumps({"model_type": "fish_drama_3"}))
    with pytest.raises(CheckpointError, match="'fish_drama_3'"):
        open_model(EngineConfig(model=NAME, accept_license="fish-audio-research-license"))
    assert not hub.fetched() & WEIGHTS


def test_listing_voices_for_a_hub_id_fetches_nothing(hub: FakeHub, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["voices", "list", "--model", NAME]) == 0
    assert hub.revisions == []
    with pytest.raises(CheckpointError, match="LocalEntryNotFoundError"):
        find_model(NAME)


def test_a_recording_that_is_refused_fetches_nothing(hub: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    audio = write_wav(tmp_path / "short.wav", speechlike(1))
    said = ["--text", "Too short.", "--synthetic", "--accept-license", "fish-audio-research-license"]
    assert cli.main(["voices", "add", "alice", "--model", NAME, "--audio", str(audio), *said]) == 2
    assert "at least 3 s" in capsys.readouterr().err
    assert hub.revisions == []


def test_what_the_hub_does_not_have_or_no_hub_can_have_is_said(hub: FakeHub, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(CheckpointError, match="'nobody/nothing' is no folder here, and cannot be fetched"):
        open_model(EngineConfig(model="nobody/nothing"))
    for name in ("no-such-folder", "./no/such", "/no/such", "a/b/c", "owner/"):
        with pytest.raises(CheckpointError, match="Cannot find the model"):
            open_model(EngineConfig(model=name))


def test_the_real_library_finds_what_lies_in_its_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--someone--a-voice"
    folder = repository / "snapshots" / ("c" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c" * 40)
    assert find_model(NAME) == folder
    with pytest.raises(CheckpointError, match=r"'not a name/at all'.*HFValidationError"):
        find_model("not a name/at all")
