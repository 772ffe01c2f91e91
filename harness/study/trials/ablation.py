"""Makes the trials of an ablation: one per combination of components that its design asks for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from harness.errors import InputError, nearest
from harness.records.trial import Trial
from harness.stats.ablations.designs import (
    FEWEST_OF_A_FRACTION,
    MOST_OF_A_LATTICE,
    MOST_OF_A_PATH,
    Cell,
    cells,
    flippable,
    fraction_cells,
    most_raced,
)
from harness.study.ablate import Ablate
from harness.study.axes import get_at, matches, same_value
from harness.study.loading import Loaded
from harness.study.trials.conditions import Varied
from harness.study.trials.single_trial import make_trial, overrides_at
from harness.study.trials.tuning import check_settings, check_tune, settings_of
from harness.study.yaml_source import Path_
from harness.workload import JsonValue, Workload

MOST_COMPONENTS = 24
_MOST_CHECKED = 100
_NAME = re.compile(r"\w[^,=:\n]*")


def make_ablation(
    loaded: Loaded, ablate: Ablate, workload: Workload
) -> tuple[tuple[Trial, ...], int | None]:
    """Make every trial of an ablation, and return the position of its baseline.

    If a control stands for the cell with everything off, no trial is made for it; the position is
    None if that control is the baseline.

    Raises:
        InputError: a component or the design is invalid, or the workload rejects a combination.
    """
    check_components(loaded, ablate)
    wanted = [ablate.varied(cell) for cell in _known_cells(ablate)]
    everything = ablate.varied(frozenset(ablate.components))
    full = make_trial(loaded, workload, 0, everything, "trial")
    _refuse_no_change(loaded, ablate, full)
    baseline = _find_baseline(loaded, ablate, wanted)
    settings: list[Varied] = [{}]
    if ablate.tune is not None:
        settings = settings_of(ablate.tune, full.params)
        check_settings(loaded, ablate.tune, settings)
    is_borrowed = [ablate.bare is not None and not any(varied.values()) for varied in wanted]
    trials: list[Trial] = []
    seen: dict[str, Trial] = {}
    for varied, borrowed in zip(wanted, is_borrowed, strict=True):
        if borrowed:
            continue
        for setting in settings:
            trial = _made(loaded, workload, len(trials), varied | setting)
            if ablate.design == "path":
                trial = dataclasses.replace(trial, phase="confirm")
            _refuse_twin(loaded, trial, seen)
            trials.append(trial)
    if ablate.design == "path":
        _check_steps(loaded, ablate, workload)
    if is_borrowed[baseline]:
        return tuple(trials), None
    return tuple(trials), (baseline - sum(is_borrowed[:baseline])) * len(settings)


def _check_steps(loaded: Loaded, ablate: Ablate, workload: Workload) -> None:
    """Have the workload check the combinations that a path may reach, up to ``_MOST_CHECKED``.

    Raises:
        InputError: it rejects one, or two of them are the same trial.
    """
    everything = frozenset(ablate.components)
    waiting: list[Cell] = [_known_cells(ablate)[0]]
    seen: dict[str, Trial] = {}
    for cell in waiting:  # grows while it is read
        for name in flippable(ablate.plan, cell):
            if (after := cell ^ {name}) not in waiting and len(waiting) < _MOST_CHECKED:
                waiting.append(after)
        if cell not in (frozenset(), everything):
            trial = _made(loaded, workload, 0, ablate.varied(cell))
            _refuse_twin(loaded, trial, seen)


def _refuse_twin(loaded: Loaded, trial: Trial, seen: dict[str, Trial]) -> None:
    """Reject a trial that has the parameters of another one."""
    if (twin := seen.setdefault(trial.trial_id, trial)) is not trial:
        raise InputError(
            f"{_where(loaded, 'components')}: ablate.components: {trial.label!r} has the same "
            f"parameters as {twin.label!r}; let a component say what it 'needs'"
        )


def _known_cells(ablate: Ablate) -> tuple[Cell, ...]:
    """Return the cells that are trained whatever the results: of a path, both its ends."""
    found = cells(ablate.plan)
    if ablate.design != "path":
        return found
    return (*found, frozenset(ablate.components) - found[0])


def numbered_ends(
    ablate: Ablate, ends: Sequence[Trial], controls: Sequence[Trial]
) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Number the ends of a path and the controls after the candidates of its races.

    All nodes have consecutive numbers, in the order of the path.
    """
    steps = len(ablate.components)
    first = most_raced(steps)
    start, *end = ends
    return (
        (
            dataclasses.replace(start, number=first),
            *(dataclasses.replace(trial, number=first + steps) for trial in end),
        ),
        tuple(
            dataclasses.replace(trial, number=first + steps + 1 + place)
            for place, trial in enumerate(controls)
        ),
    )


def with_bare(
    loaded: Loaded,
    trials: Sequence[Trial],
    controls: Sequence[Trial],
    baseline: int | None,
    *,
    chosen: int = 0,
) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """Let a control stand for everything off, mark the baseline, and number trials and controls.

    The control is one of the trials if it is the baseline.

    Args:
        loaded: The study.
        trials: Of the ablation.
        controls: Of these trials.
        baseline: Position among ``trials``; None for the control.
        chosen: Number of trials that will be numbered between the trials and the controls.

    Raises:
        InputError: the workload has no such control, or several.
    """
    ablate = loaded.spec.ablate
    fixed, others = list(trials), list(controls)
    if ablate is not None and ablate.bare is not None:
        place = _find_control(loaded, ablate.bare, others)
        bare = dataclasses.replace(others.pop(place), varied=ablate.varied(frozenset()))
        if baseline is None:
            fixed.insert(0, dataclasses.replace(bare, role="trial"))
        else:
            others.insert(place, bare)
    at = baseline or 0
    fixed[at] = dataclasses.replace(fixed[at], role="baseline")
    after = len(fixed) + chosen
    return (
        tuple(dataclasses.replace(trial, number=n) for n, trial in enumerate(fixed)),
        tuple(dataclasses.replace(trial, number=n) for n, trial in enumerate(others, after)),
    )


def check_components(loaded: Loaded, ablate: Ablate) -> None:
    """Check the rules that span several parts of an ablation.

    Raises:
        InputError: a rule is broken; with file, line and column.
    """
    setters: dict[str, str] = {}
    for name, component in ablate.components.items():
        where = f"{_where(loaded, 'components', name)}: ablate.components.{name}"
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{where}: a name starts with a letter or digit and has no comma, colon or '=', "
                "since trials are labelled with it; rename the component"
            )
        for key in component.without:
            for other, owner in setters.items():
                if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                    at = loaded.source.where((*overrides_at(loaded, name), key))
                    how = "also" if key == other else f"or {other!r}"
                    raise InputError(
                        f"{at}: ablate.components.{name}: {key!r} is {how} set by {owner!r}; "
                        "components must be independent, so give the key to one of them"
                    )
        setters |= dict.fromkeys(component.without, name)
        for needed in component.needs:
            at = _where(loaded, "components", name, "needs")
            if needed not in ablate.components:
                known = [each for each in ablate.components if each != name]
                raise InputError(
                    f"{at}: ablate.components.{name}.needs: no component {needed!r}; "
                    f"{nearest(needed, known)}"
                )
    _refuse_circle(loaded, ablate)
    _check_design(loaded, ablate)


def _refuse_circle(loaded: Loaded, ablate: Ablate) -> None:
    free: set[str] = set()
    while ready := [
        name
        for name, component in ablate.components.items()
        if name not in free and free.issuperset(component.needs)
    ]:
        free.update(ready)
    if caught := [name for name in ablate.components if name not in free]:
        raise InputError(
            f"{_where(loaded, 'components', caught[0], 'needs')}: ablate.components: "
            f"{' and '.join(caught)} need each other in a circle; merge them, or drop a 'needs'"
        )


def _check_design(loaded: Loaded, ablate: Ablate) -> None:
    count = len(ablate.components)
    if count > MOST_COMPONENTS:
        raise InputError(
            f"{_where(loaded, 'components')}: ablate.components: {count} components; the most is "
            f"{MOST_COMPONENTS}"
        )
    sampled = [field for field in ("fraction", "permutations") if getattr(ablate, field)]
    if sampled and ablate.design != "lattice":
        raise InputError(
            f"{_where(loaded, sampled[0])}: ablate.{sampled[0]}: only a lattice is sampled; remove "
            f"{sampled[0]}, or set design to lattice"
        )
    if len(sampled) > 1:
        raise InputError(
            f"{_where(loaded, 'permutations')}: ablate.permutations: the lattice is already a "
            "fraction; keep fraction for main effects and interactions, or permutations for "
            "Shapley values"
        )
    if ablate.fraction and count < FEWEST_OF_A_FRACTION:
        raise InputError(
            f"{_where(loaded, 'fraction')}: ablate.fraction: no fraction of {count} components has "
            f"resolution V, which needs {FEWEST_OF_A_FRACTION}; remove fraction"
        )
    if ablate.design == "lattice" and count > MOST_OF_A_LATTICE and not sampled:
        raise InputError(
            f"{_where(loaded, 'design')}: ablate.design: a lattice of {count} components has "
            f"{2**count:,} cells; add 'fraction: V' ({fraction_cells(count)} cells, main effects "
            "and interactions of pairs) or 'permutations: N' (about N x "
            f"{count - 1} cells, Shapley values)"
        )
    _check_path(loaded, ablate)
    check_tune(loaded, ablate)
    if ablate.bare is not None and frozenset() not in _known_cells(ablate):
        raise InputError(
            f"{_where(loaded, 'bare')}: ablate.bare: this design has no trial with everything off; "
            "remove bare"
        )


def _check_path(loaded: Loaded, ablate: Ablate) -> None:
    count = len(ablate.components)
    if ablate.design == "path":
        if not 2 <= count <= MOST_OF_A_PATH:
            raise InputError(
                f"{_where(loaded, 'components')}: ablate.components: a path needs 2 to "
                f"{MOST_OF_A_PATH} components, got {count}; use leave_one_out"
            )
        return
    for field, is_set in (("race", ablate.race is not None), ("start", ablate.start != "full")):
        if is_set:
            raise InputError(
                f"{_where(loaded, field)}: ablate.{field}: only a path has one; remove {field}, or "
                "set design to path"
            )


def _refuse_no_change(loaded: Loaded, ablate: Ablate, full: Trial) -> None:
    for name, component in ablate.components.items():
        if all(
            same_value(get_at(full.params, key), value) for key, value in component.without.items()
        ):
            raise InputError(
                f"{_where(loaded, 'components', name)}: ablate.components.{name}: changes nothing: "
                "the base has these values already; set in the base what switches it on, or remove "
                "the component"
            )


def _made(loaded: Loaded, workload: Workload, number: int, varied: dict[str, JsonValue]) -> Trial:
    """Make a trial; if the workload rejects it, say how an ablation can leave it out."""
    try:
        return make_trial(loaded, workload, number, varied, "trial")
    except InputError as error:
        remedy = "let a component say what it 'needs'"
        if True not in varied.values():
            remedy = "name a control that stands for everything off under 'bare'"
        raise InputError(f"{error}; or {remedy}") from None


def _find_baseline(
    loaded: Loaded, ablate: Ablate, wanted: Sequence[Mapping[str, JsonValue]]
) -> int:
    """Return the position of the baseline among the combinations.

    Raises:
        InputError: it is none of them, or several.
    """
    baseline = loaded.spec.baseline
    if baseline is None:
        return 0
    labels = [ablate.label(varied) for varied in wanted]
    where = loaded.source.where(("baseline",))
    if isinstance(baseline, str):
        if baseline == ablate.bare:
            return next(place for place, varied in enumerate(wanted) if not any(varied.values()))
        if baseline not in labels:
            raise InputError(
                f"{where}: baseline: no trial {baseline!r}; {nearest(baseline, labels)}"
            )
        return labels.index(baseline)
    for key in baseline:
        if key not in ablate.components:
            raise InputError(
                f"{where}: baseline: no component {key!r}; {nearest(key, ablate.components)}"
            )
    found = [place for place, varied in enumerate(wanted) if matches(baseline, varied)]
    if len(found) != 1:
        raise InputError(
            f"{where}: baseline: matches {len(found)} trials; give the label of one: "
            f"{', '.join(labels[:8])}"
        )
    return found[0]


def _find_control(loaded: Loaded, bare: str, controls: Sequence[Trial]) -> int:
    where = f"{_where(loaded, 'bare')}: ablate.bare"
    labels = [control.label for control in controls]
    if bare in labels:
        return labels.index(bare)
    if several := [label for label in labels if label.startswith(f"{bare} (")]:
        raise InputError(
            f"{where}: there are {len(several)} controls {bare!r}, since a component changes what "
            f"they depend on ({', '.join(several)}); remove bare"
        )
    if not labels:
        raise InputError(f"{where}: {loaded.spec.workload!r} has no controls; remove bare")
    raise InputError(f"{where}: no control {bare!r}; {nearest(bare, labels)}")


def _where(loaded: Loaded, *path: str) -> str:
    inside: Path_ = ("ablate", *path)
    return loaded.source.where(inside)
