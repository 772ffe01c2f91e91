"""Render what reproduces a study: specification, code, data and queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import yaml

from harness.report.data.study_data import RunRow, StudyTables
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.tables import counted, description_list
from harness.workload import JsonValue

_SHOWN_OF_A_LIST = 12


def provenance_list(tables: StudyTables) -> str:
    """List what runs can differ in; where they do, each value is shown with its number of runs."""
    runs = [run for run in tables.runs if run.code is not None]
    seeds = sorted({run.seed for run in tables.runs})
    items = [
        ("command", _code(tables.study.command)),
        ("study fingerprint", _code(tables.study.fingerprint)),
        ("commit", counted(_commit(run) for run in runs)),
        ("code digest", counted(run.code for run in runs)),
        ("data digest", counted(run.data for run in runs)),
        ("seeds", escaped(_listed(seeds))),
        ("pruned trials", str(len(tables.pruned)) if tables.pruned else ""),
        *((name, counted(values)) for name, values in _facts(runs).items()),
        ("versions", _versions(tables, runs)),
        ("killed and resumed", escaped(tables.verified)),
    ]
    return description_list(items)


def spec_text(tables: StudyTables) -> str:
    """Return the study as YAML, without unset fields."""
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
    """Return commands that query the numbers on the page."""
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


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:_SHOWN_OF_A_LIST])
    more = len(values) - _SHOWN_OF_A_LIST
    return f"{shown}, and {more} more, up to {values[-1]}" if more > 0 else shown


def _facts(runs: Sequence[RunRow]) -> dict[str, list[str]]:
    """Return what the workload recorded for each run, such as device and number format."""
    facts: dict[str, list[str]] = {}
    for run in runs:
        for name, value in run.facts.items():
            if name in {"remarks", "alarms"}:  # shown at the top of the page
                continue
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            facts.setdefault(name.replace("_", " "), []).append(text)
    return dict(sorted(facts.items()))


def _versions(tables: StudyTables, runs: Sequence[RunRow]) -> str:
    """Return the library versions of the runs, or of the study before any run has started."""
    found: Sequence[Mapping[str, JsonValue]] = [run.versions for run in runs if run.versions]
    texts = [
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
        for versions in found or [tables.study.versions]
    ]
    return counted(text for text in texts if text)
