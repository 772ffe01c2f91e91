"""Dataclasses for the numbers of a study, which ``load`` and ``training`` fill.

Only finished runs count towards a number, and only finite values.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from harness.stats.ablations.designs import Design
from harness.stats.ablations.lattice import Effect
from harness.stats.paired import may_show_p
from harness.workload import JsonValue

SPLIT_NAMES = {"test": "test classes", "val": "validation images"}
_BESIDE = ("_last_epoch", "_best_test_epoch")


@dataclass(frozen=True, slots=True)
class Study:
    """A study, as its file states it."""

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
    """One run of the study, in any state; None for what is not known yet."""

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
    """Whether it finished before this study began, having been trained for another one."""
    fold: int = 0
    """Fold of the training data that it holds out; 0 if they are not cut."""
    circumstances: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Its environment, as far as finished runs of the study differ in it."""


@dataclass(frozen=True, slots=True)
class PrunedTrial:
    """A trial that was pruned; it is in no other table."""

    number: int
    label: str
    reason: str
    seeds_done: int
    """Number of seeds trained to the end."""


def measure_label(measure: str) -> str:
    """Return the usual spelling of a measure: ``recall@1`` -> ``Recall@1``, ``nmi`` -> ``NMI``."""
    known = {"nmi": "NMI", "ami": "AMI", "map@r": "MAP@R", "r_precision": "R-precision"}
    return known.get(measure, re.sub("^recall@", "Recall@", measure))


@dataclass(frozen=True, slots=True)
class View:
    """A measure on a split."""

    split: str
    measure: str

    @property
    def key(self) -> str:
        """Name in the page, unique in the report."""
        return f"{self.split}|{self.measure}"

    @property
    def label(self) -> str:
        """The measure for readers: ``Recall@1``."""
        return measure_label(self.measure)

    @property
    def where(self) -> str:
        """The split for readers: ``test classes``."""
        return SPLIT_NAMES[self.split]

    @property
    def title(self) -> str:
        """For an axis: ``Recall@1, test classes``."""
        return f"{self.label}, {self.where}"

    @property
    def text(self) -> str:
        """For a caption or a sentence: ``Recall@1 on test classes``."""
        return f"{self.label} on {self.where}"


@dataclass(frozen=True, slots=True)
class SeedValue:
    """The value of one finished seed: of its run, or the mean over its folds."""

    trial_id: str
    seed: int
    run_id: str
    """Of the first fold, if there are several."""
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
class OverClasses:
    """The 95 % interval of a difference that covers another draw of classes too."""

    low: float
    high: float
    classes: int | None
    """Number of test classes; None if it is from folds."""
    share: float | None
    """Share of its variance that is due to the classes; None if it is from folds."""
    folds: int | None = None
    """Number of folds of the training classes; None if it is from test classes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A trial minus the baseline, paired by seed."""

    n: int
    difference: float
    low: float | None
    high: float | None
    p: float | None
    """None if there are too few pairs to show it; so is ``p_holm``."""
    p_holm: float | None
    better: float | None
    """Probability of improvement: the share of seeds on which it is ahead; ties count half."""
    over_classes: OverClasses | None = None
    """None for a measure or split whose single queries are not known, and for a single seed."""
    decision: str = ""
    """Of a study with ``stop``: what its looks decided, such as ``better, decided after 9 of 20
    seeds``. There is no p value then, and the interval is a repeated one."""

    @property
    def exploratory(self) -> bool:
        """Whether there are too few pairs for any verdict."""
        return not self.decision and not may_show_p(self.n)


def comparison_of(
    n: int,
    difference: float,
    low: float | None,
    high: float | None,
    p: float | None,
    p_holm: float | None,
    better: float | None,
    over_classes: OverClasses | None = None,
) -> Comparison:
    """Build a comparison for a report, without p values if there are too few pairs."""
    shown = (p, p_holm) if may_show_p(n) else (None, None)
    return Comparison(n, difference, low, high, *shown, better, over_classes)


@dataclass(frozen=True, slots=True)
class SourceShare:
    """The share of the variance between seeds that one source of randomness gives alone."""

    source: str
    """``all`` and ``none`` stand for everything and nothing that varies."""
    n: int
    sd: float
    share: float
    low: float | None
    high: float | None
    """None for ``all``."""


@dataclass(frozen=True, slots=True)
class StudyTables:
    """All numbers of a study except its training curves."""

    study: Study
    trials: tuple[TrialRow, ...]
    """In the order of the study, controls last; pruned trials are left out."""
    runs: tuple[RunRow, ...]
    """Of these trials."""
    values: Mapping[View, tuple[SeedValue, ...]]
    """Test before val, Recall@K by K, then other scores; empty before the first finished run."""
    summaries: Mapping[tuple[View, str], Summary]
    """By view and trial_id."""
    comparisons: Mapping[tuple[View, str], Comparison]
    """By view and trial_id; the baseline and trials without a shared seed have none."""
    pruned: tuple[PrunedTrial, ...] = ()
    """Pruned trials, by number."""
    design: Design | None = None
    """Of an ablation."""
    effects: Mapping[View, tuple[Effect, ...]] = field(default_factory=dict)
    """Of an ablation's components, by view."""
    decisions: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Of a study with ``stop``: trial_id -> what its newest look decided."""
    fold_values: Mapping[tuple[View, str], float] = field(default_factory=dict, hash=False)
    """Of a study with folds: view and run_id -> the value of that fold."""
    variance: Mapping[View, tuple[SourceShare, ...]] = field(default_factory=dict, hash=False)
    """Of a study with ``variance``: all, each source alone, none; by view."""
    verified: str = ""
    """What the last ``harness verify`` found, in a line."""

    @property
    def views(self) -> tuple[View, ...]:
        """The measures on splits that finished runs have, in the order of ``values``."""
        return tuple(self.values)

    @property
    def is_search(self) -> bool:
        """Whether the trials have validation scores only, so that no claim follows.

        A grid with folds is compared on them, and so is no search unless winners are confirmed.
        """
        if self.folds and self.study.sampler == "grid" and not self.study.spec.get("confirm"):
            return False
        return all(trial.phase == "search" for trial in self.trials if not trial.is_control)

    @property
    def folds(self) -> int:
        """Number of folds that each seed of these trials is trained with; 0: data are not cut."""
        return max((run.fold for run in self.runs), default=0)

    @property
    def is_variance(self) -> bool:
        """Whether the study asks where the variance comes from, and so compares no trials."""
        return self.study.spec.get("variance") is not None

    @property
    def is_confirmation(self) -> bool:
        """Whether the trials were chosen by a search, and retrained on fresh seeds."""
        is_sealed = self.study.sampler != "grid" or bool(self.study.spec.get("confirm"))
        return (is_sealed or self.is_chosen) and not self.is_search

    @property
    def is_chosen(self) -> bool:
        """Whether an ablation first chose on validation classes what it then trained."""
        ablate = self.study.spec.get("ablate")
        is_tuned = isinstance(ablate, dict) and bool(ablate.get("tune"))
        return is_tuned or (self.design is not None and self.design.name == "path")

    @property
    def is_grid(self) -> bool:
        """Whether every combination of values was trained, on whichever classes it is scored."""
        return self.study.sampler == "grid" and not self.is_confirmation

    @property
    def phases(self) -> tuple[str, ...]:
        """``search``, ``confirm``, or both, in this order."""
        found = {trial.phase for trial in self.contenders}
        return tuple(phase for phase in ("search", "confirm") if phase in found)

    def of_phase(self, phase: str) -> StudyTables:
        """Return the study as if it had only this phase's trials."""
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
            values=values,
            summaries={key: s for key, s in self.summaries.items() if key[1] in ids},
            comparisons={key: c for key, c in self.comparisons.items() if key[1] in ids},
            pruned=self.pruned if phase == "search" else (),
        )

    @property
    def primary(self) -> View | None:
        """The study's metric on the decisive split; None before the first finished run."""
        of_metric = [view for view in self.views if view.measure == self.study.metric]
        return next(iter([*of_metric, *self.views]), None)

    @property
    def decisive(self) -> View:
        """The primary view, or the one that it will be."""
        is_val = self.is_search or self.folds
        return self.primary or View("val" if is_val else "test", self.study.metric)

    def summary(self, view: View, trial: TrialRow) -> Summary | None:
        """Return a trial's summary; None before its first finished run."""
        return self.summaries.get((view, trial.trial_id))

    def comparison(self, view: View, trial: TrialRow) -> Comparison | None:
        """Return a trial's comparison with the baseline, if they share a seed."""
        return self.comparisons.get((view, trial.trial_id))

    def compared(self, view: View) -> list[Comparison]:
        """Return all comparisons on a view."""
        return [found for (of, _), found in self.comparisons.items() if of == view]

    @property
    def baseline(self) -> TrialRow | None:
        """The trial that the others are compared with."""
        return next((trial for trial in self.trials if trial.is_baseline), None)

    @property
    def contenders(self) -> tuple[TrialRow, ...]:
        """All trials except the controls."""
        return tuple(trial for trial in self.trials if not trial.is_control)

    def ranked(self, view: View | None) -> tuple[TrialRow, ...]:
        """Return the contenders by their mean, best first.

        Trials with fewer seeds than the most complete one come after it, and those with fewer than
        half are left out: lucky seeds must not lead a table. Ties go to the earlier trial. Seeds
        beyond those that the study plans for every trial give no advantage.
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

    def ordered(self, view: View) -> tuple[TrialRow, ...]:
        """Return all trials in table order: as planned, a search best first, controls last."""
        if not self.is_search:
            return self.trials
        return tuple(dict.fromkeys([*self.ranked(view), *self.trials]))

    def planned(self) -> Counter[str]:
        """Count the seeds that the study plans, by trial_id."""
        return Counter(trial_id for trial_id, _ in {(r.trial_id, r.seed) for r in self.runs})

    def measures(self) -> tuple[str, ...]:
        """Return the measures that every split has, which a reader can switch between.

        Those at an epoch that was not selected (``recall@1_last_epoch``) are left out.
        """
        splits = set(self.splits())
        found: dict[str, set[str]] = {}
        for view in self.views:
            if not view.measure.endswith(_BESIDE):
                found.setdefault(view.measure, set()).add(view.split)
        return tuple(measure for measure, seen in found.items() if seen == splits)

    def chosen_views(self) -> tuple[View, ...]:
        """Return the views that a reader can select: every measure that all splits have."""
        measures = set(self.measures())
        return tuple(view for view in self.views if view.measure in measures)

    def splits(self) -> tuple[str, ...]:
        """Return the splits of the views, each once."""
        return tuple(dict.fromkeys(view.split for view in self.views))
