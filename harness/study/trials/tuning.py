"""Settings of a search that every cell of an ablation gets, and the trials with them.

The settings are drawn before anything runs, so they are the same for every cell, and what one cell
reaches changes nothing for another one.

Source:
    Roberts 2018 (additive recurrence with powers of the generalised golden ratio: few points cover
    a space evenly, and the first ones stay the same if more are asked for).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.errors import InputError
from harness.records.trial import Trial, digest
from harness.study.ablate import Ablate, Tune
from harness.study.axes import Axis, get_at
from harness.study.loading import Loaded
from harness.study.trials.conditions import Varied
from harness.workload import JsonValue, Params

_MOST_POINTS = 100_000


def settings_of(tune: Tune, base: Params) -> list[Varied]:
    """Return the settings of every cell: the base's own values first, and none twice."""
    found: list[Varied] = [{key: get_at(base, key) for key in tune.search}]
    seen = {digest(found[0])}
    step = _ratio(len(tune.search))
    for number in range(_MOST_POINTS):
        if len(found) == tune.trials:
            break
        point = [
            _value(axis, (0.5 + (number + 1) / step**power) % 1)
            for power, axis in enumerate(tune.search.values(), 1)
        ]
        setting = dict(zip(tune.search, point, strict=True))
        if (name := digest(setting)) not in seen:
            seen.add(name)
            found.append(setting)
    return found


def check_tune(loaded: Loaded, ablate: Ablate) -> None:
    """Check the rules of ``tune`` that span several fields.

    Raises:
        InputError: a rule is broken; with file, line and column.
    """
    if (tune := ablate.tune) is None:
        return
    where = loaded.source.where
    if ablate.design == "path":
        raise InputError(
            f"{where(('ablate', 'tune'))}: ablate.tune: the steps of a path are raced at the "
            "base's settings; remove tune, or use another design"
        )
    for key, axis in tune.search.items():
        at = f"{where(('ablate', 'tune', 'search', key))}: ablate.tune.search.{key}"
        if axis.when is not None:
            raise InputError(f"{at}: every cell gets every axis; remove 'when'")
        for name, component in ablate.components.items():
            for other in component.without:
                if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                    raise InputError(
                        f"{at}: component {name!r} sets {other!r}, and a cell would be tuned to "
                        "have it back; tune another parameter"
                    )
        if outer := next((o for o in tune.search if key.startswith(f"{o}.")), None):
            raise InputError(f"{at}: lies inside the axis {outer!r}; keep one")


def check_settings(loaded: Loaded, tune: Tune, settings: Sequence[Varied]) -> None:
    """Reject a search for more settings than there are.

    Raises:
        InputError: with file, line and column.
    """
    if len(settings) < tune.trials:
        raise InputError(
            f"{loaded.source.where(('ablate', 'tune', 'trials'))}: ablate.tune.trials: there are "
            f"only {len(settings)} settings, the base's own included, got {tune.trials}; set "
            f"trials to {len(settings)}"
        )


def cell_of(ablate: Ablate, trial: Trial) -> Varied:
    """Return component -> whether it is on; empty for a control."""
    return {key: value for key, value in trial.varied.items() if key in ablate.components}


def tuned(
    ablate: Ablate, trials: Iterable[Trial], ranked: Sequence[Trial], first: int
) -> tuple[Trial, ...]:
    """Return the trial of each cell that is trained with the study's seeds: its best setting.

    A cell none of whose settings has a value, since runs failed, keeps the base's values.

    Args:
        ablate: The ablation.
        trials: Its trials on validation classes, cell by cell.
        ranked: Those that have a value, best first.
        first: Number of the first trial returned.
    """
    cells: dict[str, Trial] = {}
    roles: dict[str, Trial] = {}
    for trial in (*ranked, *trials):
        cells.setdefault(digest(cell_of(ablate, trial)), trial)
    for trial in trials:
        roles.setdefault(digest(cell_of(ablate, trial)), trial)
    return tuple(
        dataclasses.replace(
            cells[cell],
            number=first + place,
            label=ablate.label(cells[cell].varied),
            phase="confirm",
            role=at_base.role,
        )
        for place, (cell, at_base) in enumerate(roles.items())
    )


def _value(axis: Axis, share: float) -> JsonValue:
    """Return the value below which ``share`` of an axis lies."""
    if axis.values is not None:
        return axis.values[int(share * len(axis.values))]
    assert axis.bounds is not None
    low, high = axis.bounds
    if axis.is_whole:  # every whole number has the same width
        low, high = low - (0 if axis.is_log else 0.5), high + (1 if axis.is_log else 0.5)
    value = low + share * (high - low)
    if axis.is_log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    if not axis.is_whole:
        return float(f"{value:.4g}")
    return min(int(axis.bounds[1]), math.floor(value) if axis.is_log else round(value))


def _ratio(dimensions: int) -> float:
    """Return the positive root of ``x ** (d + 1) = x + 1``: the golden ratio in one dimension."""
    found = 2.0
    for _ in range(60):
        found = (1 + found) ** (1 / (dimensions + 1))
    return found
