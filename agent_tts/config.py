"""Frozen config objects, the strict YAML loader, and the only reader of the environment.

Three objects and no more: ModelConfig (what the checkpoint is), EngineConfig (what the machine can hold) and
SamplingParams (what one request wants, in types.py). An unknown key fails at once and names the nearest valid one.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from agent_tts.errors import ConfigError

# ---------------------------------------------------------------------------------------------------------------------
# What a checkpoint is


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """The shape of one plain pre-norm transformer (Slow AR or Fast AR)."""

    num_layers: int
    dim: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    ffn_dim: int
    rope_base: float = 1_000_000.0
    norm_eps: float = 1e-6
    qk_norm: bool = False
    window: int | None = None
    """Number of past positions (itself included) a query sees; None = all."""


@dataclass(frozen=True, slots=True)
class AlignedConfig:
    """What only the bundled layout has: text summed into each frame's input and a pointer that moves along it."""

    vocab_size: int
    look_ahead: int
    """Text tokens behind the pointer's own that the text encoder sees."""
    max_advance: int = 3
    text_blocks: int = 4
    """Convolution blocks of the text encoder; each sees two tokens to either side."""
    latent_dim: int = 64
    """Size of the quantizer's vectors, which inputs and heads share with the codec."""
    progress_steps: int = 16
    """Frames on one token that are told apart."""
    head_rank: int = 32
    """Learnt dimensions of each code beside its quantizer vector."""
    temperature: float = 0.6
    top_p: float = 0.8
    fast_temperature: float = 0.3
    fast_top_p: float = 1.0
    advance_temperature: float = 0.8
    """Sampling that the checkpoint recommends; code 0, codes 1 ..., and the pointer's advance."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the checkpoint is. Read from its config.json by models/checkpoint.py, never guessed from a path."""

    layout: Literal["aligned", "fish_qwen3_omni", "dual_ar"]
    slow: TransformerConfig
    fast: TransformerConfig
    num_codebooks: int
    codebook_size: int
    """Rows of one codebook embedding table (the semantic codebook's size)."""
    sample_rate: int
    frame_samples: int
    """PCM samples per codec frame."""
    vocab_size: int = 0
    max_seq_len: int = 4096
    semantic_begin_id: int = 0
    semantic_end_id: int = 0
    im_end_id: int = 0
    tie_word_embeddings: bool = True
    scale_codebook_embeddings: bool = True
    norm_fast_input: bool = True
    """Hidden handed to the Fast AR: after the final norm (S2) or before it (S1)."""
    fast_legal_codes: int | None = None
    """Only the first so many Fast AR logits are candidates (S1: 1024); None = all."""
    aligned: AlignedConfig | None = None

    @property
    def frame_ms(self) -> float:
        return 1000.0 * self.frame_samples / self.sample_rate


# ---------------------------------------------------------------------------------------------------------------------
# What the machine can hold

StepKind = Literal["auto", "dynamic", "static", "graphs"]
WeightFormat = Literal["full", "int8", "fp8"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What the machine can hold and how far ahead it may work.

    Attributes:
        model: "bundled", a checkpoint folder, or a hub id.
        max_slots: Utterances that can be in the running batch at once.
        max_waiting: Utterances that may be open in all; one more raises EngineBusyError.
        num_pages, page_size: KV pages in the pool, and positions per page.
        lead_ms: An utterance this far ahead of playout is not scheduled.
        num_threads: Intra-op threads of the engine's own thread. Never set at import.
        max_utterance_ms: Longest audio of one utterance; then FinishReason.LENGTH.
        accept_license: Name of the licence of the weights, where it has to be accepted; asked once.
        voices_dir: Stored voices; None = as the environment says.
        warm_voices: Voices whose prompt is computed while the engine loads, before the first caller waits for it.
        condition_on_previous: Prompt-text models: a clause continues from the ones before it; False = each by itself.
        step: Prompt-text models: how a step is computed. "dynamic": shapes of the moment, the fastest on a CPU;
            "static": fixed shapes; "graphs": those, captured as CUDA graphs while loading; "auto": graphs on a GPU,
            else dynamic.
        fast_weights: Prompt-text models: the Fast AR's weights as the checkpoint has them ("full"), or in one byte:
            "int8", or "fp8" where the GPU has it. It reads half of all bytes of a frame.
    """

    model: str = "bundled"
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    max_slots: int = 8
    max_waiting: int = 64
    num_pages: int = 512
    page_size: int = 16
    lead_ms: float = 1000.0
    num_threads: int = 1
    max_utterance_ms: float = 600_000.0
    accept_license: str | None = None
    voices_dir: str | None = None
    warm_voices: tuple[str, ...] = ()
    condition_on_previous: bool = True
    step: StepKind = "auto"
    fast_weights: WeightFormat = "full"
    seed: int | None = None
    """Seed of utterances that bring none; None = a new one each time."""

    def __post_init__(self) -> None:
        for name in ("max_slots", "max_waiting", "num_pages", "page_size", "num_threads"):
            _require_positive(name, getattr(self, name))
        for name in ("lead_ms", "max_utterance_ms"):
            _require_positive(name, getattr(self, name))
        _require_one_of("step", self.step, get_args(StepKind))
        _require_one_of("fast_weights", self.fast_weights, get_args(WeightFormat))
        object.__setattr__(self, "warm_voices", _names("warm_voices", self.warm_voices))


def _names(name: str, value: object) -> tuple[str, ...]:
    """A file gives a list; a single text would be read letter by letter."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{name} is {value!r}; a list of names is expected.")
    return tuple(value)


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(allowed)}.")


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name} is {value!r}; it must be greater than 0.")


# ---------------------------------------------------------------------------------------------------------------------
# Reading

T = TypeVar("T")


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build a config dataclass from a mapping. An unknown key raises ConfigError and names the nearest valid one."""
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(unknown_key(key, known, where=where))
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}.") from error


def unknown_key(key: str, known: list[str], *, where: str) -> str:
    """The message for a key that does not exist: the nearest valid one, then all of them."""
    nearest = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{where}: unknown key {key!r}.{hint} Allowed: {', '.join(sorted(known))}."


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read one YAML mapping. Raises ConfigError when the file is missing or holds anything else."""
    try:
        import yaml
    except ImportError as error:
        raise ConfigError("Reading YAML needs PyYAML: pip install pyyaml") from error
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read config file {str(path)!r}: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{str(path)!r} is not valid YAML: {error}.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{str(path)!r} holds {type(data).__name__}, a mapping of keys to values is needed.")
    return data


def model_for_agent(model: str | None, config: EngineConfig | None) -> str:
    """What an agent speaks with: the model that is named, or by the config, else AGENT_TTS_ENGINE, else "bundled"."""
    default = EngineConfig().model
    named = config.model if config is not None and config.model != default else None
    return model or named or Environment.read().engine or default


@dataclass(frozen=True, slots=True)
class Environment:
    """All environment variables agent_tts reads, in one place."""

    cache_dir: Path = field(default_factory=lambda: Path("~/.cache/agent_tts").expanduser())
    voices_dir: Path = field(default_factory=lambda: Path("~/.local/share/agent_tts/voices").expanduser())
    engine: str | None = None
    accept_license: str | None = None

    @classmethod
    def read(cls) -> Environment:
        cache = os.environ.get("AGENT_TTS_CACHE") or "~/.cache/agent_tts"
        voices = os.environ.get("AGENT_TTS_VOICES") or "~/.local/share/agent_tts/voices"
        return cls(
            cache_dir=Path(cache).expanduser(),
            voices_dir=Path(voices).expanduser(),
            engine=os.environ.get("AGENT_TTS_ENGINE"),
            accept_license=os.environ.get("AGENT_TTS_ACCEPT_LICENSE"),
        )
