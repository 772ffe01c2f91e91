"""What happens when a study that has results is run with another content.

A study's name stands for its content: one table, one comparison with one baseline, one family of
tests. A changed file under the same name is refused with the difference; what only adds trials or
seeds can be accepted, since every run that is there keeps its meaning. Nothing is ever taken away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from harness.errors import InputError
from harness.records.study_record import StudyRecord, read_study_record
from harness.records.trial import Trial, flat_set
from harness.study.axes import same_value
from harness.study.loading import Loaded
from harness.study.plan import Plan, make_plan
from harness.study.spec import StudySpec
from harness.study.yaml_source import Source
from harness.workload import JsonValue, Workload

FREE = frozenset({"question", "limits", "budget", "train_together"})
"""Fields that change no result: they may be changed at any time."""
_OF_TRIALS = frozenset({"base", "search", "variants", "zip", "forbid", "seeds", "baseline"})
"""Fields of a grid whose changes are judged by the trials and seeds that they make."""
_ORDERED = ("search", "variants")


class Change(NamedTuple):
    """A field that two contents of a study differ in."""

    field: str
    """Dotted."""
    old: JsonValue
    """None: not set."""
    new: JsonValue

    def __str__(self) -> str:
        """Such as ``seeds: 2 -> 4``."""
        return f"{self.field}: {_show(self.old)} -> {_show(self.new)}"


def diff_specs(old: Mapping[str, JsonValue], new: StudySpec) -> tuple[Change, ...]:
    """What has changed since a study was recorded, but for what changes no result.

    Args:
        old: The study as its record has it.
        new: As it is now.
    """
    before, after = _filled(old), new.model_dump(mode="json")
    flat_before, flat_after = flat_set(before), flat_set(after)
    changes = [
        Change(field, flat_before.get(field), flat_after.get(field))
        for field in dict.fromkeys([*flat_before, *flat_after])
        if not same_value(flat_before.get(field), flat_after.get(field))
        and field.partition(".")[0] not in FREE
    ]
    for field in _ORDERED:
        one, other = list(_mapping(before, field)), list(_mapping(after, field))
        if one != other and set(one) == set(other):
            changes.append(Change(f"{field} (order)", [*one], [*other]))
    return tuple(each for each in changes if not _is_in_other_words(each, old, new))


def changes_of(plan: Plan, results: Path) -> tuple[Change, ...]:
    """What has changed since the study of this name was last run into ``results``."""
    record = read_study_record(results, plan.spec.study)
    return () if record is None else diff_specs(record.spec, plan.spec)


def refuse_incompatible(
    plan: Plan, record: StudyRecord | None, results: Path, *, extend: bool
) -> None:
    """Refuse a study that is not the one of this name in ``results``.

    Args:
        plan: The study as it is now.
        record: As it was run before; None where it was not.
        results: The results folder.
        extend: Accept it where it only adds trials or seeds.

    Raises:
        InputError: a line for each difference, and the remedy.
    """
    if record is None or not (changes := diff_specs(record.spec, plan.spec)):
        return
    obstacle = _obstacle(plan, record, changes)
    if obstacle is None and extend:
        return
    where = plan.loaded.source.where(("study",))
    another = "give the changed one another name (in the file, or with --set study=NAME)"
    if obstacle is None:
        remedy = f"it only grows: accept that with --extend, or {another}"
    else:
        remedy = f"{another}; --extend accepts new trials and seeds, but {obstacle}"
    lines = [
        f"{where}: study {plan.spec.study!r} is not the one that is in {results}:",
        *(f"  {change}" for change in changes),
        remedy,
    ]
    raise InputError("\n".join(lines))


def _obstacle(plan: Plan, record: StudyRecord, changes: Iterable[Change]) -> str | None:
    """Why a study is no extension of its record; None where it is one."""
    try:
        old = StudySpec.model_validate(record.spec)
    except ValidationError:
        return "the study in the results is of another version of this program"
    touched = {change.field.partition(".")[0].partition(" ")[0] for change in changes}
    if old.is_fixed and plan.spec.is_fixed:
        if others := sorted(touched - _OF_TRIALS):
            return f"{others[0]} has changed"
        return _lost_of_grid(plan, old, plan.workload)
    allowed = {"trials", "confirm"} | (set() if old.is_adaptive else {"seeds"})
    if others := sorted(touched - allowed):
        return f"{others[0]} has changed, on which the proposals of a search depend"
    return _lost_of_search(plan.spec, old, record)


def _lost_of_grid(plan: Plan, old: StudySpec, workload: Workload) -> str | None:
    """The first thing that a grid no longer has."""
    try:
        before = make_plan(Loaded(old, Source(old.model_dump(mode="json"), {}, "")), workload)
    except InputError:
        return "the workload no longer takes the parameters of the trials that are there"
    kept = {trial.trial_id for trial in plan.fixed}
    if lost := [trial for trial in before.fixed if trial.trial_id not in kept]:
        return f"trial {lost[0].label!r} would be gone"
    if _baseline(before).trial_id != _baseline(plan).trial_id:
        return f"the baseline would be {_baseline(plan).label!r}, not {_baseline(before).label!r}"
    return _lost_seeds(old.seed_list, plan.spec.seed_list)


def _lost_of_search(new: StudySpec, old: StudySpec, record: StudyRecord) -> str | None:
    """The first thing that a search no longer has."""
    if (new.trials or 0) < (old.trials or 0):
        return "there would be fewer trials"
    if lost := _lost_seeds(old.seed_list, new.seed_list):
        return lost
    is_longer = new.trials != old.trials or set(new.seed_list) != set(old.seed_list)
    is_confirmed = any(t.phase == "confirm" and t.role != "control" for t in record.trials)
    if is_longer and is_confirmed:
        return "its winners have been confirmed on the test classes, and they could change"
    if old.confirm is None:
        return None
    if new.confirm is None or new.confirm.top < old.confirm.top:
        return "fewer winners would be confirmed"
    return _lost_seeds(old.confirm_seed_list, new.confirm_seed_list)


def _lost_seeds(old: tuple[int, ...], new: tuple[int, ...]) -> str | None:
    lost = sorted(set(old) - set(new))
    return f"seed {lost[0]} would be gone" if lost else None


def _baseline(plan: Plan) -> Trial:
    return next(trial for trial in plan.fixed if trial.role == "baseline")


def _filled(spec: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """A recorded study with the defaults of fields that are newer than its record."""
    try:
        return StudySpec.model_validate(spec).model_dump(mode="json")
    except ValidationError:  # of another version of this program
        return spec


def _is_in_other_words(change: Change, old: Mapping[str, JsonValue], new: StudySpec) -> bool:
    """Whether seeds are the same ones, given as a number and as a list."""
    if change.field not in ("seeds", "confirm.seeds"):
        return False
    try:
        before = StudySpec.model_validate(old)
    except ValidationError:
        return False
    if change.field == "seeds":
        return set(before.seed_list) == set(new.seed_list)
    return set(before.confirm_seed_list) == set(new.confirm_seed_list)


def _mapping(value: Mapping[str, JsonValue], field: str) -> Mapping[str, JsonValue]:
    inner = value.get(field)
    return inner if isinstance(inner, dict) else {}


def _show(value: JsonValue) -> str:
    return "not set" if value is None else json.dumps(value)
