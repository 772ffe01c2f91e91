"""From the history of a study to its next proposal: the only file that imports Optuna.

Optuna proposes and owns nothing. For every proposal a study is built in memory from the history,
with a sampler seeded from the study's name and the trial's number, so that a search that was
stopped proposes what it would have proposed anyway.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from harness.conditions import VARIANT, Varied, fill, is_active
from harness.plan import Plan, units
from harness.spec import Axis, same_value
from harness.trial import digest
from harness.workload import JsonValue

TPE_ATTEMPTS = 20
"""After so many refused proposals TPE insists on what is known already: go on at random."""
MOST_ATTEMPTS = 1000
STARTUP_TRIALS = 10


@dataclass(frozen=True)
class Told:
    """A trial that was proposed before."""

    number: int
    varied: Varied
    value: float | None
    """What it reached, or None: it failed, or was still running."""


class Search:
    """Proposals for an adaptive study, a pure function of the number and the history."""

    def __init__(self, plan: Plan) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan = plan
        self._spec = plan.spec
        self._filled = fill(plan.spec, plan.workload)
        self._space = _space(plan)

    def propose(self, number: int, history: Sequence[Told]) -> Varied | None:
        """What trial ``number`` should vary, or None where nothing new is left.

        Args:
            number: Position in the study.
            history: All trials with a lower number. The value may be None for any of them; what
                the caller fills in must depend on the number alone, never on timing.
        """
        known = {digest(told.varied) for told in history}
        refused: list[Varied] = []
        for attempt in range(MOST_ATTEMPTS):
            study = self._study(number, attempt, history, refused)
            varied = self._suggest(study.ask())
            if digest(varied) not in known and self._plan.is_allowed(varied):
                return varied
            refused.append(varied)
        return None

    def _study(
        self, number: int, attempt: int, history: Sequence[Told], refused: Sequence[Varied]
    ) -> optuna.Study:
        seed = int(digest([self._spec.study, number, attempt])[:8], 16)
        if self._spec.sampler == "random" or attempt >= TPE_ATTEMPTS:  # needs no history
            return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        with warnings.catch_warnings():  # 'group' is experimental: conditional axes need it
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True
            )
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for told in history:
            study.add_trial(self._frozen(told.varied, told.value))
        for varied in refused:
            study.add_trial(self._frozen(varied, None))
        return study

    def _frozen(self, varied: Varied, value: float | None) -> optuna.trial.FrozenTrial:
        """A finished trial as Optuna knows it; what lies outside the space is left out."""
        is_finite = value is not None and math.isfinite(value)
        params, distributions = {}, {}
        for name, (distribution, keys, choices) in self._space.items():
            if any(key not in varied for key in keys):
                continue
            chosen = [varied[key] for key in keys]
            try:
                inner = _position(chosen, choices) if choices else chosen[0]
                if distribution._contains(distribution.to_internal_repr(inner)):
                    params[name], distributions[name] = inner, distribution
            except ValueError:
                continue
        return optuna.create_trial(
            params=params,
            distributions=distributions,
            value=value if is_finite else None,
            state=optuna.trial.TrialState.COMPLETE if is_finite else optuna.trial.TrialState.FAIL,
        )

    def _suggest(self, trial: optuna.Trial) -> Varied:
        """One value for each axis that exists, in an order in which conditions are decided."""
        varied: Varied = {}
        for name, (distribution, keys, choices) in self._space.items():
            axis = self._spec.search.get(keys[0])
            if axis is not None and not is_active(self._spec, axis, varied, self._filled):
                continue
            inner = trial._suggest(name, distribution)
            values = choices[inner] if choices else [inner]
            varied |= dict(zip(keys, values, strict=True))
        return {key: varied[key] for key in [VARIANT, *self._spec.search] if key in varied}


Dimension = tuple[BaseDistribution, tuple[str, ...], list[list[JsonValue]]]
"""Optuna's distribution, the axes that it decides, and for a list of values these values."""


def _space(plan: Plan) -> dict[str, Dimension]:
    """Name -> dimension, each after those that its condition names."""
    spec = plan.spec
    space: dict[str, Dimension] = {}
    if spec.variants:
        names: list[list[JsonValue]] = [[name] for name in spec.variants]
        space[VARIANT] = (CategoricalDistribution(range(len(names))), (VARIANT,), names)
    for unit in units(spec):
        axis = spec.search[unit[0]]
        if axis.bounds is not None:
            space[unit[0]] = (_range(axis), unit, [])
        else:
            columns = [spec.search[key].values or [] for key in unit]
            rows = [list(row) for row in zip(*columns, strict=True)]
            space["+".join(unit)] = (CategoricalDistribution(range(len(rows))), unit, rows)
    return space


def _position(chosen: list[JsonValue], rows: list[list[JsonValue]]) -> int:
    """Which of the rows has these values.

    Raises:
        ValueError: none.
    """
    for position, row in enumerate(rows):
        if all(same_value(one, other) for one, other in zip(chosen, row, strict=True)):
            return position
    raise ValueError("no such row")


def _range(axis: Axis) -> BaseDistribution:
    assert axis.bounds is not None
    low, high = axis.bounds
    if axis.is_whole:
        return IntDistribution(int(low), int(high), log=axis.is_log)
    return FloatDistribution(low, high, log=axis.is_log)
