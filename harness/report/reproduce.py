"""How a study is run and queried again: specification, code, data, machines and costs as HTML."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import yaml

from harness.report.markup import escaped
from harness.report.numbers import RunRow, StudyTables
from harness.workload import JsonValue

_SHOWN_OF_A_LIST = 12


def provenance_list(tables: StudyTables) -> str:
    """Everything that two runs could differ in; what differs is listed with its count."""
    runs = [run for run in tables.runs if run.code is not None]
    seeds = sorted({run.seed for run in tables.runs})
    items = [
        ("command", _code(tables.study.command)),
        ("study fingerprint", _code(tables.study.fingerprint)),
        ("commit", _counted(_commit(run) for run in runs)),
        ("code digest", _counted(run.code for run in runs)),
        ("data digest", _counted(run.data for run in runs)),
        ("seeds", escaped(_listed(seeds))),
        ("runs", escaped(_states(tables.runs))),
        ("pruned trials", str(len(tables.pruned)) if tables.pruned else ""),
        ("time in runs", escaped(_seconds(runs))),
        ("peak memory", escaped(_peak(runs))),
        ("host", _counted(run.host for run in runs)),
        ("threads a run", _counted(run.threads for run in runs)),
        *((name, _counted(values)) for name, values in _facts(runs).items()),
        ("versions", _versions(tables, runs)),
    ]
    shown = [f"<dt>{escaped(name)}</dt><dd>{text}</dd>" for name, text in items if text]
    return f"<dl>{''.join(shown)}</dl>"


def spec_text(tables: StudyTables) -> str:
    """The study as YAML, without what was left open."""
    spec = {key: value for key, value in tables.study.spec.items() if value not in (None, {}, [])}
    search = spec.get("search")
    if isinstance(search, dict):
        spec["search"] = {key: _given(axis) for key, axis in search.items()}
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, width=100)


def _given(axis: JsonValue) -> JsonValue:
    if not isinstance(axis, dict):
        return axis
    return {key: value for key, value in axis.items() if value is not None}


def query_examples(study: str) -> str:
    """Commands that give the numbers of the page again."""
    quoted = study.replace("'", "''")
    return "\n".join(
        f'harness sql "{sql}"'
        for sql in (
            f"SELECT trial, split, k, mean, sd, low, high, n FROM summary WHERE study = '{quoted}'",
            "SELECT trial, split, metric, difference, low, high, p, p_holm"
            f" FROM comparisons WHERE study = '{quoted}'",
            f"SELECT trial, seed, epoch, name, value FROM curves WHERE study = '{quoted}'",
            f"SELECT trial, seed, failure, message FROM failures WHERE study = '{quoted}'",
        )
    )


def _commit(run: RunRow) -> str | None:
    if run.commit is None:
        return None
    return run.commit + (" with uncommitted changes" if run.dirty else "")


def _code(text: str) -> str:
    return f"<code>{escaped(text)}</code>" if text else ""


def _counted(values: Iterable[object]) -> str:
    """The distinct values, the most frequent first, with their counts where there are several."""
    counts = Counter(str(value) for value in values if value is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= 1:
        return "".join(escaped(text) for text, _ in ordered)
    shown = [f"{text} ({count} runs)" for text, count in ordered[:_SHOWN_OF_A_LIST]]
    if len(ordered) > _SHOWN_OF_A_LIST:
        shown.append(f"and {len(ordered) - _SHOWN_OF_A_LIST} more")
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in shown)}</ul>"


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN_OF_A_LIST])
    more = len(values) - _SHOWN_OF_A_LIST
    return f"{shown}, and {more} more, up to {values[-1]}" if more > 0 else shown


def _states(runs: Sequence[RunRow]) -> str:
    counts = Counter(run.state for run in runs)
    shown = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    if reused := sum(run.is_reused for run in runs):
        shown += f"; {reused} of them trained earlier for another study, and reused"
    return shown


def _seconds(runs: Sequence[RunRow]) -> str:
    found = [run.seconds for run in runs if run.seconds is not None]
    if not found:
        return ""
    total = sum(found)
    shown = f"{total:.0f} s" if total < 600 else f"{total / 3600:.2f} h"
    longest = f"{max(found):.1f} s at most"
    return f"{shown} in all; a run {statistics.median(found):.1f} s (median), {longest}"


def _peak(runs: Sequence[RunRow]) -> str:
    found = [run.peak_mib for run in runs if run.peak_mib is not None]
    return f"{max(found):.0f} MiB at most in a run" if found else ""


def _facts(runs: Sequence[RunRow]) -> dict[str, list[str]]:
    """What the workload recorded of each run: device, number format."""
    facts: dict[str, list[str]] = {}
    for run in runs:
        for name, value in run.facts.items():
            if name in {"remarks", "alarms"}:  # said at the top of the page
                continue
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            facts.setdefault(name.replace("_", " "), []).append(text)
    return dict(sorted(facts.items()))


def _versions(tables: StudyTables, runs: Sequence[RunRow]) -> str:
    """Library versions of the runs, or of the study before any has started."""
    found: Sequence[Mapping[str, JsonValue]] = [run.versions for run in runs if run.versions]
    texts = [
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        for versions in found or [tables.study.versions]
    ]
    return _counted(text for text in texts if text)
