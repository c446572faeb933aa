"""Voices for an evaluation, made of nothing but this package: the bundled voice reads, and what it read is added.

The whole way a user's recording goes: a WAV file, `agent-tts voices add`, the checkpoint's own encoder, the store. Each
voice reads another text, so their codes differ; they sound alike, which no cache knows.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from agent_tts import Engine, EngineConfig, SamplingParams
from agent_tts.audio.wav import WavWriter
from agent_tts.cli import main as agent_tts
from agent_tts.errors import VoiceError
from evals.outcome import progress
from evals.texts import text_of_words

WORDS_PER_S = 3.8
"""Of the bundled voice, which reads fast."""
UNPACED_MS = 600_000.0


def make_voices(config: EngineConfig, folder: Path, *, count: int, seconds: float, seed: int) -> list[str]:
    """Add `count` voices of about so many seconds to `config.voices_dir`, for `config.model`; their names.

    Raises:
        VoiceError: One could not be added; the reason has been printed.
    """
    texts = [text_of_words(seed + number, round(seconds * WORDS_PER_S)) for number in range(count)]
    engine_config = folder / "engine.json"  # JSON is YAML
    engine_config.write_text(json.dumps(asdict(config)), encoding="utf-8")
    files = asyncio.run(_read_aloud(texts, folder, seed))
    names = [f"made-{number}" for number in range(1, count + 1)]
    for name, text, audio in zip(names, texts, files, strict=True):
        said = ["--audio", str(audio), "--text", text, "--synthetic"]
        code = agent_tts(["voices", "add", name, "--config", str(engine_config), *said])
        if code != 0:
            raise VoiceError(f"the voice {name} could not be added (exit code {code})")
    return names


async def _read_aloud(texts: list[str], folder: Path, seed: int) -> list[Path]:
    files = []
    async with await Engine.load() as engine:
        for number, text in enumerate(texts, start=1):
            path = folder / f"{number}.wav"
            with WavWriter(path, engine.sample_rate) as file:
                sampling = SamplingParams(seed=seed + number)
                async with engine.utterance(sampling=sampling, lead_ms=UNPACED_MS) as utterance:
                    utterance.push_text(text)
                    utterance.end_text()
                    file.write(np.concatenate([chunk.pcm async for chunk in utterance]))
            files.append(path)
            progress(number, len(texts))
    return files
