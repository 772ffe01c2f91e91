"""Enumerates the trials of a grid, and checks the axes and the baseline of any study."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from harness.errors import InputError, nearest
from harness.records.trial import Trial, digest
from harness.study.axes import same_value
from harness.study.loading import Loaded
from harness.study.spec import VARIANT, StudySpec
from harness.study.trials.conditions import (
    Filled,
    Varied,
    is_active,
    is_forbidden,
    setting_for,
    with_conditional,
)
from harness.study.trials.single_trial import label_of, make_trial
from harness.workload import Workload

MOST_TRIALS = 100_000


def units(spec: StudySpec) -> list[tuple[str, ...]]:
    """Return the axes in file order, grouped by ``zip``, each after the axes that it depends on."""
    tied = {key: tuple(keys) for keys in spec.zip for key in keys}
    waiting = list(dict.fromkeys(tied.get(key, (key,)) for key in spec.search))
    ordered: list[tuple[str, ...]] = []
    while waiting:
        placed = {key for unit in ordered for key in unit}
        ready = next(
            (unit for unit in waiting if _needs(spec, unit) & spec.search.keys() <= placed), None
        )
        if ready is None:
            keys = ", ".join(key for unit in waiting for key in unit)
            raise InputError(
                f"search: the conditions of {keys} depend on each other; break the cycle"
            )
        ordered.append(ready)
        waiting.remove(ready)
    return ordered


def make_grid(loaded: Loaded, workload: Workload, filled: Filled) -> tuple[Trial, ...]:
    """Make every trial of a grid, one of them the baseline.

    Raises:
        InputError: there are none or too many, two are the same, or the baseline is not among them.
    """
    spec = loaded.spec
    total = len(spec.variants) or 1
    for unit in units(spec):
        total *= len(spec.search[unit[0]].values or [])
    if total > MOST_TRIALS:
        where = loaded.source.where(("search",))
        raise InputError(f"{where}: search: {total:,} combinations; the most is {MOST_TRIALS:,}")
    combinations: dict[str, Varied] = {}
    for varied in _combinations(spec, filled):
        if not is_forbidden(spec, varied):
            combinations.setdefault(digest(varied), varied)  # inactive axes leave duplicates
    if not combinations:
        raise InputError(f"{loaded.source.where(('forbid',))}: forbid: leaves no trial")
    trials: list[Trial] = []
    seen: dict[str, Trial] = {}
    for number, varied in enumerate(combinations.values()):
        trial = make_trial(loaded, workload, number, varied, "trial")
        if (twin := seen.setdefault(trial.trial_id, trial)) is not trial:
            raise InputError(
                f"{_place(loaded, varied)}: {trial.label!r} has the same parameters as "
                f"{twin.label!r}; remove one of them"
            )
        trials.append(trial)
    chosen = _find_baseline(loaded, list(combinations.values()))
    trials[chosen] = dataclasses.replace(trials[chosen], role="baseline")
    return tuple(trials)


def _combinations(spec: StudySpec, filled: Filled) -> Iterator[Varied]:
    """Yield all combinations in file order: variants outermost, the last axis fastest."""
    variants: Sequence[str | None] = list(spec.variants) or [None]
    for variant in variants:
        start: Varied = {} if variant is None else {VARIANT: variant}
        yield from _extend(spec, filled, start, units(spec))


def _extend(
    spec: StudySpec,
    filled: Filled,
    varied: Varied,
    left: Sequence[tuple[str, ...]],
) -> Iterator[Varied]:
    if not left:
        yield {key: varied[key] for key in [VARIANT, *spec.search] if key in varied}
        return
    unit, rest = left[0], left[1:]
    if not is_active(spec, spec.search[unit[0]], varied, filled):
        yield from _extend(spec, filled, varied, rest)
        return
    for values in zip(*(spec.search[key].values or [] for key in unit), strict=True):
        yield from _extend(spec, filled, varied | dict(zip(unit, values, strict=True)), rest)


def _find_baseline(loaded: Loaded, combinations: Sequence[Varied]) -> int:
    """Return the position of the baseline among the combinations."""
    baseline = loaded.spec.baseline
    if baseline is None:
        return 0
    wanted = {VARIANT: baseline} if isinstance(baseline, str) else baseline
    where = loaded.source.where(("baseline",))
    varying = {key for varied in combinations for key in varied}
    for key in wanted:
        if key not in varying:
            raise InputError(
                f"{where}: baseline: {key!r} does not vary; {nearest(key, sorted(varying))}"
            )
    found = [
        position
        for position, varied in enumerate(combinations)
        if all(key in varied and same_value(varied[key], value) for key, value in wanted.items())
    ]
    if len(found) == 1:
        return found[0]
    labels = [label_of(loaded.spec, combinations[position]) for position in found]
    if found:
        raise InputError(
            f"{where}: baseline: matches {len(found)} trials ({'; '.join(labels[:4])}); "
            "give a value for every varied parameter"
        )
    there = "; ".join(label_of(loaded.spec, varied) for varied in combinations[:8])
    raise InputError(f"{where}: baseline: matches none of the trials: {there}")


def baseline_of_search(loaded: Loaded) -> Varied:
    """Return the varied values of a search's baseline: none, or those that the study names.

    Raises:
        InputError: the study names something that does not vary.
    """
    spec = loaded.spec
    if isinstance(spec.baseline, str):
        return {VARIANT: spec.baseline}
    if spec.baseline is None:
        return {VARIANT: next(iter(spec.variants))} if spec.variants else {}
    known = {*spec.search, *([VARIANT] if spec.variants else [])}
    for key in spec.baseline:
        if key not in known:
            raise InputError(
                f"{loaded.source.where(('baseline', key))}: baseline: {key!r} does not vary; "
                f"{nearest(key, sorted(known))}"
            )
    if spec.variants and (name := str(spec.baseline.get(VARIANT))) not in spec.variants:
        raise InputError(
            f"{loaded.source.where(('baseline', VARIANT))}: baseline: no variant {name!r}; "
            f"{nearest(name, spec.variants)}"
        )
    return dict(spec.baseline)


def check_axes(loaded: Loaded) -> None:
    """Check the rules that span several fields, such as an axis that a variant overrides.

    Raises:
        InputError: a rule is broken; with file, line and column.
    """
    spec = loaded.spec
    for key in spec.search:
        where = f"{loaded.source.where(('search', key))}: search.{key}"
        if key == VARIANT:
            raise InputError(f"{where}: 'variant' is reserved for variants; rename the parameter")
        if outer := next((other for other in spec.search if key.startswith(f"{other}.")), None):
            raise InputError(f"{where}: lies inside the axis {outer!r}; keep one")
    for name, overrides in spec.variants.items():
        for key in overrides:
            if axis := next((a for a in spec.search if f"{key}.".startswith(f"{a}.")), None):
                where = loaded.source.where(("variants", name, key))
                how = "also" if axis == key else f"inside {axis!r},"
                raise InputError(f"{where}: variants.{name}: {key!r} is {how} an axis; keep one")
    known = {*spec.search, VARIANT}
    for position, rule in enumerate(spec.forbid):
        for key in rule:
            if key not in known:
                where = loaded.source.where(("forbid", position, key))
                raise InputError(
                    f"{where}: forbid: {key!r} does not vary; {nearest(key, sorted(known))}"
                )
    try:
        units(spec)
    except InputError as error:
        raise InputError(f"{loaded.source.where(('search',))}: {error}") from None


def ends_of_axes(loaded: Loaded, workload: Workload, filled: Filled) -> tuple[Trial, ...]:
    """Make a trial for both ends or every choice of each axis of a search, and the axes tied to it.

    Raises:
        InputError: the workload rejects one of them.
    """
    spec = loaded.spec
    found: list[Trial] = []
    for unit in units(spec):
        start = setting_for(spec, spec.search[unit[0]], filled)
        columns = [spec.search[key].values or spec.search[key].bounds or () for key in unit]
        for values in zip(*columns, strict=True):
            varied = start | dict(zip(unit, values, strict=True))
            varied = with_conditional(spec, varied, filled)
            found.append(make_trial(loaded, workload, 0, varied, "trial"))
    found += [make_trial(loaded, workload, 0, {VARIANT: name}, "trial") for name in spec.variants]
    return tuple(found)


def _place(loaded: Loaded, varied: Varied) -> str:
    if VARIANT in varied:
        return loaded.source.where(("variants", str(varied[VARIANT])))
    return loaded.source.where(("search",))


def _needs(spec: StudySpec, unit: tuple[str, ...]) -> set[str]:
    return {key for name in unit for key in (spec.search[name].when or {})}
