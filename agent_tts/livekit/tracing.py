"""OpenTelemetry spans of one utterance, below the framework's `tts_request_run`. Ids and numbers, never text."""

from __future__ import annotations

import time
from dataclasses import asdict

from livekit.agents.telemetry import tracer
from opentelemetry import context as otel_context

from agent_tts.types import TtsMetrics

NS_PER_MS = 1_000_000


class UtteranceTrace:
    """Remembers where an utterance began, and writes its spans when its metrics are known.

    agent_tts.utterance       opened -> engine released it; every metric as an attribute
      agent_tts.first_chunk   first text -> first playable chunk
      agent_tts.abort         abort called -> engine released it
    """

    def __init__(self) -> None:
        self._parent = otel_context.get_current()
        self._opened_ns = time.time_ns()

    def end(self, metrics: TtsMetrics) -> None:
        now = time.time_ns()
        attributes = {
            f"agent_tts.{name}": value.value if name == "finish_reason" else value
            for name, value in asdict(metrics).items()
            if value is not None
        }
        span = tracer.start_span(
            "agent_tts.utterance", context=self._parent, start_time=self._opened_ns, attributes=attributes
        )
        with tracer.use_span(span, end_on_exit=False):
            if metrics.ttfa_playable_ms is not None:
                self._child("agent_tts.first_chunk", self._opened_ns, metrics.ttfa_playable_ms)
            if metrics.cancellation_latency_ms is not None:
                begin = now - int(metrics.cancellation_latency_ms * NS_PER_MS)
                self._child("agent_tts.abort", begin, metrics.cancellation_latency_ms)
        span.end(end_time=now)

    @staticmethod
    def _child(name: str, start_ns: int, duration_ms: float) -> None:
        tracer.start_span(name, start_time=start_ns).end(end_time=start_ns + int(duration_ms * NS_PER_MS))
