"""Word errors that are known beforehand, and a run of the whole evaluation with listeners that are made up."""

import json
import wave

import numpy as np
import pytest

from evals import quality
from evals.judges import JudgeUnavailableError
from evals.metrics.quality import against, compare_texts, summarise
from evals.peers.libraries import wav_samples
from evals.speakers import against_all, pairwise, same_voice


def plain(text: str) -> str:
    return text.lower().rstrip(".")


def test_errors_of_a_sentence_are_counted_after_normalising():
    found = compare_texts("The cat sat.", "the bat sat down", plain)
    assert (found.word_errors, found.words) == (2, 3)
    assert (found.character_errors, found.characters) == (5, 9)


def test_rates_are_pooled_over_sentences_and_have_an_interval():
    heard = [compare_texts("one two three four", "one two three four", plain), compare_texts("five", "nine", plain)]
    summary = summarise("judge", "whole", heard)
    assert summary.wer.value == 1 / 5
    assert (summary.wer.low, summary.wer.high) == (0.0, 1.0)
    assert (summary.n, summary.exact, summary.half_wrong) == (2, 1, 1)


def test_streamed_against_whole_is_paired_by_sentence():
    texts = [f"one two number {number}" for number in range(30)]
    whole = [compare_texts(text, text, plain) for text in texts]
    worse = [compare_texts(text, text.replace("two", "too"), plain) for text in reversed(texts)]
    verdict = against(whole, worse)
    assert (verdict.n, verdict.change.value, verdict.better) == (30, 1.0, "a")


class Echo:
    """Hears what the tone was asked to say: `wrong` words of each sentence get lost."""

    def __init__(self, name: str, sentences: list[str], lost: int) -> None:
        self.name = name
        self._sentences = [" ".join(text.split()[lost:]) for text in sentences]
        self._next = 0

    def hear(self, samples: np.ndarray) -> str:
        self._next += 1
        return self._sentences[(self._next - 1) % len(self._sentences)]


def missing(*_: object) -> None:
    raise JudgeUnavailableError("moonshine: pip install moonshine-voice==0.0.73")


class Prints:
    """Knows voices by their pitch: how loud and how long does not matter."""

    def embed(self, samples: np.ndarray) -> np.ndarray:
        crossings = float(np.mean(np.diff(np.sign(samples)) != 0))
        return np.asarray([1.0, 20 * crossings], np.float32)


def test_one_voice_is_nearer_to_itself_than_to_other_people():
    mine, other = np.asarray([1.0, 0.0]), np.asarray([1.0, 1.0])
    assert same_voice([mine, mine, 2 * mine]) == pytest.approx([1, 1, 1])
    assert same_voice([mine, mine]) == [], "two sentences make one pair, which says nothing of its spread"
    assert against_all([mine], [mine, other]) == pytest.approx([(1 + 2**-0.5) / 2])
    assert against_all([mine], []) == []
    assert pairwise([mine, None, mine], [mine, mine, other]) == pytest.approx([1, 2**-0.5])


def test_several_voices_are_judged_apart_and_beside_their_floor(tmp_path, capsys, monkeypatch):
    texts = [
        "apples pears plums grapes limes figs",
        "trains boats cars planes trams bikes",
        "one two three four five six",
    ]
    (tmp_path / "mine.txt").write_text("\n".join(texts))
    with wave.open(str(tmp_path / "other.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((9_000 * np.sin(np.arange(32_000) * 1.5)).astype("<i2").tobytes())
    monkeypatch.setattr(quality, "FasterWhisper", lambda cache: Echo("echo", texts, 0))
    monkeypatch.setattr(quality, "VoicePrints", Prints)
    for name in ("Moonshine", "DistillMos"):
        monkeypatch.setattr(quality, name, missing)
    arguments = ["--peer", "tone", "--sentences-file", str(tmp_path / "mine.txt"), "--voices", "low", "high"]
    assert quality.main([*arguments, "--others", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert {"echo whole, low", "echo streamed, high", "similarity, whole, low: to streamed"} <= set(figures)
    floor = figures["similarity, whole, high: floor, other people (1)"]
    assert floor["value"] < figures["similarity, whole, high: same voice"]["value"] == pytest.approx(1)


@pytest.mark.parametrize(("lost", "code"), [(0, 0), (4, 1)])
def test_a_run_reports_each_judge_and_what_was_not_measured(tmp_path, capsys, monkeypatch, lost, code):
    texts = ["apples pears plums grapes limes figs", "trains boats cars planes trams bikes"]
    (tmp_path / "mine.txt").write_text("\n".join(texts))
    monkeypatch.setattr(quality, "FasterWhisper", lambda cache: Echo("echo", texts, lost))
    for name in ("Moonshine", "DistillMos", "VoicePrints"):
        monkeypatch.setattr(quality, name, missing)
    arguments = ["--peer", "tone", "--sentences-file", str(tmp_path / "mine.txt"), "--out", str(tmp_path)]
    assert quality.main(arguments) == code
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["figures"]["echo streamed"]["n"] == 2
    assert line["figures"]["echo whole"]["wer"]["value"] == pytest.approx(lost / 6, abs=1e-3)
    assert any("moonshine" in reason for reason in line["not_measured"])
    assert "Understood worst" in (tmp_path / "quality-tone.html").read_text()


def test_a_wav_from_a_pipe_that_lies_about_its_length_is_read():
    import struct

    samples = np.arange(100, dtype="<i2")
    form = struct.pack("<HHIIHH", 1, 1, 22_050, 44_100, 2, 16)
    header = b"RIFF\xff\xff\xff\x7fWAVEfmt " + struct.pack("<I", 16) + form + b"data\x00\xf0\xff\x7f"
    np.testing.assert_array_equal(wav_samples(header + samples.tobytes()), samples)
