"""python -m evals.gpu runs to its end where there is no GPU, so that the one call on a real one is not its first."""

import json

from evals.gpu import run

SECTIONS = {
    "check",
    "memory",
    "floor",
    "decode",
    "first_frame",
    "engine",
    "fast_weights",
    "context",
    "codec_dtype",
    "attention",
    "products",
}


def test_every_section_runs_on_a_cpu_and_the_last_line_is_json(tmp_path, capsys):
    assert run.main(["--tiny", "--device", "cpu", "--out", str(tmp_path)]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last["figures"]) >= SECTIONS
    assert last["figures"]["check"]["equal_columns"] == last["figures"]["check"]["speakers"] == 4
    assert last["figures"]["engine"]["idle"]["cached_share"] > 0.9
    assert [note for note in last["not_measured"] if "fp8" not in note] == []
    partial = json.loads((tmp_path / "gpu-partial.json").read_text())
    assert set(partial) >= SECTIONS


def test_sections_without_time_are_named_and_nothing_is_lost(tmp_path, capsys):
    assert run.main(["--tiny", "--device", "cpu", "--budget-s", "1", "--out", str(tmp_path)]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {note.partition(":")[0] for note in last["not_measured"]} >= SECTIONS


def test_a_section_that_breaks_does_not_take_the_others_with_it(tmp_path, capsys, monkeypatch):
    def broken(lab):
        raise IndexError("out of the card")

    sections = {"check": broken, "memory": run._sections()["memory"]}
    monkeypatch.setattr(run, "_sections", lambda: sections)
    assert run.main(["--tiny", "--device", "cpu"]) == 1
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "memory" in last["figures"]
    assert last["not_measured"] == ["check: IndexError: out of the card"]


def test_a_machine_without_a_gpu_is_told_what_runs_there(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert run.main([]) == 2
    assert "--tiny --device cpu" in capsys.readouterr().out
