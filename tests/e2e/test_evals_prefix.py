"""`python -m evals prefix` over a checkpoint folder: voices are made and added, then the engine's counters speak."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals import prefix
from tests.tiny_checkpoint import write_model

pytest.importorskip("tokenizers")


def test_a_checkpoint_folder_with_made_voices_has_its_hit_rate_counted_by_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("AGENT_TTS_CACHE", str(tmp_path / "cache"))
    model = write_model(tmp_path / "s2")
    made = ["--made-voices", "2", "--reference-s", "5", "--accept-license", "fish-audio-research-license"]
    assert prefix.main(["--model", str(model), *made, "--conversations", "4", "--turns", "3"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    figures = line["figures"]
    assert figures["voices"] == 3, "two were made, and there is the model's own"
    assert figures["cold"]["n"] <= 2
    assert figures["all"]["n"] == figures["engine"]["n"] == 12
    for name in ("prompt_tokens", "cached_tokens", "hit_rate"):
        assert figures["engine"][name] == figures["all"][name]
    assert figures["pinned_pages"] > 0
    # Cold: nothing but what both system blocks begin with. Warm: all but the words and what closes them.
    num_warm = figures["warm"]["n"]
    computed = (figures["warm"]["prompt_tokens"] - figures["warm"]["cached_tokens"]) / num_warm
    assert computed < 100, "characters of a sentence, and 15 behind them"
    assert figures["warm"]["cached_tokens"] / num_warm > 4 * 21, "more than the frames of the voice"
    assert figures["warm"]["hit_rate"] > 0.7 > figures["cold"]["hit_rate"]
