"""The arithmetic of what an AudioSource still holds."""

from __future__ import annotations

import pytest

pytest.importorskip("livekit.agents", reason="needs LiveKit Agents: pip install 'agent-tts[livekit]'")

from agent_tts.livekit.queue_level import QueueLevel
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def level(clock: FakeClock) -> QueueLevel:
    made = QueueLevel(clock)
    made.saw_tick()
    clock.advance_ms(5)
    return made


def test_each_tick_takes_10_ms(level: QueueLevel, clock: FakeClock) -> None:
    level.pushed(0.04)
    seen = []
    for _ in range(6):
        seen.append(round(1000 * level.seconds()))
        clock.advance_ms(10)
    assert seen == [40, 30, 20, 10, 0, 0]


def test_an_empty_source_owes_nothing_to_the_next_push(level: QueueLevel, clock: FakeClock) -> None:
    level.pushed(0.02)
    clock.advance_ms(500)
    level.pushed(0.02)
    assert level.seconds() == pytest.approx(0.02)


def test_a_tick_that_may_not_have_happened_yet_does_not_count(level: QueueLevel, clock: FakeClock) -> None:
    level.pushed(0.02)
    clock.advance_ms(6)  # a tick was due 1 ms ago
    assert level.seconds() == pytest.approx(0.02)  # else a cut just now could lose 10 ms
    clock.advance_ms(1)
    assert level.seconds() == pytest.approx(0.01)


def test_cleared_is_empty(level: QueueLevel) -> None:
    level.pushed(0.04)
    level.cleared()
    assert level.seconds() == 0.0
