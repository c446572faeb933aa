"""The JSON lines of a set of runs as one Markdown page for docs/results: tables, verdicts, what was not measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from evals.outcome import show

Line = Mapping[str, Any]

STAGES = (
    ("suspicion", "suspicion"),
    ("ducked at the ear", "ducked"),
    ("decision to interrupt", "decision"),
    ("abort() called", "abort"),
    ("silence at the ear", "silence at the ear"),
)


def markdown(title: str, lines: Sequence[Line], not_run: Mapping[str, str]) -> str:
    """The page."""
    parts = [f"# {title}", _environment(lines)]
    makers = {"barge-in": _barge_in, "live": _barge_in, "latency": _latency, "quality": _quality, "prefix": _prefix}
    by_name: dict[str, list[Line]] = {name: [] for name in makers}
    for line in lines:
        by_name.setdefault(line["eval"], []).append(line)
    parts += [f"## {name}\n\n{makers.get(name, _any)(mine)}" for name, mine in by_name.items() if mine]
    failed = [f"- {_name(line)}: {', '.join(_failed(line))}" for line in lines if _failed(line)]
    parts.append("## Gates that failed\n\n" + ("\n".join(failed) or "none"))
    missing = sorted({f"- {line['eval']}, {line['peer']}: {text}" for line in lines for text in line["not_measured"]})
    missing += [f"- not run: `{command}`: {reason}" for command, reason in not_run.items()]
    parts.append("## Not measured\n\n" + ("\n".join(missing) or "nothing"))
    return "\n\n".join(parts) + "\n"


def _environment(lines: Sequence[Line]) -> str:
    if not lines:
        return "nothing ran"
    facts = lines[0]["environment"]
    loads = [line["environment"]["load_average"] for line in lines]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{facts['date']}, commit {facts['commit']}, {facts['cpu']} with {facts['cores']} cores"
        f"{', ' + facts['gpu'] if facts['gpu'] else ''}, {facts['system']}, Python {facts['python']}, {packages}.\n"
        f"Load average after each run: {min(loads)} to {max(loads)}; above {facts['cores']} others computed too."
    )


def _barge_in(lines: Iterable[Line]) -> str:
    header = ("peer", "reaction", "streams", "n", "yield", "selectivity", "penalty ms (95 %)", "findings")
    rows, stages, kinds = [], [], []
    for line in lines:
        figures, config = line["figures"], line["config"]
        penalty = figures["penalty_ms"]
        where = f"{line['peer']}{' (virtual clock)' if config.get('virtual') else ''}"
        rows.append(
            (
                where,
                config["reaction"],
                config.get("streams", 1),
                figures["n"],
                figures["yield_rate"],
                figures["selectivity"],
                "-" if penalty is None else f"{penalty['value']:.0f} ({penalty['low']:.0f} to {penalty['high']:.0f})",
                ", ".join(f"{count} {name}" for name, count in figures["findings"].items()) or "none",
            )
        )
        for kind in figures["kinds"]:
            outcomes = ", ".join(f"{count} {name}" for name, count in kind["outcomes"].items())
            kinds.append(
                (where, config["reaction"], kind["kind"], kind["n"], kind["correct"], outcomes, kind["dip_ms"]["p50"])
            )
        for name, label in STAGES:
            if spread := figures["stages"].get(name):
                stages.append((where, config["reaction"], f"onset to {label}", *_columns(spread)))
        for name, label in (("after_abort_ms", "abort to silence at the ear"), ("release_ms", "abort to released")):
            stages.append((where, config["reaction"], label, *_columns(figures[name])))
        stages.append((where, config["reaction"], "leaked after the decision", *_columns(figures["leaks"]["decision"])))
        stages.append((where, config["reaction"], "next reply's TTFA at the ear", *_columns(figures["next_ttfa_ms"])))
    classes = ("peer", "reaction", "class", "n", "right", "outcomes", "dip p50 ms")
    columns = ("peer", "reaction", "ms", "n", "p50", "p95", "worst")
    return "\n\n".join((_table(header, rows), _table(classes, kinds), _table(columns, stages)))


def _latency(lines: Iterable[Line]) -> str:
    header = ("peer", "load", "n", "bad", "playable p50", "p95", "audible p50", "p95", "planned p95", "text lag p50")
    header += ("rtf p50", "audio-s/s", "underruns", "C50")
    rows = []
    for line in lines:
        fed = "" if line["config"]["feed"] == "once" else ", LLM pace"
        for load, found in line["figures"].items():
            playable, audible = found["ttfa_playable_ms"], found["ttfa_audible_ms"]
            row = (f"{line['peer']}{fed}", load, found["n"], _bad(found), playable["p50"], playable["p95"])
            row += (audible["p50"], audible["p95"], found["ttfa_planned_ms"]["p95"], found["text_lag_ms"]["p50"])
            row += (found["rtf_compute"]["p50"], found["audio_s_per_s"], found["underruns"], found["c50"])
            rows.append(row)
    return _table(header, rows)


def _bad(found: Mapping[str, Any]) -> str:
    """How many replies were bad, and of those that failed why."""
    reasons = ", ".join(f"{count} {name}" for name, count in found.get("errors", {}).items())
    return f"{found['bad']} ({reasons})" if reasons else str(found["bad"])


def _quality(lines: Sequence[Line]) -> str:
    rows = []
    for line in lines:
        for name, found in line["figures"].items():
            if isinstance(found, Mapping) and "wer" in found:
                wer, cer = (_interval(found[rate]) for rate in ("wer", "cer"))
                which = "hard cases" if line["config"]["hard"] else "plain sentences"
                rows.append((line["peer"], which, name, found["n"], found["exact"], wer, cer, found["half_wrong"]))
    scores = [
        (line["peer"], "hard cases" if line["config"]["hard"] else "plain sentences", name, *found)
        for line in lines
        for name, value in line["figures"].items()
        if isinstance(value, Mapping) and value.keys() == {"value", "low", "high"}
        for found in [(value["value"], value["low"], value["high"])]
    ]
    errors = _table(("peer", "sentences", "judge, text", "n", "exact", "WER %", "CER %", "half wrong"), rows)
    return "\n\n".join((errors, _table(("peer", "sentences", "score", "mean", "95 % from", "to"), scores)))


def _prefix(lines: Iterable[Line]) -> str:
    rows = [
        (line["config"]["model"], name, found["n"], found["prompt_tokens"], found["cached_tokens"], found["hit_rate"])
        for line in lines
        for name, found in line["figures"].items()
        if isinstance(found, Mapping)
    ]
    return _table(("model", "turns", "n", "prompt", "cached", "hit rate"), rows)


def _any(lines: Iterable[Line]) -> str:
    """Of an evaluation that this page does not know: every spread and every number, as they are called there."""
    spreads, numbers = [], []
    for line in lines:
        for path, value in _leaves(line["figures"]):
            if isinstance(value, Mapping):
                spreads.append((line["peer"], path, *(value.get(key) for key in ("n", "p50", "p95", "worst"))))
            else:
                numbers.append((line["peer"], path, value))
    tables = [(("peer", "figure", "n", "p50", "p95", "worst"), spreads), (("peer", "figure", "value"), numbers)]
    return "\n\n".join(_table(header, rows) for header, rows in tables if rows)


def _leaves(figures: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Spreads and plain values, with the names on the way to them."""
    for name, value in figures.items():
        here = f"{path}, {name}" if path else name
        if isinstance(value, Mapping) and not {"n", "p50"} <= value.keys():
            yield from _leaves(value, here)
        elif isinstance(value, list | tuple):
            yield here, " / ".join(show(item) for item in value if not isinstance(item, Mapping | list)) or "-"
        else:
            yield here, value


def _interval(rate: Mapping[str, float] | None) -> str:
    return "-" if rate is None else f"{100 * rate['value']:.2f} ({100 * rate['low']:.2f} to {100 * rate['high']:.2f})"


def _columns(spread: Mapping[str, Any]) -> tuple[Any, ...]:
    return spread["n"], spread["p50"], spread["p95"], spread["worst"]


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(show(cell) for cell in row) + " |" for row in rows)])


def _failed(line: Line) -> list[str]:
    return [f"{gate['name']} {gate['count']}" for gate in line["gates"] if not gate["passed"]]


def _name(line: Line) -> str:
    return f"{line['eval']}, {line['peer']}" + (f", {r}" if (r := line["config"].get("reaction")) else "")
