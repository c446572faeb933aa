"""The stages of training in order, and their settings in one place; each stage's work is in its own module."""

from __future__ import annotations

import logging
import math
import multiprocessing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from agent_tts.codec.source_filter import SourceFilterDecoder
from agent_tts.codec.source_filter_checkpoint import load_source_filter
from agent_tts.config import AlignedConfig, ModelConfig, TransformerConfig
from agent_tts.errors import ConfigError
from agent_tts.models.aligned import AlignedDualAR
from agent_tts.models.aligned_checkpoint import load_aligned
from agent_tts.training.codec import NUM_PHONEMES, CodecSettings, train_codec
from agent_tts.training.codes import load_codec, write_codes
from agent_tts.training.data import make_corpus
from agent_tts.training.dual_ar import DualARSettings, train_dual_ar
from agent_tts.training.evaluate import (
    evaluate_codec,
    evaluate_model,
    evaluate_teacher,
    measure_speed,
    read_sentences,
)
from agent_tts.training.export import export
from agent_tts.training.judge import Judge, Verdict
from agent_tts.training.loop import AverageWeights, load_checkpoint
from agent_tts.training.polish import PolishSettings, grown_decoder, train_polish
from agent_tts.training.teacher import FRAME_SAMPLES, SAMPLE_RATE
from agent_tts.training.vocoder import VocoderSettings, train_vocoder

LOG = logging.getLogger(__name__)
ASSETS = Path(__file__).parents[1] / "assets" / "bundled"
PLAIN_SENTENCES = Path(__file__).parents[2] / "configs" / "evals" / "plain_sentences.txt"
SPEED_SENTENCES = 8
OUTPUT_GAIN = 0.85
"""The voice against its training data: a few samples in a hundred sentences would reach full scale without it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of every trained stage; the defaults made the bundled voice."""

    codec: CodecSettings = field(default_factory=CodecSettings)
    vocoder: VocoderSettings = field(default_factory=VocoderSettings)
    polish: PolishSettings = field(default_factory=PolishSettings)
    model: DualARSettings = field(default_factory=DualARSettings)

    @classmethod
    def from_overrides(cls, overrides: dict[str, dict[str, Any]]) -> Settings:
        """Defaults with some values replaced.

        Raises:
            ConfigError: A stage or a setting does not exist.
        """
        settings = cls()
        for stage, values in overrides.items():
            try:
                settings = replace(settings, **{stage: replace(getattr(settings, stage), **values)})
            except (AttributeError, TypeError) as error:
                raise ConfigError(
                    f"Training settings {stage!r}: {error}. Stages: codec, vocoder, polish, model."
                ) from error
        return settings


@dataclass(frozen=True, slots=True)
class Plan:
    """One run of the command."""

    work: Path
    out: Path
    hours: float
    processes: int
    threads: int
    sentences: int | None
    settings: Settings


def bundled_config(codec: CodecSettings) -> ModelConfig:
    """Shape of the bundled Dual-AR."""
    return ModelConfig(
        layout="aligned",
        slow=TransformerConfig(
            num_layers=6,
            dim=256,
            num_heads=4,
            num_kv_heads=4,
            head_dim=64,
            ffn_dim=768,
            rope_base=10_000.0,
            window=200,
        ),
        fast=TransformerConfig(num_layers=2, dim=192, num_heads=3, num_kv_heads=3, head_dim=64, ffn_dim=448),
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
        sample_rate=SAMPLE_RATE,
        frame_samples=FRAME_SAMPLES,
        aligned=AlignedConfig(
            vocab_size=NUM_PHONEMES,
            look_ahead=8,
            latent_dim=codec.latent_dim,
            temperature=0.8,
            top_p=0.9,
            fast_temperature=0.15,
        ),
    )


def data(plan: Plan) -> None:
    """Speak sentences."""
    make_corpus(plan.work / "data", plan.hours, plan.processes)


def codec(plan: Plan) -> None:
    """Codec phase 1."""
    torch.set_num_threads(plan.threads)
    train_codec(plan.work, plan.settings.codec)


def codes(plan: Plan) -> None:
    """Encode the corpus, each process a part of it."""
    context, workers = multiprocessing.get_context("spawn"), []
    for part in range(plan.processes):
        workers.append(context.Process(target=_write_part, args=(plan, part)))
        workers[-1].start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, f"encoding ended with exit code {worker.exitcode}"


def _write_part(plan: Plan, part: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(1)
    write_codes(plan.work, plan.settings.codec, part, plan.processes)


def vocoder(plan: Plan) -> None:
    """Codec phase 2."""
    torch.set_num_threads(plan.threads)
    train_vocoder(plan.work, plan.settings.codec, plan.settings.vocoder)


def polish(plan: Plan) -> None:
    """Codec phase 3."""
    torch.set_num_threads(plan.threads)
    train_polish(plan.work, plan.settings.codec, plan.settings.vocoder, plan.settings.polish)


def model(plan: Plan) -> None:
    """The Dual-AR."""
    torch.set_num_threads(plan.threads)
    codebooks = load_codec(plan.work, plan.settings.codec).quantizer.quantizer.codebooks
    train_dual_ar(plan.work, bundled_config(plan.settings.codec), codebooks, plan.settings.model)


def trained_decoder(plan: Plan) -> SourceFilterDecoder:
    """The decoder of `polish.pt` with its averaged weights, at the level of the voice."""
    settings = plan.settings
    decoder = grown_decoder(plan.work, settings.codec, settings.vocoder, settings.polish.step_blocks)
    average = AverageWeights(decoder, settings.polish.average)
    load_checkpoint(plan.work / "polish.pt", average=average)
    average.copy_to(decoder)
    with torch.no_grad():
        decoder.head.bias.add_(math.log(OUTPUT_GAIN))
    return decoder.eval().requires_grad_(False)


def trained_model(plan: Plan) -> AlignedDualAR:
    """The Dual-AR of `dual_ar.pt` with its averaged weights."""
    model = AlignedDualAR(bundled_config(plan.settings.codec))
    model.set_codebooks(load_codec(plan.work, plan.settings.codec).quantizer.quantizer.codebooks)
    average = AverageWeights(model, plan.settings.model.average)
    load_checkpoint(plan.work / "dual_ar.pt", average=average)
    average.copy_to(model)
    return model.eval().requires_grad_(False)


def export_voice(plan: Plan) -> None:
    """Write the bundled voice."""
    export(trained_model(plan), trained_decoder(plan), plan.out)


def evaluate(plan: Plan) -> None:
    """The table of the model card, from the exported files."""
    torch.set_num_threads(1)
    sentences = read_sentences(PLAIN_SENTENCES, plan.sentences)
    model, decoder, judge = load_aligned(plan.out), load_source_filter(plan.out), Judge(plan.work)
    report = evaluate_model(model, decoder, sentences, judge)
    _show("model", report.verdict)
    LOG.info(
        "evaluate: not stopped %d; length ratio %.3f, outside .8-1.25: %d; audible after %.0f ms (worst %.0f)",
        report.not_stopped, report.length_ratio, report.odd_lengths, report.audible_ms_p50, report.audible_ms_max,
    )  # fmt: skip
    speed = measure_speed(model, decoder, sentences[:SPEED_SENTENCES])
    LOG.info("evaluate: one thread, RTF %.2f, first chunk %.1f ms", speed.rtf, speed.first_chunk_ms)
    _show("codec", evaluate_codec(plan.work, plan.settings.codec, decoder, sentences, judge))
    _show("teacher", evaluate_teacher(sentences, judge))
    wrong = zip(sentences, report.verdict.heard, report.verdict.errors, strict=True)
    for wanted, heard, errors in sorted(wrong, key=lambda item: -item[2])[:10]:
        if errors:
            LOG.info("evaluate: %d errors: %r heard as %r", errors, wanted, heard)


def _show(name: str, verdict: Verdict) -> None:
    LOG.info(
        "evaluate: %-8s n %d  WER %.2f %%  CER %.2f %%  exact %d",
        name, verdict.num_sentences, 100 * verdict.wer, 100 * verdict.cer, verdict.num_exact,
    )  # fmt: skip
