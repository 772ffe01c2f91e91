"""Export a study as an Optuna journal, which `optuna-dashboard` opens.

A trial's value in Optuna is its mean over seeds. The confirmation of a search is a separate study
in the same file, since it uses other seeds and other classes.
"""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from harness.export.study_runs import as_utc
from harness.store.database import Connection, reading
from harness.store.typed_rows import read_rows
from harness.study.axes import Axis, get_at, matches
from harness.study.spec import VARIANT, StudySpec
from harness.workload import JsonValue

_STUDY = "SELECT question, split_part(metric, '/', -1), spec FROM study WHERE study = $study"
_TRIALS = """
    SELECT
        trials.trial_id, trials.number, trials.trial, trials.phase, trials.role, trial.varied,
        trial.params, trial.variant, trials.mean, sd, low, high, seeds_done, seeds_planned,
        seeds_failed, trials.pruned, timing.started, timing.finished
    FROM trials JOIN trial USING (trial_id)
    LEFT JOIN (
        SELECT trial_id, min(started) AS started, max(finished) AS finished
        FROM member JOIN run USING (run_id) GROUP BY trial_id
    ) AS timing USING (trial_id)
    WHERE trials.study = $study AND trials.role <> 'control'
    ORDER BY trials.number, trials.trial_id
"""
_CURVES = """
    SELECT trial_id, epoch, avg(value ORDER BY member.seed)
    FROM trial JOIN member USING (trial_id) JOIN epoch USING (run_id)
    WHERE study = $study AND name = 'val/' || $metric AND isfinite(value)
    GROUP BY ALL ORDER BY ALL
"""
Choice = int | float | str | None


@dataclass(frozen=True, slots=True)
class _Trial:
    """One of our trials, with what Optuna needs to know about it."""

    number: int
    phase: str
    params: Mapping[str, JsonValue]
    value: float | None
    state: TrialState
    started: datetime | None
    finished: datetime | None
    intermediate: Mapping[int, float]
    attributes: Mapping[str, JsonValue]


def write_journal(results: Path, study: str, file: Path) -> None:
    """Write a journal whose studies hold the trials of ``study``, without its controls.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
        OSError: the disk is full.
    """
    with reading(results) as con:
        [(question, measure, spec)] = read_rows(con, _STUDY, {"study": study})
        axes = StudySpec.model_validate(spec).search
        trials = _trials(con, study, measure, axes)
    storage = JournalStorage(JournalFileBackend(str(file)))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    phases = sorted({trial.phase for trial in trials}, reverse=True)  # search first
    for phase in phases:
        name = study if phase == phases[0] else f"{study} (confirmation)"
        written = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        with warnings.catch_warnings():  # metric names are experimental in Optuna
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            written.set_metric_names([f"{'test' if phase == 'confirm' else 'val'}/{measure}"])
        written.set_user_attr("question", question)
        written.set_user_attr("study", study)
        some = [trial for trial in trials if trial.phase == phase]
        written.add_trials(_frozen(some, _distributions(axes, some)))


def _trials(con: Connection, study: str, measure: str, axes: Mapping[str, Axis]) -> list[_Trial]:
    curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    for trial_id, epoch, value in read_rows(con, _CURVES, {"study": study, "metric": measure}):
        curves[trial_id][epoch] = value
    rows = read_rows(con, _TRIALS, {"study": study})
    return [_trial(row, axes, curves[row[0]]) for row in rows]


def _trial(row: tuple[Any, ...], axes: Mapping[str, Axis], curve: Mapping[int, float]) -> _Trial:
    trial_id, number, label, phase, role, varied, params, variant, mean, *others = row
    sd, low, high, done, planned, failed, pruned, started, finished = others
    if pruned is not None:
        mean, state = None, TrialState.PRUNED
    elif mean is not None:
        state = TrialState.COMPLETE
    elif failed:
        state = TrialState.FAIL
    else:
        state = TrialState.WAITING if started is None else TrialState.RUNNING
    attributes = {
        "label": label,
        "trial_id": trial_id,
        "number": number,
        "role": role,
        "seeds_done": done,
        "seeds_planned": planned,
        "seeds_failed": failed,
        "sd": sd,
        "low": low,
        "high": high,
        "pruned": pruned,
    }
    found: dict[str, JsonValue] = {} if variant is None else {VARIANT: variant}
    found |= varied
    if role == "baseline":
        found = _on_axes(params, axes) | found
    return _Trial(
        number=number,
        phase=phase,
        params=found,
        value=mean,
        state=state,
        started=as_utc(started),
        finished=as_utc(finished),
        intermediate=curve,
        attributes={key: known for key, known in attributes.items() if known is not None},
    )


def _on_axes(params: Mapping[str, JsonValue], axes: Mapping[str, Axis]) -> dict[str, JsonValue]:
    """Return the values of a baseline on those axes whose condition it meets."""
    return {
        key: get_at(params, key)
        for key, axis in axes.items()
        if matches(axis.when or {}, {each: get_at(params, each) for each in axis.when or {}})
    }


def _distributions(
    axes: Mapping[str, Axis], trials: Sequence[_Trial]
) -> dict[str, BaseDistribution]:
    """Map each key to its distribution, wide enough for values outside the axis.

    A baseline may lie outside, and so may trials of an earlier version of the study. A range with
    values that are not numbers becomes a list.
    """
    seen: defaultdict[str, list[JsonValue]] = defaultdict(list)
    for trial in trials:
        for key, value in trial.params.items():
            seen[key].append(value)
    found: dict[str, BaseDistribution] = {}
    for key, values in seen.items():
        axis = axes.get(key)
        range_ = None if axis is None else _range(axis, values)
        if range_ is None:
            listed = (axis.values if axis is not None else None) or []
            range_ = CategoricalDistribution(list(dict.fromkeys(map(_choice, [*listed, *values]))))
        found[key] = range_
    return found


def _range(axis: Axis, values: Sequence[JsonValue]) -> BaseDistribution | None:
    """Return the range that covers an axis and these values; None if there is none."""
    if axis.bounds is None:
        return None
    numbers = [x for x in values if isinstance(x, int | float) and not isinstance(x, bool)]
    if len(numbers) < len(values):
        return None
    low, high = min([*axis.bounds, *numbers]), max([*axis.bounds, *numbers])
    is_log = axis.is_log and low > 0
    if axis.is_whole and all(float(x).is_integer() for x in numbers):
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(low, high, log=is_log)


def _choice(value: JsonValue) -> Choice:
    """Convert a value to an Optuna choice: JSON text for lists, and for true, which equals 1."""
    if isinstance(value, bool | list | dict):
        return json.dumps(value, sort_keys=True)
    return value


def _frozen(
    trials: Iterable[_Trial], distributions: Mapping[str, BaseDistribution]
) -> list[optuna.trial.FrozenTrial]:
    """Convert trials to Optuna's."""
    found = []
    for trial in trials:
        params = {
            key: _choice(value)
            if isinstance(distributions[key], CategoricalDistribution)
            else value
            for key, value in trial.params.items()
        }
        frozen = optuna.create_trial(
            state=trial.state,
            value=trial.value,
            params=params,
            distributions={key: distributions[key] for key in params},
            user_attrs=dict(trial.attributes),
            intermediate_values=dict(trial.intermediate),
        )
        if trial.started is not None:
            frozen.datetime_start = _local(trial.started)
        if trial.state.is_finished():
            ended = trial.finished or trial.started
            frozen.datetime_complete = frozen.datetime_start if ended is None else _local(ended)
        found.append(frozen)
    return found


def _local(time: datetime) -> datetime:
    """Convert a time to Optuna's convention: local time without a time zone."""
    return time.astimezone().replace(tzinfo=None)
