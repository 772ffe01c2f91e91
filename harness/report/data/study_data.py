"""What a report knows of a study, as plain dataclasses; ``tables`` and ``training`` fill them.

Only finished runs count towards a number. A value that is not finite never enters one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.stats.paired import may_show_p
from harness.workload import JsonValue

_BESIDE = ("_last_epoch", "_best_test_epoch")


@dataclass(frozen=True, slots=True)
class Study:
    """What was asked, in the words of the study file."""

    name: str
    question: str
    metric: str
    """The primary measure, such as ``recall@1``."""
    sampler: str
    spec: Mapping[str, JsonValue]
    fingerprint: str
    command: str
    versions: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One parameter setting of the study."""

    trial_id: str
    number: int
    label: str
    phase: str
    role: str
    variant: str | None
    varied: Mapping[str, JsonValue] = field(hash=False)
    is_baseline: bool

    @property
    def is_control(self) -> bool:
        """Whether it is a reference that was not trained, such as raw pixels."""
        return self.role == "control"


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of the study, whatever its state; what is not known yet is None."""

    trial_id: str
    seed: int
    run_id: str
    state: str
    failure: str | None
    message: str | None
    attempts: int
    seconds: float | None
    peak_mib: float | None
    host: str | None
    threads: int | None
    facts: Mapping[str, JsonValue]
    code: str | None
    data: str | None
    commit: str | None
    dirty: bool | None
    versions: Mapping[str, JsonValue]
    stderr: str | None
    is_reused: bool
    """Whether it was finished before this study began: trained for another one."""
    circumstances: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What it was made with, as far as finished runs of the study differ in it."""


@dataclass(frozen=True, slots=True)
class PrunedTrial:
    """A trial that a search has given up; it enters no other table."""

    number: int
    label: str
    reason: str
    seeds_done: int
    """Seeds that were trained to their end."""


@dataclass(frozen=True, slots=True)
class View:
    """One thing that can be looked at: a measure on a split."""

    split: str
    measure: str

    @property
    def key(self) -> str:
        """A name for it in the page, unique in the report."""
        return f"{self.split}|{self.measure}"


@dataclass(frozen=True, slots=True)
class SeedValue:
    """The value that one finished run reached."""

    trial_id: str
    seed: int
    run_id: str
    value: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean over the seeds of a trial; spread and 95 % interval are None for a single seed."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trial minus the baseline, paired by seed."""

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    """None where the pairs are too few for it to be shown, as is ``p_holm``."""
    p_holm: float | None
    better: float | None
    """Probability of improvement: the share of seeds on which the trial is ahead, ties half."""

    @property
    def exploratory(self) -> bool:
        """Whether there are too few pairs for any verdict."""
        return not may_show_p(self.n)


def comparison_of(
    n: int,
    difference: float,
    low: float | None,
    high: float | None,
    *,
    p: float | None,
    p_holm: float | None,
    better: float | None,
) -> Comparison:
    """A comparison as a report may show it: without its p values where pairs are too few."""
    if not may_show_p(n):
        p = p_holm = None
    return Comparison(n, difference, low, high, p, p_holm, better)


@dataclass(frozen=True, slots=True)
class StudyTables:
    """All numbers of a study but its training curves."""

    study: Study
    trials: tuple[TrialRow, ...]
    """In the order of the study; controls last. Those that were pruned are left out."""
    runs: tuple[RunRow, ...]
    """Of these trials."""
    views: tuple[View, ...]
    """Test before val, Recall@K by K, then other scores; empty before the first finished run."""
    values: Mapping[View, tuple[SeedValue, ...]]
    summaries: Mapping[tuple[View, str], Summary]
    """By view and trial_id."""
    comparisons: Mapping[tuple[View, str], Comparison]
    """By view and trial_id; the baseline and trials without a shared seed have none."""
    pruned: tuple[PrunedTrial, ...] = ()
    """What a search has given up, by number."""

    @property
    def is_search(self) -> bool:
        """Whether the trials were proposed from validation scores, so that no claim follows."""
        return all(trial.phase == "search" for trial in self.trials if not trial.is_control)

    @property
    def is_confirmation(self) -> bool:
        """Whether the trials were chosen by a search, and trained again on fresh seeds."""
        return self.study.sampler != "grid" and not self.is_search

    @property
    def phases(self) -> tuple[str, ...]:
        """``search``, ``confirm``, or both, in the order in which they come."""
        found = {trial.phase for trial in self.contenders}
        return tuple(phase for phase in ("search", "confirm") if phase in found)

    def of_phase(self, phase: str) -> StudyTables:
        """The same study as if it had this phase's trials only."""
        ids = {trial.trial_id for trial in self.trials if trial.phase == phase}
        values = {
            view: tuple(value for value in found if value.trial_id in ids)
            for view, found in self.values.items()
        }
        values = {view: found for view, found in values.items() if found}
        return replace(
            self,
            trials=tuple(trial for trial in self.trials if trial.trial_id in ids),
            runs=tuple(run for run in self.runs if run.trial_id in ids),
            views=tuple(view for view in self.views if view in values),
            values=values,
            summaries={key: s for key, s in self.summaries.items() if key[1] in ids},
            comparisons={key: c for key, c in self.comparisons.items() if key[1] in ids},
            pruned=self.pruned if phase == "search" else (),
        )

    @property
    def primary(self) -> View | None:
        """The study's metric on the split that counts; None before the first finished run."""
        of_metric = [view for view in self.views if view.measure == self.study.metric]
        return next(iter([*of_metric, *self.views]), None)

    @property
    def baseline(self) -> TrialRow | None:
        """The trial that the others are compared with."""
        return next((trial for trial in self.trials if trial.is_baseline), None)

    @property
    def contenders(self) -> tuple[TrialRow, ...]:
        """The trials without the controls."""
        return tuple(trial for trial in self.trials if not trial.is_control)

    def ranked(self, view: View | None) -> tuple[TrialRow, ...]:
        """Contenders by their mean, best first.

        Trials with fewer seeds than the most complete one come after it, and those with fewer
        than half are left out: lucky seeds must not lead a table. Ties go to the earlier trial.
        More seeds than the study gives every trial count no more than these.
        """
        if view is None:
            return ()
        found = [(t, s) for t in self.contenders if (s := self.summaries.get((view, t.trial_id)))]
        most = max((summary.n for _, summary in found), default=0)
        planned = self.planned()
        most = min([most, *(planned[trial.trial_id] for trial in self.contenders)])
        ranked = [(trial, summary) for trial, summary in found if 2 * summary.n >= most]
        ranked.sort(key=lambda pair: (pair[1].n < most, -pair[1].mean, pair[0].number))
        return tuple(trial for trial, _ in ranked)

    def planned(self) -> Counter[str]:
        """trial_id -> how many runs the study asks for."""
        return Counter(run.trial_id for run in self.runs)

    def measures(self) -> tuple[str, ...]:
        """The measures that every split has, each once: what a reader can switch between.

        Those at an epoch that nothing chose (``recall@1_last_epoch``) are no choice.
        """
        splits = set(self.splits())
        found: dict[str, set[str]] = {}
        for view in self.views:
            if not view.measure.endswith(_BESIDE):
                found.setdefault(view.measure, set()).add(view.split)
        return tuple(measure for measure, seen in found.items() if seen == splits)

    def chosen_views(self) -> tuple[View, ...]:
        """What a reader can choose: every measure that all splits have."""
        measures = set(self.measures())
        return tuple(view for view in self.views if view.measure in measures)

    def splits(self) -> tuple[str, ...]:
        """The splits of the views, each once."""
        return tuple(dict.fromkeys(view.split for view in self.views))


@dataclass(frozen=True, slots=True)
class FinalRow:
    """A line of the table at the end of a study; numbers are None before a run is finished."""

    trial: str
    role: str
    is_baseline: bool
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    n: int
    planned: int
    """Seeds that the study asks for."""


@dataclass(frozen=True, slots=True)
class FinalTable:
    """The primary measure of every trial, for the terminal."""

    metric: str
    """For a heading: ``Recall@1``."""
    split: str
    rows: tuple[FinalRow, ...]
    note: str
    """In what the runs differ beside what is asked; empty where they were made alike."""
