"""Warn about tables whose runs used different libraries, devices or number formats.

The view ``circumstances`` decides which runs and which properties count. A run that did not record
a property, as raw pixels record no device, differs from none in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from harness.report.data.study_data import StudyTables
from harness.store.database import Connection
from harness.store.typed_rows import read_rows
from harness.units import shortened

Circumstances: TypeAlias = Mapping[str, str]
"""Name, such as ``torch`` -> value."""
_MOST_VALUES = 4
_MOST_NAMES = 6
_LONGEST = 60


class Compared(NamedTuple):
    """A trial that is compared with the baseline, or with another reference."""

    name: str
    made: Mapping[int, Circumstances]
    """Seed -> circumstances of its finished run."""


class Mixture(NamedTuple):
    """The differences between the runs of a table, in words."""

    kinds: tuple[str, ...]
    """``torch 2.11.0 (20 runs) and 2.15.0 (10 runs)``, one for each thing that differs."""
    consequence: str
    """What that means for the comparisons, in one sentence."""

    @property
    def text(self) -> str:
        """The whole notice, as one paragraph."""
        return f"{OPENING} {'; '.join(self.kinds)}. {self.consequence}"


OPENING = "Not all runs were made in the same environment:"


def read_circumstances(con: Connection, studies: Sequence[str]) -> dict[str, dict[str, str]]:
    """Map run_id to those libraries, devices and formats that differ among the runs."""
    rows = read_rows(
        con,
        "SELECT run_id, what, value FROM circumstances WHERE list_contains($studies, study)"
        " QUALIFY min(value) OVER (PARTITION BY what) < max(value) OVER (PARTITION BY what)",
        {"studies": list(studies)},
    )
    found: dict[str, dict[str, str]] = {}
    for run_id, what, value in rows:
        found.setdefault(run_id, {})[what] = value
    return found


def mixture_of(tables: StudyTables) -> Mixture | None:
    """Describe how the finished runs of a study's table differ; None where they do not."""
    made: dict[str, dict[int, Circumstances]] = {}
    for run in tables.runs:
        if run.state == "done":
            made.setdefault(run.trial_id, {})[run.seed] = run.circumstances
    view, baseline = tables.primary, tables.baseline
    compared = [
        Compared(trial.label, made.get(trial.trial_id, {}))
        for trial in tables.trials
        if view is not None and (view, trial.trial_id) in tables.comparisons
    ]
    reference = {} if baseline is None else made.get(baseline.trial_id, {})
    runs = {run.run_id: run.circumstances for run in tables.runs if run.state == "done"}
    return mixture(runs.values(), compared, reference, "the baseline")


def mixture(
    runs: Iterable[Circumstances],
    compared: Sequence[Compared],
    reference: Mapping[int, Circumstances],
    reference_name: str,
) -> Mixture | None:
    """Describe how runs differ and which comparisons that may affect; None where they do not.

    Args:
        runs: Every run that counts, each once.
        compared: The trials compared with the reference.
        reference: The reference's runs by seed.
        reference_name: Its name in a sentence.
    """
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        for what, value in run.items():
            counts.setdefault(what, Counter())[value] += 1
    mixed = {what: found for what, found in sorted(counts.items()) if len(found) > 1}
    if not mixed:
        return None
    affected = [each.name for each in compared if _is_affected(each.made, reference, mixed)]
    return Mixture(
        tuple(
            f"{_shown(what.replace('_', ' '))} {_values(found)}" for what, found in mixed.items()
        ),
        _consequence(affected, len(compared), reference_name),
    )


def _is_affected(
    made: Mapping[int, Circumstances], reference: Mapping[int, Circumstances], mixed: Iterable[str]
) -> bool:
    """Whether any seed is paired with a run of the reference that differs in any of ``mixed``."""
    return any(
        what in made[seed] and what in reference[seed] and made[seed][what] != reference[seed][what]
        for what in mixed
        for seed in made.keys() & reference.keys()
    )


def _consequence(affected: Sequence[str], compared: int, reference: str) -> str:
    if not compared:
        return "A difference between trials may be due to this."
    if not affected:
        return (
            f"Every run was compared with a run of {reference} in the same environment, so the "
            "differences are not due to this; the means are over runs of different environments."
        )
    if len(affected) == compared:
        which = "The difference" if compared == 1 else "Every difference"
        return f"{which} from {reference} may be due to this."
    names = list(affected[:_MOST_NAMES])
    if more := len(affected) - len(names):
        names.append(f"{more} more")
    which = "The difference" if len(affected) == 1 else "The differences"
    return f"{which} of {_joined(names)} from {reference} may be due to this."


def _values(found: Counter[str]) -> str:
    """Format the values, most frequent first, each with its number of runs."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    shown = [
        f"{_shown(value)} ({count} run{'' if count == 1 else 's'})"
        for value, count in ordered[:_MOST_VALUES]
    ]
    if more := len(ordered) - len(shown):
        shown.append(f"{more} more")
    return _joined(shown)


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _shown(value: str) -> str:
    """Format a value that a workload recorded as a short line."""
    line = " ".join("".join(each if each.isprintable() else " " for each in value).split())
    return shortened(line, _LONGEST)
