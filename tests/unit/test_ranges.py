"""The framework versions that are allowed are those whose ends `make test-ranges` runs."""

from __future__ import annotations

import re

import pytest

from tests.ranges import FRAMEWORKS, ROOT, ends, pins


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_what_belongs_together_has_one_range_everywhere_and_its_ends_are_run(name: str) -> None:
    ranges = set().union(*(pins()[package] for package in FRAMEWORKS[name].packages))
    assert len(ranges) == 1, "a range that differs between extras or plugins is one whose end is not tested"
    assert ends(*ranges)["low"].startswith("==")


@pytest.mark.parametrize(("page", "package"), [("pipecat.md", "pipecat-ai"), ("livekit.md", "livekit-agents")])
def test_the_documentation_names_the_range_that_is_allowed(page: str, package: str) -> None:
    (range_,) = pins()[package]
    low, limit = re.fullmatch(r">=([\d.]+),<([\d.]+)", range_).groups()
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"`{package}>={low},<{limit}`" in text


def test_every_test_that_is_named_is_there() -> None:
    for framework in FRAMEWORKS.values():
        assert all((ROOT / path).exists() for path in framework.tests)
