"""What a demo leaves: the conversation and the ledger as text, conversation.wav, report.html, ledger.json."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soxr

from agent_tts import TtsMetrics
from agent_tts.metrics import STAGES, BargeInRow, Ledger
from agents.demo.analysis import Check, Recording, Story
from agents.demo.conversation import Record, Reply
from agents.demo.speech import write_wav
from evals.pages.call import CallReport, Moment, Turn, write_report

WAV_RATE = 24_000
REPORT_RATE = 16_000


def conversation_text(turns: list[Turn]) -> str:
    """Who said what; what of a reply was never heard is in brackets."""
    lines = []
    for turn in turns:
        at = "" if turn.at_s is None else f"{turn.at_s:5.1f} s"
        lines.append(
            f"{at:>8}  {turn.who:<7} {turn.text}" + (f" [never heard: {turn.unheard}]" if turn.unheard else "")
        )
    return "\n".join(lines)


def turns_of(recording: Recording, record: Record, story: Story) -> list[Turn]:
    """Questions as they were understood and replies as they were heard, in the order they began."""
    turns = []
    for index, text in enumerate(record.questions):
        ended_s = story.question_ends_s[index] if index < len(story.question_ends_s) else None
        turns.append((ended_s, Turn("caller", text, at_s=_offset(recording, ended_s))))
    for index, reply in enumerate(record.replies):
        began_s = story.reply_starts_s[index] if index < len(story.reply_starts_s) else None
        turns.append((began_s, Turn("agent", *_heard(reply), at_s=_offset(recording, began_s))))
    return [turn for _, turn in sorted(turns, key=lambda item: item[0] if item[0] is not None else float("inf"))]


def speed_table(record: Record, story: Story) -> str:
    """TTFA and RTF of each reply."""
    lines = [f"{'reply':<8}{'first chunk':>12}{'audible':>10}{'RTF':>7}{'spoken':>10}{'heard after':>14}  finish"]
    for index, reply in enumerate(record.replies, 1):
        if (metrics := reply.metrics) is None:
            continue
        started_s = story.reply_starts_s[index - 1] if index <= len(story.reply_starts_s) else None
        before_s = [end_s for end_s in story.question_ends_s if started_s is not None and end_s < started_s]
        felt = f"{1000 * (started_s - before_s[-1]):.0f} ms" if started_s is not None and before_s else "-"
        rtf = "-" if metrics.rtf is None else f"{metrics.rtf:.2f}"
        lines.append(
            f"{index:<8}{_ms(metrics.ttfa_playable_ms):>12}{_ms(metrics.ttfa_audible_ms):>10}{rtf:>7}"
            f"{metrics.delivered_audio_ms / 1000:>8.1f} s{felt:>14}  {metrics.finish_reason.value}"
        )
    return "\n".join(
        [*lines, "first chunk: first text -> first 20 ms; heard after: end of the question -> first sound at the ear"]
    )


def write_all(
    folder: Path, recording: Recording, record: Record, story: Story, verdict: list[Check], models: dict[str, str]
) -> None:
    """conversation.wav, report.html and ledger.json in `folder`."""
    caller, agent = (soxr.resample(pcm, recording.rate, WAV_RATE) for pcm in (recording.mouth, recording.ear))
    write_wav(folder / "conversation.wav", np.stack([caller, agent], 1), WAV_RATE)
    rows = [row for row in story.rows if row is not None]
    facts = models | machine()
    (folder / "ledger.json").write_text(result_json(rows, record, verdict, facts), encoding="utf-8")
    report = CallReport(
        title="A conversation in which the agent is interrupted",
        sample_rate=REPORT_RATE,
        caller=soxr.resample(recording.mouth, recording.rate, REPORT_RATE),
        agent=soxr.resample(recording.ear, recording.rate, REPORT_RATE),
        turns=turns_of(recording, record, story),
        interruptions=[_moments(recording, row) for row in rows],
        checks=[(check.name, check.passed, check.detail) for check in verdict],
        tables=[("Barge-in ledger", Ledger(rows).table()), ("Replies", speed_table(record, story))],
        facts=facts,
    )
    write_report(folder / "report.html", report)


def result_json(rows: list[BargeInRow], record: Record, verdict: list[Check], facts: dict[str, str]) -> str:
    """One object for scripts."""
    replies = [_plain(reply.metrics) for reply in record.replies if reply.metrics is not None]
    checks = {check.name: check.passed for check in verdict}
    return json.dumps(
        {"checks": checks, "ledger": json.loads(Ledger(rows).to_json()), "replies": replies, "facts": facts}
    )


def machine() -> dict[str, str]:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    date = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "load": load, "date": date}


def _plain(metrics: TtsMetrics) -> dict[str, object]:
    return asdict(metrics) | {"finish_reason": metrics.finish_reason.value}


def _heard(reply: Reply) -> tuple[str, str]:
    """What of a reply was heard, and the rest of what was to be said."""
    if reply.heard is None or not reply.interrupted:
        return reply.said.strip(), ""
    words, heard = reply.said.split(), reply.heard.split()
    return reply.heard.strip(), " ".join(words[len(heard) :])


def _moments(recording: Recording, row: BargeInRow) -> list[Moment]:
    stages = [("onset_s", "the caller's first sound"), *STAGES]
    seen = [(getattr(row, name), label) for name, label in stages]
    moments = [Moment(at_s - recording.start_s, label) for at_s, label in seen if at_s is not None]
    return [moments[0], *sorted(moments[1:], key=lambda moment: moment.at_s)]


def _offset(recording: Recording, at_s: float | None) -> float | None:
    return None if at_s is None else at_s - recording.start_s


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
