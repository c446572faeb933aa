"""The licence of weights: found in what a folder holds, asked for once, and kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_tts.config import EngineConfig
from agent_tts.errors import CheckpointError, LicenseNotAcceptedError
from agent_tts.models.license_gate import require_license, weights_identity
from agent_tts.models.licenses import find_license
from agent_tts.runtime.loading import open_model

S2, S1, OURS = "fish_qwen3_omni", "dual_ar", "agent_tts_aligned"
RESEARCH = "# FISH AUDIO RESEARCH LICENSE AGREEMENT\n\nLast updated: 7 March 2026\n\nBy using the materials ...\n"


def checkpoint(folder: Path, model_type: str = S2, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    (folder / "model.safetensors").write_bytes(b"weights")
    for name, text in files.items():
        (folder / {"license": "LICENSE.md", "readme": "README.md"}[name]).write_text(text)
    return folder


def gate(folder: Path, cache: Path, accept: str | None = None, model_type: str = S2) -> str:
    return require_license(folder, model_type, accept=accept, cache_dir=cache).name


@pytest.mark.parametrize(
    ("text", "name", "asks"),
    [
        (RESEARCH, "fish-audio-research-license", True),
        ("Fish  Audio\nCommunity License v1.0", "fish-audio-community-license", True),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0", True),
        ("Creative Commons Attribution-NonCommercial 4.0 International Public License", "CC-BY-NC-4.0", True),
        ("Creative Commons Attribution 4.0 International Public License", "CC-BY-4.0", False),
        ("                Apache License\n        Version 2.0, January 2004", "Apache-2.0", False),
        ("Permission is hereby granted, free of charge, to any person obtaining a copy", "MIT", False),
        ("You may do with this on Tuesdays what you like.", "unknown", True),
        ("", "unknown", True),
    ],
)
def test_the_text_of_a_licence_file_decides(tmp_path: Path, text: str, name: str, asks: bool):
    found = find_license(checkpoint(tmp_path, license=text), S2)
    assert (found.name, found.asks, found.source) == (name, asks, "LICENSE.md")


@pytest.mark.parametrize(
    ("front", "name"),
    [
        ("license: cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
        ("license: other\nlicense_name: fish-audio-research-license", "fish-audio-research-license"),
        ('tags:\n- tts\nlicense: "Apache-2.0"', "Apache-2.0"),
        ("license: of-my-own", "unknown"),
    ],
)
def test_the_front_matter_of_a_readme_counts(tmp_path: Path, front: str, name: str):
    folder = checkpoint(tmp_path, readme=f"---\n{front}\n---\n# A model\nlicense: mit\n")
    assert find_license(folder, S2).name == name


def test_where_two_licences_are_stated_the_one_that_asks_counts(tmp_path: Path):
    folder = checkpoint(
        tmp_path, license="Apache License Version 2.0, January 2004", readme="---\nlicense: cc-by-nc-4.0\n---\n"
    )
    assert find_license(folder, S2).name == "CC-BY-NC-4.0"


@pytest.mark.parametrize(("model_type", "name"), [(S2, "fish-audio-research-license"), (S1, "CC-BY-NC-SA-4.0")])
def test_without_a_statement_the_layout_decides_and_says_so(tmp_path: Path, model_type: str, name: str):
    found = find_license(checkpoint(tmp_path, model_type), model_type)
    assert found.name == name
    assert found.asks
    assert "no licence of its own" in found.source


def test_the_name_of_the_folder_says_nothing(tmp_path: Path):
    folder = checkpoint(tmp_path / "mit-licensed-apache-2.0")
    assert find_license(folder, S2).asks


def test_a_model_trained_with_this_package_asks_only_when_it_states_something(tmp_path: Path):
    folder = checkpoint(tmp_path, OURS)
    assert not find_license(folder, OURS).asks
    (folder / "LICENSE").write_text(RESEARCH)
    assert find_license(folder, OURS).asks


def test_the_error_names_licence_terms_and_every_way_to_accept(tmp_path: Path):
    folder = checkpoint(tmp_path / "model", license=RESEARCH)
    with pytest.raises(LicenseNotAcceptedError) as caught:
        gate(folder, tmp_path / "cache")
    said = str(caught.value)
    assert caught.value.license_name == "fish-audio-research-license"
    for part in (
        "non-commercial",
        "LICENSE.md",
        "accept_license='fish-audio-research-license'",
        "AGENT_TTS_ACCEPT_LICENSE",
        "--accept-license",
    ):
        assert part in said
    assert not (tmp_path / "cache").exists(), "nothing is written for a refusal"


def test_acceptance_is_asked_once_and_recorded_with_its_date(tmp_path: Path):
    folder, cache = checkpoint(tmp_path / "model", license=RESEARCH), tmp_path / "cache"
    when = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    require_license(folder, S2, accept="Fish Audio Research License", cache_dir=cache, now=lambda: when)
    assert gate(folder, cache) == "fish-audio-research-license", "not asked again"
    (path,) = (cache / "licenses").iterdir()
    record = json.loads(path.read_text())
    assert record["accepted_at"] == "2026-11-21T12:00:00+00:00"
    assert record["license"] == "fish-audio-research-license"
    assert record["model"] == weights_identity(folder)
    assert record["folder_name"] == "model"


def test_the_same_weights_in_another_folder_are_not_asked_for_again(tmp_path: Path):
    gate(checkpoint(tmp_path / "a", license=RESEARCH), tmp_path / "cache", "fish-audio-research-license")
    gate(checkpoint(tmp_path / "b", license=RESEARCH), tmp_path / "cache")


@pytest.mark.parametrize("change", ["licence text", "weights", "config", "record"])
def test_it_is_asked_again_when_something_changed(tmp_path: Path, change: str):
    folder, cache = checkpoint(tmp_path / "model", license=RESEARCH), tmp_path / "cache"
    gate(folder, cache, "fish-audio-research-license")
    if change == "licence text":
        (folder / "LICENSE.md").write_text(RESEARCH + "And one more clause.")
    elif change == "weights":
        (folder / "model.safetensors").write_bytes(b"other weights")
    elif change == "config":
        (folder / "config.json").write_text(json.dumps({"model_type": S2, "dim": 1}))
    else:
        next((cache / "licenses").iterdir()).write_text("{")
    with pytest.raises(LicenseNotAcceptedError):
        gate(folder, cache)


@pytest.mark.parametrize("said", ["yes", "true", "mit", "CC-BY-NC-SA-4.0"])
def test_only_the_name_of_this_licence_accepts_it(tmp_path: Path, said: str):
    folder = checkpoint(tmp_path / "model", license=RESEARCH)
    with pytest.raises(LicenseNotAcceptedError, match=f"accept_license is '{said}'"):
        gate(folder, tmp_path / "cache", said)


def test_an_unknown_licence_is_said_plainly_and_can_be_accepted_as_such(tmp_path: Path):
    folder = checkpoint(tmp_path / "model", license="All yours, on Tuesdays.")
    with pytest.raises(LicenseNotAcceptedError, match="find out what it allows"):
        gate(folder, tmp_path / "cache")
    assert gate(folder, tmp_path / "cache", "unknown") == "unknown"


def test_a_cache_that_cannot_be_written_does_not_stop_what_was_accepted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = checkpoint(tmp_path / "model", license=RESEARCH)
    (tmp_path / "cache").write_text("a file where the folder should be")
    gate(folder, tmp_path / "cache", "fish-audio-research-license")
    assert "cannot be kept" in caplog.text


def test_a_permissive_licence_is_neither_asked_for_nor_recorded(tmp_path: Path):
    folder = checkpoint(tmp_path / "model", readme="---\nlicense: mit\n---\n")
    assert gate(folder, tmp_path / "cache") == "MIT"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("by", ["config", "environment"])
def test_loading_asks_before_it_reads_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str):
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("AGENT_TTS_ACCEPT_LICENSE", raising=False)
    folder = checkpoint(tmp_path / "model", license=RESEARCH)
    config = EngineConfig(model=str(folder))
    with pytest.raises(LicenseNotAcceptedError):
        open_model(config)
    if by == "config":
        config = EngineConfig(model=str(folder), accept_license="fish-audio-research-license")
    else:
        monkeypatch.setenv("AGENT_TTS_ACCEPT_LICENSE", "fish-audio-research-license")
    assert open_model(config) == (folder, S2)
    monkeypatch.delenv("AGENT_TTS_ACCEPT_LICENSE", raising=False)
    assert open_model(EngineConfig(model=str(folder))) == (folder, S2)


def test_weights_that_cannot_be_read_are_an_error_of_ours(tmp_path: Path):
    folder = checkpoint(tmp_path / "model", license=RESEARCH)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(tmp_path / "not-fetched")
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        gate(folder, tmp_path / "cache")


def test_an_unknown_layout_is_refused_before_anything_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "cache"))
    folder = checkpoint(tmp_path / "model", "fish_drama_3", license=RESEARCH)
    with pytest.raises(CheckpointError, match="model_type 'fish_drama_3'") as caught:
        open_model(EngineConfig(model=str(folder)))
    assert not isinstance(caught.value, LicenseNotAcceptedError)


def test_the_bundled_voice_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("agent_tts.runtime.loading.find_model", lambda name: checkpoint(tmp_path / "m", OURS))
    assert open_model(EngineConfig())[1] == OURS
    assert not (tmp_path / "cache").exists()
