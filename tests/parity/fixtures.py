"""Where the parity fixtures lie, and their arrays. They are made by the reference; all sizes come from their files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agent_tts.text.prompt import Reference, Turn

LOGITS_ATOL = 2e-4
LATENT_ATOL = 3e-4
AUDIO_ATOL = 5e-5


def folder(name: str) -> Path:
    """The fixture folder `name`, or skip: set AGENT_TTS_FIXTURES, or put them beside the repository."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "fixtures"
    path = Path(os.environ.get("AGENT_TTS_FIXTURES", default)) / name
    if not (path / "expected.npz").is_file():
        pytest.skip(f"no parity fixtures in {path}; set AGENT_TTS_FIXTURES to a folder that holds {name}/expected.npz")
    return path


def arrays(name: str) -> dict[str, np.ndarray]:
    """All expected arrays of one fixture."""
    with np.load(folder(name) / "expected.npz") as data:
        return {key: data[key] for key in data.files}


def as_frames(codes: np.ndarray) -> list[tuple[int, ...]]:
    """[codebooks, frames] -> one tuple of codes a frame."""
    return [tuple(int(code) for code in column) for column in codes.T]


def prompt_parts(name: str, prompt: str, data: dict[str, np.ndarray]) -> tuple[list[Reference], list[Turn], str]:
    """References, history and text of one prompt as prompt_specs.json describes it."""
    spec: dict[str, Any] = json.loads((folder(name) / "prompt_specs.json").read_text(encoding="utf-8"))[prompt]
    references = [Reference(item["text"], as_frames(data[item["codes"]])) for item in spec["references"]]
    history = [Turn(item["text"], as_frames(data[item["codes"]])) for item in spec.get("history", [])]
    return references, history, spec["text"]


def sampled_run(name: str, tokens: str, default: str) -> tuple[str, dict[str, float]]:
    """Prompt and sampling parameters of a recorded run. Only the fixtures' README says them, so that is read.

    Both there and in `default` they stand as "prompt_clone, temperature 0.7, top_p 0.75, top_k 16".
    """
    readme = folder(name).parent / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines() if readme.is_file() else []
    text = next((line for line in lines if re.match(rf"\|\s*{tokens}\s*[|,]", line)), default)
    prompt = re.search(r"prompt_(\w+)", text)
    assert prompt is not None, f"{readme} names no prompt for {tokens}"
    pairs = re.findall(r"(temperature|top_p|top_k|repetition_penalty) ([\d.]+)", text)
    return prompt.group(1), {key.replace("repetition_", ""): float(value) for key, value in pairs}


def close(actual: torch.Tensor, expected: np.ndarray, atol: float) -> None:
    """Equal shapes, and no element further apart than atol."""
    torch.testing.assert_close(actual.detach().float(), torch.from_numpy(expected).float(), atol=atol, rtol=0)
