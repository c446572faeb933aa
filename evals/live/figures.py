"""What a run of live events came to, beside the ledger's summary: the figures that only a real line has. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_tts.metrics import BargeInRow
from evals.live.line import Packets
from evals.live.records import Made
from evals.metrics.barge_in import EventResult
from evals.metrics.stats import Spread, spread

SPREADS = {
    "quiet": "onset -> ducked or silent at the ear",
    "vad_to_abort": "VAD start -> abort() called",
    "vad_to_cleared": "VAD start -> transport cleared",
    "decision_to_abort": "decision -> abort() called",
    "paused_to_quiet": "output paused -> silence at the ear",
    "ahead": "generated, never played",
    "response": "caller's last sound -> next reply at the ear",
}


def live_figures(made: Sequence[Made], results: Sequence[EventResult], packets: Packets | None) -> dict[str, Any]:
    """Spreads in ms over the true interruptions, and counts.

    `ahead` is what the lead limit bounds: audio generated less audio that the agent's output had played when it was
    cleared, both counted in samples of the reply. What the ear finds audible is less: a reply begins with silence and
    has silence in it.
    """
    both = [(item, result.row) for item, result in zip(made, results, strict=True) if result.expect == "yield"]
    spreads: dict[str, Spread] = {
        "quiet": spread([quiet_ms(row) for _, row in both]),
        "vad_to_abort": spread([_between(row.vad_s, row.abort_s) for _, row in both]),
        "vad_to_cleared": spread([_between(row.vad_s, row.cleared_s) for _, row in both]),
        "decision_to_abort": spread([_between(row.decision_s, row.abort_s) for _, row in both]),
        "paused_to_quiet": spread([_between(item.paused_s, row.duck_s) for item, row in both if not item.in_a_gap]),
        "response": spread([_between(item.record.caller_end_s, row.next_audio_s) for item, row in both]),
        "ahead": spread([_less(row.generated_ms, item.played_ms) for item, row in both]),
    }
    absent = [result for result in results if result.expect == "absent"]
    return {
        **spreads,
        "pauses_that_met_a_gap": sum(item.in_a_gap for item, _ in both),
        "false_ducks": sum(result.outcome in ("ducked", "stopped") for result in absent),
        "packets": None
        if packets is None
        else {
            "received": packets.received,
            "lost": packets.lost,
            "reordered": packets.reordered,
            "late": packets.late,
            "ms_each": packets.ms_each,
        },
    }


def quiet_ms(row: BargeInRow) -> float | None:
    """Onset -> ducked at the ear; silent, for an agent that does not duck."""
    ducked_ms = row.since_onset_ms("duck_s")
    return row.since_onset_ms("silence_s") if ducked_ms is None else ducked_ms


def _between(start_s: float | None, end_s: float | None) -> float | None:
    return None if start_s is None or end_s is None else 1000 * (end_s - start_s)


def _less(more: float | None, less: float | None) -> float | None:
    return None if more is None or less is None else more - less
