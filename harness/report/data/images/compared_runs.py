"""Choose the two runs that the gallery and the maps show side by side.

They are the baseline and the best other trial, both at the lowest seed that both have finished. The
best trial is chosen on validation classes, never on test classes. Only runs on the
same data can be compared image by image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.data.study_data import StudyTables, TrialRow, View
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

_RUNS = """
SELECT member.trial_id, member.seed, run_id, coalesce(run.data, '')
FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
WHERE trial.study = $study AND run.state = 'done' AND trial.pruned IS NULL
    AND member.fold <= 1  -- of a seed with folds, the run of the first one
    AND run_id IN (SELECT run_id FROM queries UNION SELECT run_id FROM projection)
ORDER BY trial.number, member.seed
"""


@dataclass(frozen=True, slots=True)
class ShownRun:
    """One of the runs shown."""

    trial: TrialRow
    run_id: str
    role: str
    """``baseline``, ``best``, or ``best other`` where the baseline is the best."""


@dataclass(frozen=True, slots=True)
class ShownRuns:
    """The runs of the baseline and of the best trial, or the only one that exists."""

    runs: tuple[ShownRun, ...]
    seed: int
    shared_seeds: tuple[int, ...]
    """Seeds that all of these trials have finished on the same data."""
    chosen_by: str
    """The split on which the best trial was chosen."""


def choose_runs(con: Connection, tables: StudyTables) -> ShownRuns | None:
    """Choose the runs to show; None if no run has written what its queries found."""
    found: dict[str, dict[int, tuple[str, str]]] = {}
    for trial_id, seed, run_id, data in read_rows(con, _RUNS, {"study": tables.study.name}):
        found.setdefault(trial_id, {})[seed] = (run_id, data)
    view = View("val", tables.study.metric)
    if view not in tables.views:  # a published protocol has no validation classes
        view = tables.primary or view
    ranked = [trial for trial in tables.ranked(view) if trial.trial_id in found]
    baseline = tables.baseline
    if baseline is None or baseline.trial_id not in found:
        return _shown(ranked[:1], ("best",), found, view.split)
    others = [trial for trial in ranked if trial != baseline]
    role = "best" if others and ranked[0] == others[0] else "best other"
    for other in others:
        shown = _shown([baseline, other], ("baseline", role), found, view.split)
        if shown is not None:
            return shown
    return _shown([baseline], ("baseline",), found, view.split)


def _shown(
    trials: Sequence[TrialRow],
    roles: Sequence[str],
    found: Mapping[str, Mapping[int, tuple[str, str]]],
    split: str,
) -> ShownRuns | None:
    """Return the trials' runs at their lowest shared seed; None if they share none."""
    if not trials:
        return None
    of_each = [found[trial.trial_id] for trial in trials]
    seeds = [
        seed
        for seed in sorted(set.intersection(*map(set, of_each)))
        if len({runs[seed][1] for runs in of_each}) == 1  # the same data
    ]
    if not seeds:
        return None
    runs = tuple(
        ShownRun(trial, of_trial[seeds[0]][0], role)
        for trial, role, of_trial in zip(trials, roles, of_each, strict=True)
    )
    return ShownRuns(runs, seeds[0], tuple(seeds), split)
