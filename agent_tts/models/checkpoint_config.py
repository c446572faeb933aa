"""config.json of a released checkpoint -> ModelConfig. Every key is either used, or checked, or ignored by name.

Two layouts are known: `fish_qwen3_omni` (S2-Pro: text_config and audio_decoder_config) and `dual_ar` (S1-mini: flat).
Special token ids that are not in config.json come from special_tokens.json (S1). Reads no weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent_tts.config import ModelConfig, TransformerConfig, unknown_key
from agent_tts.errors import CheckpointError
from agent_tts.nn.tensor_files import read_json

SAMPLE_RATE = 44_100
FRAME_SAMPLES = 2_048
S1_LEGAL_RESIDUAL_CODES = 1_024
LAYOUTS = ("fish_qwen3_omni", "dual_ar")

_TRAINING_ONLY = "only training uses it"
_NO_EXPERTS = "only counts when use_moe is true, which is not supported"
_INFORMATION = "information about how the file was made"

IGNORED = {
    "dropout": _TRAINING_ONLY,
    "initializer_range": _TRAINING_ONLY,
    "use_gradient_checkpointing": _TRAINING_ONLY,
    "use_bfloat16": "the dtype comes from EngineConfig",
    "dtype": "the dtype comes from EngineConfig",
    "torch_dtype": "the dtype comes from EngineConfig",
    "moe_intermediate_size": _NO_EXPERTS,
    "norm_topk_prob": _NO_EXPERTS,
    "num_experts": _NO_EXPERTS,
    "num_experts_per_tok": _NO_EXPERTS,
    "router_gamma": _NO_EXPERTS,
    "use_aux_loss_free": _NO_EXPERTS,
    "audio_hidden_dim": "no tensor of the released models has this size",
    "pad_token_id": "prompts are not padded with tokens",
    "audio_pad_token_id": "prompts are not padded with tokens",
    "architectures": _INFORMATION,
    "auto_map": _INFORMATION,
    "transformers_version": _INFORMATION,
    "_name_or_path": _INFORMATION,
}
"""Keys of config.json that change nothing here -> the reason."""

REQUIRED = {
    "attention_qkv_bias": False,
    "attention_o_bias": False,
    "fast_attention_qkv_bias": False,
    "fast_attention_o_bias": False,
    "use_moe": False,
    "is_reward_model": False,
    "share_codebook_embeddings": True,
}
"""Keys that may hold only this value: another one would need code that is not here."""


def read_model_config(folder: Path) -> ModelConfig:
    """What the checkpoint in `folder` is.

    Raises:
        CheckpointError: No config.json, an unknown model_type, a key or value that is not known.
    """
    data = read_json(folder / "config.json")
    model_type = data.get("model_type")
    if model_type == "fish_qwen3_omni":
        return _s2_config(data, str(folder / "config.json"))
    if model_type == "dual_ar":
        return _s1_config(data, read_json(folder / "special_tokens.json"), str(folder / "config.json"))
    raise CheckpointError(_unknown_model_type(model_type, folder))


def _unknown_model_type(model_type: object, folder: Path) -> str:
    name = str(model_type).lower()
    drama = "drama" in name or "qwen3_5" in name or "qwen3.5" in name
    reason = (
        "This is Fish Audio Drama 3: its mixture-of-experts backbone and codebook tower are not supported, only its "
        "codec is the same."
        if drama
        else "Fish Audio Drama 3 is not among them."
    )
    return f"{folder}: model_type {model_type!r}; supported are {', '.join(map(repr, LAYOUTS))}. {reason}"


class _Section:
    """One mapping of config.json. Takes keys one by one; finish() complains about what nobody took."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise CheckpointError(f"{where}: a mapping is expected, found {type(values).__name__}.")
        self._values, self._where, self._taken = dict(values), where, {"model_type"}

    def take(self, key: str, kind: type = int, default: Any = None) -> Any:
        self._taken.add(key)
        value = self._values.get(key, default)
        numeric = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if not numeric and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            found = repr(value) if key in self._values else "nothing"
            raise CheckpointError(f"{self._where}: {key} must be of type {kind.__name__}, found {found}.")
        return value

    def size(self, key: str) -> int:
        """A number of something: 1 or more."""
        value: int = self.take(key)
        if value < 1:
            raise CheckpointError(f"{self._where}: {key} is {value}; 1 or more is expected.")
        return value

    def finish(self) -> None:
        for key, value in self._values.items():
            if key in REQUIRED and key not in self._taken and value != REQUIRED[key]:
                raise CheckpointError(f"{self._where}: {key} is {value!r}; only {REQUIRED[key]!r} is supported.")
            if key not in self._taken and key not in IGNORED and key not in REQUIRED:
                raise CheckpointError(unknown_key(key, sorted(self._taken), where=self._where))

    def transformer(self, prefix: str = "", *, rope_base: float | None = None, eps: float | None = None) -> Any:
        layers = self.size("n_fast_layer" if prefix else "n_layer")
        return TransformerConfig(
            num_layers=layers,
            dim=self.size(f"{prefix}dim"),
            num_heads=self.size(f"{prefix}n_head"),
            num_kv_heads=self.size(f"{prefix}n_local_heads"),
            head_dim=self.size(f"{prefix}head_dim"),
            ffn_dim=self.size(f"{prefix}intermediate_size"),
            rope_base=float(self.take("rope_base", float) if rope_base is None else rope_base),
            norm_eps=float(self.take("norm_eps", float) if eps is None else eps),
            qk_norm=self.take(f"{prefix}attention_qk_norm", bool, False),
        )


def _s2_config(data: dict[str, Any], where: str) -> ModelConfig:
    top = _Section(data, where)
    text = _Section(top.take("text_config", dict), f"{where}: text_config")
    audio = _Section(top.take("audio_decoder_config", dict), f"{where}: audio_decoder_config")
    slow: TransformerConfig = text.transformer()
    fast: TransformerConfig = audio.transformer(rope_base=slow.rope_base, eps=slow.norm_eps)
    _expect(audio, where, text_dim=slow.dim, tie_word_embeddings=False)
    _expect(text, where, tie_word_embeddings=True)
    config = ModelConfig(
        layout="fish_qwen3_omni",
        slow=slow,
        fast=fast,
        num_codebooks=audio.size("num_codebooks"),
        codebook_size=audio.size("vocab_size"),
        sample_rate=SAMPLE_RATE,
        frame_samples=FRAME_SAMPLES,
        vocab_size=text.size("vocab_size"),
        max_seq_len=text.size("max_seq_len"),
        semantic_begin_id=top.take("semantic_start_token_id"),
        semantic_end_id=top.take("semantic_end_token_id"),
        im_end_id=top.take("eos_token_id"),
        tie_word_embeddings=True,
        scale_codebook_embeddings=True,  # not in the file: follows from the model_type
        norm_fast_input=True,  # likewise
    )
    for key in ("rope_base", "norm_eps"):
        audio.take(key, float, 0.0)  # the Fast AR runs with the Slow AR's, whatever stands here
    audio.take("max_seq_len", int, 0)
    for section in (top, text, audio):
        section.finish()
    return _checked(config, where)


def _s1_config(data: dict[str, Any], special: dict[str, Any], where: str) -> ModelConfig:
    flat = _Section(data, where)
    slow: TransformerConfig = flat.transformer()
    fast: TransformerConfig = flat.transformer("fast_", rope_base=slow.rope_base, eps=slow.norm_eps)
    ids = {token: value for token, value in special.items() if type(value) is int}
    semantic = sorted(value for token, value in ids.items() if re.fullmatch(r"<\|semantic:\d+\|>", token))
    if "<|im_end|>" not in ids or not semantic or semantic[-1] - semantic[0] + 1 != len(semantic):
        raise CheckpointError(
            f"{where}: special_tokens.json beside it must name <|im_end|> and <|semantic:N|> with ids without a gap."
        )
    codebook_size = flat.size("codebook_size")
    config = ModelConfig(
        layout="dual_ar",
        slow=slow,
        fast=fast,
        num_codebooks=flat.size("num_codebooks"),
        codebook_size=codebook_size,
        sample_rate=SAMPLE_RATE,
        frame_samples=FRAME_SAMPLES,
        vocab_size=flat.size("vocab_size"),
        max_seq_len=flat.size("max_seq_len"),
        semantic_begin_id=semantic[0],
        semantic_end_id=semantic[-1],
        im_end_id=ids["<|im_end|>"],
        tie_word_embeddings=flat.take("tie_word_embeddings", bool, True),
        scale_codebook_embeddings=flat.take("scale_codebook_embeddings", bool, False),
        norm_fast_input=flat.take("norm_fastlayer_input", bool, False),
        fast_legal_codes=min(S1_LEGAL_RESIDUAL_CODES, codebook_size),
    )
    flat.finish()
    return _checked(config, where)


def _expect(section: _Section, where: str, **values: object) -> None:
    for key, value in values.items():
        found = section.take(key, type(value), value)
        if found != value:
            raise CheckpointError(f"{where}: {key} is {found!r}; only {value!r} is supported here.")


def _checked(config: ModelConfig, where: str) -> ModelConfig:
    num_semantic = config.semantic_end_id - config.semantic_begin_id + 1
    if not (0 < num_semantic <= config.codebook_size and config.semantic_end_id < config.vocab_size):
        raise CheckpointError(
            f"{where}: semantic ids {config.semantic_begin_id}..{config.semantic_end_id} do not fit "
            f"{config.codebook_size} codes and a vocabulary of {config.vocab_size}."
        )
    for part in (config.slow, config.fast):
        if part.num_heads % part.num_kv_heads or part.head_dim % 2:
            raise CheckpointError(
                f"{where}: {part.num_heads} heads over {part.num_kv_heads} kv heads of size {part.head_dim}; "
                "heads must be a multiple of kv heads, and the size even."
            )
    return config
