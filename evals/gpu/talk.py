"""Sections about waiting and stopping: the first frame behind a cached voice, and how soon an abort is released."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from agent_tts.engine import Engine, Utterance
from evals.gpu.lab import VOICE, Lab
from evals.gpu.model import SENTENCE
from evals.metrics.stats import spread

LONG_TEXT = (SENTENCE + " ") * 100
Figures = dict[str, Any]


def first_frame(lab: Lab) -> Figures:
    """One step: the 20-word sentence prefilled behind a 20 s voice that is in the KV already, and its first frame.

    By the wall, from the plan in hand to PCM on the host; alone, and in one step with neighbours who go on by a frame.
    """
    layout, drive = lab.built.layout, lab.drive
    ask = layout.ask(SENTENCE)
    found: Figures = {"new_columns": len(ask)}
    for neighbours in sorted({0, *(rows - 1 for rows in lab.effort.batches)}):
        speakers = lab.speakers(neighbours + 1)
        position = len(layout.voice([lab.built.voice()]))
        taken = []
        for _ in range(lab.effort.repeats // 4 + 3):
            fresh = drive.again(speakers[0], ask, position)
            lab.clock.wait()
            begin = time.perf_counter()
            drive.step([fresh, *speakers[1:]])
            taken.append(1e3 * (time.perf_counter() - begin))
            assert fresh.frames or fresh.results[-1].segment_done, "the step made no frame"
        found[f"neighbours_{neighbours}_ms"] = spread(taken[3:]).as_dict()
    lab.leave()  # the first one was replaced
    return found


def engine(lab: Lab) -> Figures:
    """The engine as callers have it: first text -> first chunk, abort() -> everything released; idle and under load.

    Under load all other slots but one generate without a lead limit. Clocks are the utterances' own (TtsMetrics).
    """
    lab.leave()
    return asyncio.run(_talk(lab))


async def _talk(lab: Lab) -> Figures:
    async with Engine.from_runner(lab.runner, lab.config) as running:
        await running.warm([VOICE])
        idle = await _utterances(running, lab.effort.utterances)
        crowd = [_open(running, LONG_TEXT, lead_ms=1e9) for _ in range(lab.config.max_slots - 1)]
        for utterance in crowd:
            async for _ in utterance:
                break
        begin, before = time.perf_counter(), sum(utterance.generated_ms for utterance in crowd)
        loaded = await _utterances(running, lab.effort.utterances)
        seconds = time.perf_counter() - begin
        audio_s = (sum(utterance.generated_ms for utterance in crowd) - before) / 1e3
        for utterance in crowd:
            utterance.abort()
        metrics = [await utterance.released() for utterance in crowd]
        stats = running.stats()
    return {
        "idle": idle,
        "load": loaded | {"streams": len(crowd), "audio_s_per_s": audio_s / seconds},
        "abort_all_ms": spread([one.cancellation_latency_ms for one in metrics]).as_dict(),
        "pages_held_after": stats.total_pages - stats.free_pages - stats.cached_pages,
    }


async def _utterances(running: Engine, times: int) -> Figures:
    """One after the other: first chunk taken, then aborted."""
    first, released, cached = [], [], []
    for _ in range(times):
        utterance = _open(running, SENTENCE)
        async for _ in utterance:
            break
        metrics = await utterance.abort().released()
        first.append(metrics.ttfa_playable_ms)
        released.append(metrics.cancellation_latency_ms)
        cached.append(metrics.cached_tokens / metrics.prompt_tokens)
    return {
        "ttfa_playable_ms": spread(first).as_dict(),
        "abort_to_released_ms": spread(released).as_dict(),
        "cached_share": min(cached),
    }


def _open(running: Engine, text: str, lead_ms: float | None = None) -> Utterance:
    utterance = running.utterance(voice=VOICE, lead_ms=lead_ms)
    utterance.push_text(text)
    utterance.end_text()
    return utterance
