"""Damaged or strange checkpoint files end in an error of ours that names the file, whatever stands in them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from agent_tts.errors import CheckpointError
from agent_tts.models.checkpoint import INDEX, load_checkpoint
from agent_tts.models.checkpoint_config import read_model_config
from tests.tiny_checkpoint import MODEL_CONFIG, write_model

pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def test_the_whole_folder_loads(folder: Path):
    assert load_checkpoint(folder).report.ignored == {}


@pytest.mark.parametrize("weight_map", [{"a": 5}, {"a": None}, {"a": ["model.safetensors"]}, {"a": "../x"}, {}, []])
def test_an_index_that_names_no_files_is_refused(folder: Path, weight_map: object):
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=INDEX):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "header",
    [[], 5, {"a": 5}, {"a": {}}, {"a": {"data_offsets": [0]}}, {"a": {"data_offsets": "no"}}, {"a": {"dtype": "F32"}}],
)
def test_a_safetensors_header_that_describes_no_tensors_is_refused(folder: Path, header: object):
    data = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_checkpoint(folder)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff" * 8, b"\xff" * 40, (4).to_bytes(8, "little") + b"\xff\xfe{}"])
def test_a_safetensors_file_that_is_none_is_refused(folder: Path, data: bytes):
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        load_checkpoint(folder)


@pytest.mark.parametrize("section", ["text_config", "audio_decoder_config"])
@pytest.mark.parametrize("key", ["n_layer", "dim", "n_head", "n_local_heads", "head_dim", "intermediate_size"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_that_are_no_sizes_are_refused_by_name(folder: Path, section: str, key: str, value: int):
    config: dict[str, Any] = copy.deepcopy(MODEL_CONFIG)
    config[section][key] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"{section}: {key} is {value}"):
        read_model_config(folder)


@pytest.mark.parametrize(
    ("where", "key"),
    [
        ("text_config", "vocab_size"),
        ("text_config", "max_seq_len"),
        ("audio_decoder_config", "num_codebooks"),
        ("audio_decoder_config", "vocab_size"),
    ],
)
def test_counts_of_nothing_are_refused(folder: Path, where: str, key: str):
    config: dict[str, Any] = copy.deepcopy(MODEL_CONFIG)
    config[where][key] = 0
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"{key} is 0"):
        read_model_config(folder)


def test_special_tokens_that_are_no_ids_are_refused(tmp_path: Path):
    text: dict[str, Any] = MODEL_CONFIG["text_config"]  # type: ignore[assignment]
    sizes = ("dim", "n_head", "n_local_heads", "head_dim", "intermediate_size")
    flat = text | {"model_type": "dual_ar"} | {f"fast_{key}": 16 for key in sizes}
    flat |= {"n_fast_layer": 1, "codebook_size": 16, "num_codebooks": 2}
    (tmp_path / "config.json").write_text(json.dumps(flat))
    special = {"<|im_end|>": "5", "<|semantic:0|>": "six"}
    (tmp_path / "special_tokens.json").write_text(json.dumps(special))
    with pytest.raises(CheckpointError, match=r"special_tokens\.json"):
        read_model_config(tmp_path)
