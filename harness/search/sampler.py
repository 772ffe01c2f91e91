"""Propose the next trial from the history of a study, with Optuna's samplers.

Optuna only proposes; it stores nothing. Each proposal comes from an in-memory study built from the
history, with a sampler seeded by the study's name and the trial's number, so a search that was
interrupted proposes the same trials as one that was not. CMA-ES keeps its state in its own
proposals, so all of them are replayed.

``gp`` and ``cmaes`` model only the axes that every finished trial has and draw the others at
random. The baseline is therefore passed on with a value for every axis, even those that the study
does not name: a single trial without parameters would leave them no axis to model.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import warnings
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

import optuna
from optuna.trial import TrialState
from scipy.stats import qmc
from threadpoolctl import threadpool_limits

from harness.errors import InputError
from harness.records.trial import digest
from harness.search.history import Observation
from harness.search.rules import FIRST_RULES, NEWEST_RULES
from harness.search.space import baseline_in_space, position_of, space_of, value_at
from harness.study.spec import VARIANT
from harness.study.trials.conditions import Varied, fill, is_active, is_forbidden
from harness.study.trials.plan import Plan

MODEL_ATTEMPTS = 20
"""After this many rejected proposals the model keeps suggesting known trials: sample at random."""
GP_ATTEMPTS = 3
"""The same limit for ``gp``, whose proposals are deterministic and take about a second each."""
MOST_ATTEMPTS = 1000
MOST_TIMES = 3
"""How often the same parameters may be proposed; a confident model would repeat its best."""
STARTUP_TRIALS = 10
POPULATION = 16
"""Trials in a generation of ``nsga2``."""


class Sampler:
    """Propose trials of a search: a pure function of the trial's number and the history."""

    def __init__(self, plan: Plan, rules: int = NEWEST_RULES) -> None:
        """Prepare the search space.

        Args:
            plan: The study.
            rules: The version that the search began with; see ``harness.search.rules``.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan = plan
        self._spec = plan.spec
        self._filled = fill(plan.spec, plan.workload)
        self._space = space_of(plan)
        self._identities: dict[str, str | None] = {}
        # What the workload refuses, and the controls, are no trials of a search.
        self._never = {None, *(control.trial_id for control in plan.controls)}
        self._points: list[Varied] = []
        self._rules = rules
        self._baseline = (
            None
            if rules == FIRST_RULES
            else baseline_in_space(plan, self._space, self._filled, self._identity)
        )
        is_slow = plan.spec.sampler == "gp" and rules > FIRST_RULES
        self._model_attempts = GP_ATTEMPTS if is_slow else MODEL_ATTEMPTS

    def propose(self, number: int, history: Sequence[Observation]) -> Varied | None:
        """Return the values that trial ``number`` should use, or None if nothing new is left.

        Known parameters, in the same notation or another, may be proposed up to ``MOST_TIMES``
        times; the trial then gets more seeds. A pruned trial is never proposed again.

        Args:
            number: Position in the study.
            history: All trials with a lower number. Any value may be None; which values the caller
                fills in must depend on the number alone, never on timing.
        """
        known = Counter(self._identity(told.varied) for told in history)
        pruned = {self._identity(t.varied) for t in history if t.until_pruned is not None}
        refused: list[Varied] = []
        for varied in self._suggestions(number, history, refused):
            identity = self._identity(varied)
            if identity not in self._never and not is_forbidden(self._spec, varied):
                if identity not in known:
                    return varied
                if known[identity] < MOST_TIMES and identity not in pruned:
                    is_left = self._has_more(number, known)
                    return varied if is_left else None
            refused.append(varied)
        return None

    def _suggestions(
        self, number: int, history: Sequence[Observation], refused: Sequence[Varied]
    ) -> Iterator[Varied]:
        """Yield the sampler's proposal, and after each rejection the next one."""
        if self._spec.sampler == "qmc":
            yield from self._rest_of_sequence(history)
            return
        for attempt in range(MOST_ATTEMPTS):
            if self._spec.is_replayed and attempt < MODEL_ATTEMPTS:
                trial = self._replayed(number, history, refused)
            else:
                trial = self._ask(self._study(number, attempt, history, refused))
            yield self._suggest(trial)

    def _identity(self, varied: Varied) -> str | None:
        """The trial_id, equal for all notations of the same parameters; None if refused."""
        words = digest(varied)
        if words not in self._identities:
            try:
                self._identities[words] = self._plan.trial(0, varied).trial_id
            except InputError:
                self._identities[words] = None
        return self._identities[words]

    def _has_more(self, number: int, known: Container[str | None]) -> bool:
        """Whether random draws still find parameters that are not known yet."""
        for attempt in range(MODEL_ATTEMPTS, MOST_ATTEMPTS):
            varied = self._suggest(self._study(number, attempt, (), ()).ask())
            identity = self._identity(varied)
            is_possible = identity not in self._never and not is_forbidden(self._spec, varied)
            if is_possible and identity not in known:
                return True
        return False

    def _study(
        self, number: int, attempt: int, history: Sequence[Observation], refused: Sequence[Varied]
    ) -> optuna.Study:
        seed = int(digest([self._spec.study, number, attempt])[:8], 16)
        at_random = optuna.samplers.RandomSampler(seed=seed)
        if self._spec.sampler == "random" or attempt >= self._model_attempts:  # needs no history
            return self._created(at_random)
        sampler: optuna.samplers.BaseSampler
        if self._spec.sampler == "gp":
            sampler = optuna.samplers.GPSampler(
                seed=seed,
                n_startup_trials=STARTUP_TRIALS,
                independent_sampler=at_random,
                warn_independent_sampling=False,
            )
        else:
            with warnings.catch_warnings():  # 'group' is experimental: conditional axes need it
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                sampler = optuna.samplers.TPESampler(
                    seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True
                )
        study = self._created(sampler)
        for told in self._seen(history):
            study.add_trial(self._frozen(told))
        for varied in refused:
            study.add_trial(self._frozen(Observation(number, varied, None), is_refused=True))
        return study

    def _created(self, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        """Return an empty study; what is minimised has a negative value."""
        directions = [optuna.study.StudyDirection.MAXIMIZE] * (1 + len(self._spec.objectives))
        return optuna.create_study(directions=directions, sampler=sampler)

    def _ask(self, study: optuna.Study) -> optuna.Trial:
        """Ask Optuna for the next trial.

        The Gaussian process is small: more threads slow it down, tenfold while workers are busy,
        and another number of threads could round differently.
        """
        if self._spec.sampler != "gp" or len(study.get_trials(deepcopy=False)) < STARTUP_TRIALS:
            return study.ask()
        importlib.import_module("torch")  # else Optuna imports it later, without the limit
        with threadpool_limits(limits=1):
            return study.ask()

    def _rest_of_sequence(self, history: Sequence[Observation]) -> Iterator[Varied]:
        """Yield the points of the sequence after those already used by the history."""
        position = 0
        for told in history[1:]:
            places = range(position, position + MOST_ATTEMPTS)  # the ones in between were rejected
            position = next((at + 1 for at in places if self._point(at) == told.varied), position)
        for later in range(position, position + MOST_ATTEMPTS):
            yield self._point(later)

    def _point(self, position: int) -> Varied:
        """Return the point of the sequence at ``position``."""
        while len(self._points) <= position:
            self._points.append(self._suggest(self._point_of_sequence(len(self._points))))
        return self._points[position]

    def _point_of_sequence(self, position: int) -> optuna.Trial:
        """Return a trial whose suggestions are one point of a scrambled Sobol sequence."""
        seed = int(digest([self._spec.study])[:8], 16)
        sequence = qmc.Sobol(len(self._space), scramble=True, rng=seed)
        if position:  # fast_forward(0) is an error
            sequence.fast_forward(position)
        shares = sequence.random(1)[0].tolist()
        study = optuna.create_study()
        study.enqueue_trial(
            {
                name: value_at(distribution, share)
                for (name, (distribution, _, _)), share in zip(
                    self._space.items(), shares, strict=True
                )
            }
        )
        return study.ask()

    def _replayed(
        self, number: int, history: Sequence[Observation], refused: Sequence[Varied]
    ) -> optuna.Trial:
        """Replay the whole search in order and return the trial that CMA-ES proposes next."""
        seed = int(digest([self._spec.study])[:8], 16)
        is_genetic = self._spec.sampler == "nsga2"
        study = self._created(_nsga2(seed=seed) if is_genetic else _cmaes(seed=seed))
        if not is_genetic:  # which learns from its own proposals alone
            is_old = self._rules == FIRST_RULES
            study.add_trial(self._frozen(history[0]) if is_old else self._frame())
        waiting: list[tuple[Observation, optuna.Trial]] = []
        for told in [*history[1:], Observation(number, {}, None)]:
            last = told.number - self._spec.parallel_trials
            for each in [each for each in waiting if each[0].number <= last]:
                waiting.remove(each)
                self._tell(study, *each)
            if told.number == number:
                break
            for _ in range(MODEL_ATTEMPTS):
                trial = study.ask()
                if digest(self._suggest(trial)) == digest(told.varied):
                    waiting.append((told, trial))
                    break
                study.tell(trial, state=TrialState.FAIL)  # rejected at the time
            else:
                study.add_trial(self._frozen(told))
        for _ in refused:
            trial = study.ask()
            self._suggest(trial)
            study.tell(trial, state=TrialState.FAIL)
        return study.ask()

    def _tell(self, study: optuna.Study, told: Observation, trial: optuna.Trial) -> None:
        """Report the outcome of a proposed trial to its study."""
        for step, value in enumerate(told.until_pruned or ()):
            trial.report(value, step)
        study.tell(trial, _told(told), _state(told))

    def _seen(self, history: Sequence[Observation]) -> Sequence[Observation]:
        """The history for the sampler: the baseline with all its axes, or left out."""
        if self._rules == FIRST_RULES or not history:
            return history
        first, *others = history
        return (
            others if self._baseline is None else [replace(first, varied=self._baseline), *others]
        )

    def _frame(self) -> optuna.trial.FrozenTrial:
        """Return a first trial that fixes the axes of CMA-ES: the ranges that every trial has.

        CMA-ES searches the ranges that all finished trials share, and gives up when these change.
        It learns only from its own proposals, so this trial's value has no meaning.
        """
        ranges = {
            name: distribution
            for name, (distribution, keys, choices) in self._space.items()
            if not choices and self._spec.search[keys[0]].when is None
        }
        middle = {name: value_at(distribution, 0.5) for name, distribution in ranges.items()}
        return optuna.create_trial(params=middle, distributions=ranges, value=0.0)

    def _frozen(self, told: Observation, *, is_refused: bool = False) -> optuna.trial.FrozenTrial:
        """Convert a trial to Optuna's form, without values outside the space.

        Args:
            told: The trial.
            is_refused: Whether it is a rejected proposal. ``gp`` ignores failed trials and would
                propose this one again; it avoids trials that are still running.
        """
        varied, state = told.varied, _state(told)
        if is_refused and self._rules > FIRST_RULES and self._spec.sampler == "gp":
            state = TrialState.RUNNING
        params, distributions = {}, {}
        for name, (distribution, keys, choices) in self._space.items():
            if any(key not in varied for key in keys):
                continue
            chosen = [varied[key] for key in keys]
            try:
                inner = position_of(chosen, choices) if choices else chosen[0]
                if distribution._contains(distribution.to_internal_repr(inner)):
                    params[name], distributions[name] = inner, distribution
            except ValueError:
                continue
        return optuna.create_trial(
            params=params,
            distributions=distributions,
            values=_told(told) if state == TrialState.COMPLETE else None,
            state=state,
            intermediate_values=dict(enumerate(told.until_pruned or ())),
        )

    def _suggest(self, trial: optuna.Trial) -> Varied:
        """Suggest a value for each active axis, after the axes that its condition depends on."""
        varied: Varied = {}
        for name, (distribution, keys, choices) in self._space.items():
            axis = self._spec.search.get(keys[0])
            if axis is not None and not is_active(self._spec, axis, varied, self._filled):
                continue
            inner = trial._suggest(name, distribution)
            values = choices[inner] if choices else [inner]
            varied |= dict(zip(keys, values, strict=True))
        return {key: varied[key] for key in [VARIANT, *self._spec.search] if key in varied}


def _state(told: Observation) -> TrialState:
    """Return the outcome of a trial as Optuna's state."""
    if told.until_pruned is not None:
        return TrialState.PRUNED
    is_finite = told.value is not None and math.isfinite(told.value)  # others are finite
    return TrialState.COMPLETE if is_finite else TrialState.FAIL


def _told(told: Observation) -> list[float] | None:
    """Return all objectives of a finished trial, the primary metric first; None of another."""
    if told.value is None or _state(told) != TrialState.COMPLETE:
        return None
    return [told.value, *told.others]


def _nsga2(*, seed: int) -> optuna.samplers.BaseSampler:
    """Build NSGA-II with a population that suits searches of some dozens of trials."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)


def _cmaes(*, seed: int) -> optuna.samplers.BaseSampler:
    """Build CMA-ES over the ranges; lists and conditional axes are drawn at random.

    Raises:
        InputError: the package cmaes is not installed.
    """
    if importlib.util.find_spec("cmaes") is None:
        raise InputError(
            "sampler: cmaes needs the package cmaes; install gcudml-harness[cmaes], or use tpe"
        )
    return optuna.samplers.CmaEsSampler(
        seed=seed,
        n_startup_trials=1,
        independent_sampler=optuna.samplers.RandomSampler(seed=seed),
        warn_independent_sampling=False,
    )
