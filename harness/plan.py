"""From a study to its trials. Pure: nothing runs, nothing is read or written."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.budget import check_budget
from harness.code_version import CodeVersions
from harness.conditions import (
    VARIANT,
    Filled,
    Varied,
    assemble,
    check_conditions,
    fill,
    is_active,
    is_forbidden,
    setting_for,
    with_conditional,
)
from harness.errors import InputError
from harness.pruning import most_epochs
from harness.spec import MOST_PROPOSED, Loaded, StudySpec, nearest
from harness.trial import Role, Trial, digest
from harness.values import same_value, set_at
from harness.workload import JsonValue, Workload
from harness.yaml_source import Path_

__all__ = ["Plan", "Varied", "label_of", "locate", "make_plan", "show", "units"]

MOST_TRIALS = 100_000


@dataclass(frozen=True)
class Plan:
    """The trials of a study, as far as they are known before anything ran."""

    loaded: Loaded
    workload: Workload
    fixed: tuple[Trial, ...]
    """All trials of a grid study; the baseline, number 0, of an adaptive one."""
    controls: tuple[Trial, ...]
    """The workload's free comparisons, numbered after all others."""
    ends: tuple[Trial, ...] = ()
    """Of a search: a trial at each end of each axis, to be checked and never trained."""
    most_epochs: int | None = None
    """For hyperband: epochs of the longest run."""
    code: CodeVersions = field(kw_only=True)
    """Of the workload's code, for this call."""

    @property
    def spec(self) -> StudySpec:
        """The study."""
        return self.loaded.spec

    def trial(self, number: int, varied: Varied) -> Trial:
        """The trial of a proposal.

        Raises:
            InputError: the workload refuses the parameters.
        """
        return _trial(self.loaded, self.workload, number, varied, "trial")

    def seeds_of(self, trial: Trial) -> tuple[int, ...]:
        """The seeds that a trial is trained with."""
        if trial.phase == "confirm" and not self.spec.is_fixed:
            return self.spec.confirm_seed_list
        return self.spec.seed_list

    def confirmation(self, winners: Sequence[Trial]) -> tuple[Trial, ...]:
        """The baseline and the winners of the search, best first, as trials of their own."""
        chosen = (*self.fixed, *winners)
        first = self.spec.trials or MOST_PROPOSED
        return tuple(
            dataclasses.replace(trial, number=first + place, phase="confirm")
            for place, trial in enumerate(chosen)
        )

    def is_allowed(self, varied: Varied) -> bool:
        """Whether neither ``forbid`` nor the workload rules a proposal out."""
        if is_forbidden(self.spec, varied):
            return False
        try:
            self.trial(0, varied)
        except InputError:
            return False
        return True


def make_plan(loaded: Loaded, workload: Workload) -> Plan:
    """Enumerate and check the trials of a study.

    Raises:
        InputError: a parameter is unknown or impossible, two trials are the same, or the baseline
            is none of them; with file, line and column.
    """
    spec = loaded.spec
    _check_axes(loaded)
    filled = fill(spec, workload)
    check_conditions(loaded, filled)
    ends: tuple[Trial, ...] = ()
    if spec.is_fixed:
        fixed = _grid(loaded, workload, filled)
        after = len(fixed)
    else:
        ends = _ends(loaded, workload, filled)
        fixed = (_trial(loaded, workload, 0, _adaptive_baseline(loaded), "baseline"),)
        after = (spec.trials or MOST_PROPOSED) + (spec.confirm.top + 1 if spec.confirm else 0)
    controls = tuple(
        _control(loaded, workload, after + position, name, overrides)
        for position, (name, overrides) in enumerate(workload.controls().items())
    )
    check_budget(loaded, controls=len(controls))
    epochs = None
    if spec.pruner == "hyperband":
        epochs = most_epochs(loaded, workload, [*fixed, *ends])
    code = CodeVersions(spec.workload, workload.code)
    return Plan(loaded, workload, fixed, controls, ends, epochs, code=code)


def units(spec: StudySpec) -> list[tuple[str, ...]]:
    """Axes in file order, tied ones together, each after those that its ``when`` names."""
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
                f"search: the conditions of {keys} depend on each other; break the ring"
            )
        ordered.append(ready)
        waiting.remove(ready)
    return ordered


def label_of(spec: StudySpec, varied: Varied) -> str:
    """What tables call a trial: its variant, then ``key=value`` by the shortest unique names."""
    parts = [str(varied[VARIANT])] if VARIANT in varied else []
    parts += [
        f"{_short(key, spec.search)}={show(value)}"
        for key, value in varied.items()
        if key != VARIANT
    ]
    return ", ".join(parts) or "base"


def show(value: JsonValue) -> str:
    """A value as tables print it: five significant digits, JSON for what is no number or text."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value)


def _grid(loaded: Loaded, workload: Workload, filled: Filled) -> tuple[Trial, ...]:
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
            combinations.setdefault(digest(varied), varied)  # ``when`` makes some equal
    if not combinations:
        raise InputError(f"{loaded.source.where(('forbid',))}: forbid: leaves no trial at all")
    trials: list[Trial] = []
    seen: dict[str, Trial] = {}
    for number, varied in enumerate(combinations.values()):
        trial = _trial(loaded, workload, number, varied, "trial")
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
    """All combinations in file order, the last axis fastest, variants outermost."""
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
    """Position of the baseline among the combinations."""
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
            f"{where}: baseline: fits {len(found)} trials ({'; '.join(labels[:4])}); "
            "name a value for every varied parameter"
        )
    there = "; ".join(label_of(loaded.spec, varied) for varied in combinations[:8])
    raise InputError(f"{where}: baseline: is none of the trials; there are: {there}")


def _adaptive_baseline(loaded: Loaded) -> Varied:
    """What the baseline of an adaptive study varies: the base as it stands, or what is named."""
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


def _check_axes(loaded: Loaded) -> None:
    """Rules that need more than one field: axes against variants, ``variant`` as a name."""
    spec = loaded.spec
    for key in spec.search:
        where = f"{loaded.source.where(('search', key))}: search.{key}"
        if key == VARIANT:
            raise InputError(f"{where}: 'variant' stands for the variants; rename the parameter")
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


def _ends(loaded: Loaded, workload: Workload, filled: Filled) -> tuple[Trial, ...]:
    """Check each axis of an adaptive study, with those tied to it: both ends, or every choice."""
    spec = loaded.spec
    found: list[Trial] = []
    for unit in units(spec):
        start = setting_for(spec, spec.search[unit[0]], filled)
        columns = [spec.search[key].values or spec.search[key].bounds or () for key in unit]
        for values in zip(*columns, strict=True):
            varied = start | dict(zip(unit, values, strict=True))
            varied = with_conditional(spec, varied, filled)
            found.append(_trial(loaded, workload, 0, varied, "trial"))
    found += [_trial(loaded, workload, 0, {VARIANT: name}, "trial") for name in spec.variants]
    return tuple(found)


def _trial(loaded: Loaded, workload: Workload, number: int, varied: Varied, role: Role) -> Trial:
    label = label_of(loaded.spec, varied)
    blamed = f"trial {label!r}" if label != "base" else ""
    params = _checked(loaded, workload, assemble(loaded.spec, varied), varied, blamed)
    return _made(loaded.spec, number, label, role, varied, params)


def _control(
    loaded: Loaded, workload: Workload, number: int, name: str, overrides: Mapping[str, JsonValue]
) -> Trial:
    params = copy.deepcopy(loaded.spec.base)
    for key, value in overrides.items():
        set_at(params, key, copy.deepcopy(value))
    checked = _checked(loaded, workload, params, {}, f"control {name!r}")
    return _made(loaded.spec, number, name, "control", {}, checked)


def _checked(
    loaded: Loaded,
    workload: Workload,
    params: dict[str, JsonValue],
    varied: Varied,
    blamed: str,
) -> dict[str, JsonValue]:
    """The parameters as the workload completes them; what it refuses gets its place in the file."""
    try:
        return workload.check(params)
    except ValueError as error:
        lines = [
            f"{locate(loaded, varied, line.partition(':')[0])}: {line}"
            + (f" ({blamed})" if blamed else "")
            for line in str(error).splitlines()
        ]
        raise InputError("\n".join(lines)) from None


def _made(
    spec: StudySpec,
    number: int,
    label: str,
    role: Role,
    varied: Varied,
    params: dict[str, JsonValue],
) -> Trial:
    variant = varied.get(VARIANT)
    return Trial(
        study=spec.study,
        number=number,
        label=label,
        # Controls train nothing, and are compared with what is claimed in the end.
        phase="confirm" if spec.is_fixed or (spec.confirm and role == "control") else "search",
        role=role,
        variant=None if variant is None else str(variant),
        varied=varied,
        params=params,
    )


def locate(loaded: Loaded, varied: Mapping[str, JsonValue], dotted: str) -> str:
    """Where the parameter that an error names was set: an axis, a variant, or the base."""
    variant = str(varied.get(VARIANT))
    above: dict[str, Path_] = dict.fromkeys(varied, ("search",))
    above |= dict.fromkeys(loaded.spec.variants.get(variant, {}), ("variants", variant))
    for key, path in above.items():
        if f"{dotted}.".startswith(f"{key}.") or key.startswith(f"{dotted}."):
            inside = dotted.removeprefix(key).split(".")[1:]
            return loaded.source.where((*path, key, *inside))
    return loaded.source.where(("base", *dotted.split(".")))


def _place(loaded: Loaded, varied: Varied) -> str:
    if VARIANT in varied:
        return loaded.source.where(("variants", str(varied[VARIANT])))
    return loaded.source.where(("search",))


def _needs(spec: StudySpec, unit: tuple[str, ...]) -> set[str]:
    return {key for name in unit for key in (spec.search[name].when or {})}


def _short(key: str, among: Mapping[str, object]) -> str:
    """The shortest tail of a dotted key that no other axis shares."""
    parts = key.split(".")
    for count in range(1, len(parts)):
        tail = "." + ".".join(parts[-count:])
        if sum(f".{other}".endswith(tail) for other in among) <= 1:
            return tail[1:]
    return key
