"""Scenarios of a call as YAML: who makes which sound at which moment of a reply, and what should follow. Strict.

scenarios:
  - name: steady
    kind: interruption        # a class of its own in every table
    anchor: steady            # reply_start, first_token, first_frame, steady, last_frame, paused
    delay_ms: [400, 1200]     # after the anchor; one event for each value
    clips: ["say:No, wait."]  # one event for each clip and delay; see clips.py
    voices: [middle, deep]    # and for each voice, where the clip is said
    before: "Hello."          # what the caller says before the reply; the agent may learn from it
    expect: yield             # or absent: nothing must happen
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

ANCHORS = ("reply_start", "first_token", "first_frame", "steady", "last_frame", "paused")
EXPECTATIONS = ("yield", "absent")
FOLDER = Path(__file__).parents[2] / "configs" / "evals" / "barge_in"


class ScenarioError(ValueError):
    """A scenario file that says something which is not allowed; the message says what is."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of event.

    Attributes:
        forced: The decision is taken at the anchor itself, without hearing: hits one state of the engine exactly.
        times: How many replies in a row are spoken over (2 = double interruption).
        voices: Who says the clips; empty = the voice they name.
        before: What the caller said before the reply, at `usual_db`; empty = the reply opens the call.
        level_db: Level of the caller's clip, dBFS RMS.
        clip_ms: Cut or make the clip so long.
        echo_db: The agent's own voice comes back into the caller's microphone at this level relative to itself.
        reply_words: Length of the reply that is spoken over.
    """

    name: str
    kind: str
    expect: str
    anchor: str = "steady"
    delay_ms: tuple[float, ...] = (500.0,)
    clips: tuple[str, ...] = ("voiced",)
    voices: tuple[str, ...] = ()
    before: str = ""
    usual_db: float = -23.0
    level_db: float = -23.0
    clip_ms: float | None = None
    echo_db: float | None = None
    reply_words: int = 40
    times: int = 1
    forced: bool = False

    def __post_init__(self) -> None:
        for name, value, allowed in (("anchor", self.anchor, ANCHORS), ("expect", self.expect, EXPECTATIONS)):
            if value not in allowed:
                raise ScenarioError(f"scenario {self.name!r}: {name} is {value!r}; allowed: {', '.join(allowed)}")
        if self.times > 1 and self.expect != "yield":
            raise ScenarioError(f"scenario {self.name!r}: times is {self.times}; only with expect: yield")


@dataclass(frozen=True, slots=True)
class EventPlan:
    """One event to run: a scenario with one of its delays and clips."""

    scenario: Scenario
    delay_ms: float
    clip: str
    number: int

    @property
    def key(self) -> str:
        return f"{self.scenario.name} | +{self.delay_ms:g} ms | {self.clip} | {self.number}"


def load(path: Path) -> list[Scenario]:
    """The scenarios of one file, or of all files of a folder in order of their names."""
    if path.is_dir():
        return [scenario for file in sorted(path.glob("*.yaml")) for scenario in load(file)]
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ScenarioError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict) or list(data) != ["scenarios"]:
        raise ScenarioError(f"{path.name}: one key is needed, 'scenarios'")
    return [_scenario(values, path.name) for values in data["scenarios"]]


def plan(scenarios: list[Scenario], *, repeat: int = 1, clip: str | None = None) -> list[EventPlan]:
    """Every event: each scenario with each delay and each clip, `repeat` times. `clip` replaces made speech.

    Those that only differed in what is said are numbered then, so that every key is there once.
    """
    plans: list[EventPlan] = []
    numbers: Counter[tuple[str, float, str]] = Counter()
    for scenario in repeat * scenarios:
        for delay_ms in scenario.delay_ms:
            for name in _said(scenario):
                used = clip if clip is not None and name.startswith("say") else name
                same = (scenario.name, delay_ms, used)
                plans.append(EventPlan(scenario, delay_ms, used, numbers[same]))
                numbers[same] += 1
    return plans


def _said(scenario: Scenario) -> list[str]:
    """The scenario's clips, those that are said by each of its voices."""
    names = []
    for name in scenario.clips:
        voices = scenario.voices if name.startswith("say:") else ()
        names += [name.replace("say:", f"say@{voice}:", 1) for voice in voices] or [name]
    return names


def _scenario(values: Mapping[str, Any], where: str) -> Scenario:
    known = [item.name for item in fields(Scenario)]
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ScenarioError(f"{where}: unknown key {key!r}.{hint} Allowed: {', '.join(known)}")
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    try:
        return Scenario(**{**values, **lists})
    except TypeError as error:
        raise ScenarioError(f"{where}: {error}") from error
