"""Checkpoints load whole or not at all, and the released models have the released number of parameters and names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from agent_tts.config import ModelConfig
from agent_tts.errors import CheckpointError, NotEnoughMemoryError
from agent_tts.models.checkpoint import INDEX, load_checkpoint, meta_model, released_name
from agent_tts.models.checkpoint_config import read_model_config
from agent_tts.nn import tensor_files
from tests.parity import fixtures

S2_SECTION = {"norm_eps": 1e-6, "rope_base": 1_000_000, "n_head": 32, "n_local_heads": 8, "head_dim": 128}
S2_PRO = {
    "model_type": "fish_qwen3_omni",
    "dtype": "bfloat16",
    "eos_token_id": 151645,
    "pad_token_id": 151669,
    "audio_pad_token_id": 151677,
    "semantic_start_token_id": 151678,
    "semantic_end_token_id": 155773,
    "text_config": S2_SECTION
    | {"model_type": "fish_qwen3", "vocab_size": 155776, "n_layer": 36, "dim": 2560, "intermediate_size": 9728}
    | {"attention_qk_norm": True, "max_seq_len": 32768, "tie_word_embeddings": True},
    "audio_decoder_config": S2_SECTION
    | {"model_type": "fish_qwen3_audio_decoder", "vocab_size": 4096, "n_layer": 4, "dim": 2560}
    | {"intermediate_size": 9728, "attention_qk_norm": False, "max_seq_len": 11, "tie_word_embeddings": False}
    | {"num_codebooks": 10, "text_dim": 2560, "audio_hidden_dim": 5120},
}
S1_MINI = {
    "model_type": "dual_ar",
    "dim": 1024,
    "n_layer": 28,
    "n_head": 16,
    "n_local_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "attention_qk_norm": True,
    "norm_eps": 1e-6,
    "rope_base": 1_000_000,
    "max_seq_len": 8192,
    "vocab_size": 155776,
    "tie_word_embeddings": False,
    "codebook_size": 4096,
    "num_codebooks": 10,
    "scale_codebook_embeddings": True,
    "n_fast_layer": 4,
    "fast_dim": 1024,
    "fast_n_head": 16,
    "fast_n_local_heads": 8,
    "fast_head_dim": 64,
    "fast_intermediate_size": 3072,
    "fast_attention_qk_norm": False,
}


def released_config(folder: Path, values: dict) -> ModelConfig:
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    special = {"<|im_end|>": 151645} | {f"<|semantic:{code}|>": 151678 + code for code in range(4096)}
    (folder / "special_tokens.json").write_text(json.dumps(special), encoding="utf-8")
    return read_model_config(folder)


@pytest.mark.parametrize(("values", "count"), [(S2_PRO, 4_561_852_416), (S1_MINI, 860_169_216)])
def test_released_models_have_the_released_number_of_parameters(tmp_path: Path, values: dict, count: int) -> None:
    model = meta_model(released_config(tmp_path, values))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_s2_pro_has_the_tensors_of_the_released_index(tmp_path: Path) -> None:
    config = released_config(tmp_path, S2_PRO)
    names = {released_name(config, name) for name, _ in meta_model(config).named_parameters()}
    assert len(names) == 358
    block = r"(attention\.(wqkv|wo|q_norm|k_norm)|attention_norm|ffn_norm|feed_forward\.w[123])"
    scheme = (
        rf"(text_model\.model|audio_decoder)\.(embeddings|norm|codebook_embeddings|output|layers\.\d+\.{block})\.weight"
    )
    assert [name for name in names if not re.fullmatch(scheme, name)] == []
    assert not any("audio_decoder" in name and "_norm.weight" in name and "q_norm" in name for name in names)


@pytest.mark.parametrize("name", ["s2_tiny", "s1_tiny"])
def test_everything_in_the_files_is_loaded(name: str) -> None:
    checkpoint = load_checkpoint(fixtures.folder(name), dtype=torch.bfloat16)
    assert checkpoint.report.ignored == {}
    assert checkpoint.report.num_bytes == 2 * checkpoint.report.num_parameters
    assert {parameter.dtype for parameter in checkpoint.model.parameters()} == {torch.bfloat16}


@pytest.fixture
def copy(tmp_path: Path):
    def make(name: str) -> Path:
        target = tmp_path / name
        shutil.copytree(fixtures.folder(name), target)
        for path in target.rglob("*"):
            path.chmod(0o644)
        target.chmod(0o755)
        return target

    return make


def edit(path: Path, **values: object) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **values}), encoding="utf-8")


@pytest.mark.parametrize("name", ["s2_tiny", "s1_tiny"])
def test_wrong_shapes_are_refused_with_both_shapes(copy, name: str) -> None:
    folder = copy(name)
    if name == "s1_tiny":
        edit(folder / "config.json", fast_intermediate_size=57)
    else:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        edit(folder / "config.json", text_config={**data["text_config"], "intermediate_size": 57})
    with pytest.raises(CheckpointError, match=r"has shape \(\d+, \d+\), the config asks for \(57, \d+\)"):
        load_checkpoint(folder)


def test_a_missing_shard_is_named(copy) -> None:
    folder = copy("s2_tiny")
    shard = sorted(folder.glob("*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"no {shard.name}"):
        load_checkpoint(folder)


def test_a_truncated_shard_says_how_long_it_should_be(copy) -> None:
    folder = copy("s2_tiny")
    shard = sorted(folder.glob("*.safetensors"))[0]
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[: size - 100])
    with pytest.raises(CheckpointError, match=f"is {size - 100} bytes, its header describes {size}"):
        load_checkpoint(folder)
    shard.write_bytes(shard.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="cut off"):
        load_checkpoint(folder)


def test_a_truncated_pth_is_refused(copy) -> None:
    path = copy("s1_tiny") / "model.pth"
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(CheckpointError, match="complete file"):
        load_checkpoint(path.parent)


def test_a_pth_that_would_run_code_is_refused(copy) -> None:
    path = copy("s1_tiny") / "model.pth"
    torch.save({"embeddings.weight": Path("/")}, path)
    with pytest.raises(CheckpointError, match="plain weights"):
        load_checkpoint(path.parent)


def test_missing_and_unknown_tensors_are_named(copy) -> None:
    path = copy("s1_tiny") / "model.pth"
    state = torch.load(path, weights_only=True)
    state["surprise"] = state.pop("fast_norm.weight")
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=r"missing: fast_norm\.weight; 1 tensors are not known: surprise"):
        load_checkpoint(path.parent)


def test_wrappers_are_opened_and_other_tasks_weights_are_listed(copy) -> None:
    path = copy("s1_tiny") / "model.pth"
    state = {f"model.{name}": value for name, value in torch.load(path, weights_only=True).items()}
    torch.save({"state_dict": {**state, "audio_head.weight": torch.zeros(2)}}, path)
    report = load_checkpoint(path.parent).report
    assert list(report.ignored) == ["audio_head.weight"]
    assert "another task" in report.ignored["audio_head.weight"]


def test_one_file_without_an_index_loads_too(copy) -> None:
    folder = copy("s2_tiny")
    readers: dict = {}
    for shard in folder.glob("*.safetensors"):
        readers |= {name: read() for name, read in tensor_files.open_safetensors(shard).items()}
    save_file(readers, folder / "model.safetensors")
    (folder / INDEX).unlink()
    assert load_checkpoint(folder).report.sources == ("model.safetensors",)


@pytest.mark.parametrize("model_type", ["fish_drama3", "fish_audio_drama_3", "qwen3_5_moe"])
def test_drama_3_is_named_as_not_supported(copy, model_type: str) -> None:
    folder = copy("s2_tiny")
    edit(folder / "config.json", model_type=model_type)
    with pytest.raises(CheckpointError, match=r"This is Fish Audio Drama 3.*not supported"):
        load_checkpoint(folder)


def test_an_unknown_model_type_lists_the_known_ones(copy) -> None:
    folder = copy("s2_tiny")
    edit(folder / "config.json", model_type="llama")
    with pytest.raises(CheckpointError, match="'llama'; supported are 'fish_qwen3_omni', 'dual_ar'"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"use_mooe": True}, "unknown key 'use_mooe'"),
        ({"attention_qkv_bias": True}, "only False is supported"),
        ({"n_layer": "2"}, "n_layer must be of type int, found '2'"),
        ({"n_local_heads": 3}, "multiple of kv heads"),
        ({"vocab_size": 1300}, "do not fit"),
    ],
)
def test_config_values_that_cannot_be_run_are_refused(copy, values: dict, message: str) -> None:
    folder = copy("s1_tiny")
    edit(folder / "config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_a_folder_without_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="not a folder"):
        load_checkpoint(tmp_path / "nowhere")


def test_too_little_memory_is_noticed_before_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_files, "available_memory", lambda device: 1000)
    monkeypatch.setattr(tensor_files, "open_safetensors", lambda path: pytest.fail("read before the check"))
    with pytest.raises(NotEnoughMemoryError, match="GiB are free"):
        load_checkpoint(fixtures.folder("s2_tiny"))
