"""The documents that commands print with ``--format json``, one class each.

A field is never renamed or given another meaning; new ones may be added. ``harness schema --of
results`` prints the JSON Schema of these classes, so it cannot differ from what is printed.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, RootModel

from harness.planning.forecast import Forecast

_STABLE = ConfigDict(frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="null")


class _Document(BaseModel):
    """Has no fields besides those it names."""

    model_config = _STABLE | ConfigDict(extra="forbid")


class Checked(_Document):
    """Answer of ``check``: the study is valid, and how large it is."""

    study: str
    file: str
    question: str
    metric: str
    trials: int | None
    """Without controls; null if only a time budget ends the search."""
    controls: int
    seeds: int
    folds: int | None
    """Folds that each seed is trained with; null if the data are not cut."""
    confirmed: int
    """Trials that are trained again on fresh seeds, at most, with the baseline; 0 without
    ``confirm``."""
    confirm_seeds: int
    chosen_by: int
    """Runs by which an ablation chooses what it then trains, at most; 0 for others."""
    runs: int | None
    """Null if only a time budget ends the search."""
    are_at_most: bool
    """Whether trials may be pruned or decided before all their seeds are trained."""
    hours: float | None
    """The time budget, if there is one."""


class Planned(RootModel[Forecast]):
    """Answer of ``plan``: what a study will take, and what it could detect."""

    model_config = _STABLE


class PreviewedRun(_Document):
    """A run that a study needs."""

    trial: str
    seed: int
    run_id: str
    state: Literal["done", "failed", "pruned", "to do"]
    fold: int
    """Fold of the training data that it holds out; 0 if they are not cut."""


class Previewed(_Document):
    """Answer of ``run --dry-run``: the runs that it would train."""

    study: str
    question: str
    runs: tuple[PreviewedRun, ...]
    """In starting order."""
    done: int
    proposed_later: int
    """Trials that the search has yet to propose, at most."""
    confirmed_later: int
    """Runs of a sealed grid's confirmation, at most, if it has not begun."""
    raced_later: int
    """Runs that find the rest of an ablation's path, at most."""
    later_seeds: int
    """Runs that a study with ``stop`` adds for undecided trials, at most."""
    is_open: bool
    """Whether only the time budget limits the number of trials."""
    changes: tuple[str, ...]
    """Differences from the stored study of this name."""


class Model(_Document):
    """Answer of ``best``: a model, and the run that trained it."""

    trial: str
    seed: int
    run_id: str
    score: float | None
    """The metric on validation images; null for a trial that was named and has none."""
    path: str
    """The model's file, or the folder of its run."""


class Row(_Document):
    """A trial in a study's table."""

    trial: str
    number: int
    role: Literal["trial", "baseline", "control"]
    is_baseline: bool
    mean: float | None
    """Of the finished seeds; null if there is none."""
    sd: float | None
    low: float | None
    """Lower end of the 95 % interval; null below two seeds."""
    high: float | None
    n: int
    """Seeds that are finished."""
    planned: int
    """Seeds that are planned."""


class Reported(_Document):
    """Answer of ``report``: the table and the answer of a study."""

    study: str
    metric: str
    label: str
    """The metric as people read it."""
    split: str
    """The classes that are scored: val or test."""
    rows: tuple[Row, ...]
    answer: str
    """The page's first sentence."""
    note: str
    """How the conditions of the runs differ; empty if they do not."""
    decisions: tuple[str, ...]
    """Of a study with ``stop``: a line for each trial."""
    front: str
    """Of a study with several metrics: the trials on its Pareto front; else empty."""
    page: str | None
    """Path of the report; null if none was written."""
    best_model: Model | None


class Problem(_Document):
    """A study whose page could not be written."""

    study: str
    reason: str


class AllReported(_Document):
    """Answer of ``report --all``."""

    index: str
    pages: tuple[str, ...]
    problems: tuple[Problem, ...]


class Forecasted(_Document):
    """How long runs were expected to take, and how long they took."""

    planned_at: str
    total: int
    """Runs of the whole study."""
    runs: int
    """Runs that were still to do."""
    low_s: float
    high_s: float
    spent_s: float
    """Time that the study had taken before."""
    took_s: float | None
    """Null until all of them are done."""


class Ran(_Document):
    """Answer of ``run`` and ``retry``: how many runs ended in which way, and the results."""

    study: str
    total: int
    done: int
    failed: int
    pruned: int
    trained: int
    """Runs that this call has trained to their end."""
    signal: int | None
    """The signal that interrupted the call."""
    is_stored: bool
    """Whether the database is up to date; false only after an interruption."""
    budget_message: str | None
    """What the budget did not cover; null if it covered everything."""
    forecast: Forecasted | None
    """Null until all runs of the study are done, and if none was forecast."""
    results: Reported | None
    """Null if the database is not up to date."""


class ComparedTable(_Document):
    """A table in the uninterrupted study and in the killed one."""

    table: str
    rows: int
    digest: str
    differences: tuple[str, ...]
    """Empty if the tables are equal."""


class StateApart(_Document):
    """Where the training of a killed study parts ways with that of the uninterrupted one."""

    run_id: str
    epoch: int
    parts: tuple[str, ...]
    """What differs after this epoch, such as student or optimizer.0."""


class VerifiedStudy(_Document):
    """Answer of ``verify``: whether a killed study ends like an uninterrupted one."""

    study: str
    kills: dict[str, int]
    """What was killed, and how often."""
    studies: int
    """Folders in which the study was killed and then ran to its end."""
    is_equal: bool
    tables: tuple[ComparedTable, ...]
    kept: str | None
    """Where both studies are kept if they differ."""
    apart: StateApart | None
    """Null if no training state differs, or the workload writes none."""


class Compared(_Document):
    """Answer of ``compare``: the page that was written."""

    studies: tuple[str, ...]
    page: str


class Watched(_Document):
    """Answer of ``watch``, printed when the server is up."""

    study: str
    url: str


class Exported(_Document):
    """Answer of ``export``."""

    study: str
    form: str
    said: str
    """Where the export is and what opens it; the table itself if it was not written to a file."""


class ClaimTested(_Document):
    """A claim and what the finished runs say about it."""

    claim: str
    digest: str
    trial: str
    relation: Literal["better_than", "no_worse_than", "same_as"]
    other: str
    metric: str
    margin: float
    verdict: Literal["held", "refuted", "undecided"]
    reason: str
    """Why it is undecided; else empty."""
    difference: float | None
    low: float | None
    high: float | None
    n: int
    planned: int
    p: float | None
    p_holm: float | None
    p_against: float | None
    p_against_holm: float | None
    is_registered: bool
    """Whether it was made before any of its results."""
    noted: str | None
    """When a run first saw it, UTC."""
    known_pairs: int | None
    planned_pairs: int | None


class ClaimsTested(_Document):
    """Answer of ``claims``."""

    study: str
    status: Literal[0, 1, 3]
    """The exit status."""
    claims: tuple[ClaimTested, ...]


class StudyListed(_Document):
    """A study of a results folder."""

    study: str
    question: str
    trials: int
    runs: int
    """Planned so far."""
    done: int
    failed: int
    pruned: int
    metric: str
    sampler: str
    updated: str
    """UTC, as in 2026-01-31T12:00:00."""


class Listed(_Document):
    """Answer of ``ls``."""

    studies: tuple[StudyListed, ...]


class Rebuilt(_Document):
    """Answer of ``rebuild``."""

    results: str
    studies: int
    runs: int
    notices: tuple[str, ...]
    """What could not be read."""


class Inspected(_Document):
    """Answer of ``rebuild --check``."""

    results: str
    studies: int
    runs: int
    problems: tuple[str, ...]
    """A line for each damaged file."""


class Rows(RootModel[list[dict[str, JsonValue]]]):
    """Answer of ``sql``: a mapping for each row; numbers that are not finite are null."""

    model_config = _STABLE


class SomeRows(_Document):
    """Answer of the tool ``sql``: a mapping for each row."""

    rows: list[dict[str, JsonValue]]
    left_out: int
    """Rows beyond the most that a tool answers with."""


class RunStarted(_Document):
    """Answer of the tool ``run``."""

    study: str
    is_running: bool
    """Whether the study goes on in the background."""
    ended: Ran | None
    """What ``harness run`` answered; its results are without shut test scores."""


class Status(_Document):
    """Answer of the tool ``status``."""

    studies: tuple[StudyListed, ...]
    open: tuple[str, ...]
    """Studies whose test scores are shown, because they are confirmed."""
    running: str | None
    """The study that this server is running."""


class Message(_Document):
    """A line on standard error: a notice, or the error that ended the command."""

    kind: Literal["notice", "error"]
    text: str
    status: int | None
    """The exit status, if this is an error."""


Answer = _Document | Planned | Rows
ANSWERS: dict[str, type[BaseModel]] = {
    "best": Model,
    "check": Checked,
    "claims": ClaimsTested,
    "compare": Compared,
    "export": Exported,
    "ls": Listed,
    "plan": Planned,
    "rebuild": Rebuilt,
    "rebuild-check": Inspected,
    "report": Reported,
    "report-all": AllReported,
    "retry": Ran,
    "run": Ran,
    "run-dry-run": Previewed,
    "sql": Rows,
    "verify": VerifiedStudy,
    "watch": Watched,
}
"""Command, with its option if that changes the answer -> its document."""


def as_json(answer: Answer) -> str:
    """Return the document as text."""
    return json.dumps(answer.model_dump(mode="json"), indent=2, ensure_ascii=False)
