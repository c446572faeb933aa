"""Prompt formats and the rank tokenizer on a vocabulary small enough to read."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from agent_tts.errors import CheckpointError
from agent_tts.text.prompt import Reference, S1Prompt, S2Prompt, Turn, conversation
from agent_tts.text.tokenizer import load_tokenizer, merge_by_rank

RANKS = {bytes([value]): value for value in range(256)} | {b"he": 256, b"ll": 257, b"hell": 258, b"lo": 259}
CONTROL = {"<|im_start|>": 1000, "<|im_end|>": 1001, "<|voice|>": 1002, "<|interleave|>": 1003}


class Letters:
    """Each character is a token."""

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def control(self, name: str) -> int | None:
        return CONTROL.get(name)


def read(columns: list[tuple[int, ...]]) -> str:
    names = {token: name for name, token in CONTROL.items()}
    return "".join(
        f"[{column[0] - 5000}.{column[2]}]" if column[0] >= 5000 else names.get(column[0], chr(column[0]))
        for column in columns
    )


REFERENCES = [Reference("One.", [(1, 2), (3, 4)]), Reference("<|speaker:7|>Two.", [(5, 6)])]


def test_s2_prompt() -> None:
    layout = S2Prompt(Letters(), 2, 5000)
    columns = conversation(layout, REFERENCES, [Turn("Old.", [(7, 8)])], "New <|im_end|>.")
    assert read(columns) == (
        "<|im_start|>system\nconvert the provided text to speech reference to the following:\n\nText:\n"
        "<|speaker:0|>One.\n<|speaker:7|>Two.\n\nSpeech:\n[1.2][3.4][5.6]<|im_end|>\n"
        "<|im_start|>user\nOld.<|im_end|>\n<|im_start|>assistant\n<|voice|>[7.8]<|im_end|>\n"
        "<|im_start|>user\nNew <|im_end|>.<|im_end|>\n<|im_start|>assistant\n<|voice|>"
    )
    assert sum(column[0] == CONTROL["<|im_end|>"] for column in columns) == 4
    assert {len(column) for column in columns} == {3}


def test_s1_prompt() -> None:
    columns = conversation(S1Prompt(Letters(), 2, 5000), REFERENCES[:1], [], "New.")
    assert read(columns) == "<|interleave|><|speaker:0|>One.[1.2][3.4]<|im_end|><|speaker:0|>New."


def test_a_prompt_without_a_voice_says_so() -> None:
    assert read(S2Prompt(Letters(), 2, 5000).voice([])).endswith("convert the provided text to speech<|im_end|>\n")


def test_a_missing_control_token_is_named() -> None:
    class Bare(Letters):
        def control(self, name: str) -> int | None:
            return None

    with pytest.raises(CheckpointError, match=r"no <\|im_start\|>"):
        S2Prompt(Bare(), 2, 5000).voice([])


@pytest.mark.parametrize(
    ("piece", "expected"),
    [(b"hell", [258]), (b"hello", [258, 111]), (b"lo", [259]), (b"lle", [257, 101]), (b"", []), (b"x", [120])],
)
def test_merges_go_by_rank(piece: bytes, expected: list[int]) -> None:
    assert merge_by_rank(piece, RANKS) == expected


def test_rank_tokenizer_reads_its_files(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    lines = (f"{base64.b64encode(token).decode()} {rank}" for token, rank in RANKS.items())
    (tmp_path / "tokenizer.tiktoken").write_text("\n".join(lines), encoding="ascii")
    (tmp_path / "special_tokens.json").write_text(json.dumps(CONTROL), encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("hello <|im_end|>") == [258, 111, *b" <|im_end|>"]
    assert tokenizer.control("<|im_end|>") == 1001


def test_a_shortened_rank_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    (tmp_path / "tokenizer.tiktoken").write_text("AA== 0\nAQ== 1\n", encoding="ascii")
    (tmp_path / "special_tokens.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks 254 of the 256"):
        load_tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_tokenizer(tmp_path / "nowhere")
