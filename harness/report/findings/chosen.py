"""Tell how an ablation chose, on validation classes, what it then trained. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.records.trial import digest
from harness.report.data.study_data import StudyTables, View
from harness.report.findings.components import path_direction
from harness.stats.ablations.designs import Cell, Design, nodes
from harness.workload import JsonValue


class Tuned(NamedTuple):
    """A setting of a cell."""

    cell: str
    settings: tuple[JsonValue, ...]
    """Values of the tuned parameters, in the order of the study file."""
    mean: float | None
    """Mean of the study's metric on validation classes; None if no run of it has finished."""
    seeds: int
    is_chosen: bool
    """Whether the cell is trained with it."""


class Raced(NamedTuple):
    """A candidate of a race."""

    step: int
    """Step of the path, from 1."""
    label: str
    mean: float
    """Mean of the study's metric on validation classes."""
    seeds: int
    """Seeds until it was dropped, or the race was over."""
    is_chosen: bool
    """Whether the path goes on from it."""


def races(search: StudyTables, design: Design) -> list[Raced]:
    """Return the candidates of a path's races, step by step, as far as they have finished runs.

    Args:
        search: The trials on validation classes.
        design: The components, and the path as far as it is known.
    """
    view = View("val", search.study.metric)
    start, *others = nodes(design)
    found = []
    for trial in search.contenders:
        cell = _cell(trial.varied, design)
        summary = search.summary(view, trial)
        if summary is not None:
            step, is_chosen = len(start ^ cell), cell in others
            found.append(Raced(step, trial.label, summary.mean, summary.n, is_chosen))
    return found


def tuned_keys(search: StudyTables) -> tuple[str, ...]:
    """Return the parameters that every cell of an ablation is tuned in; empty if none is."""
    ablate = search.study.spec.get("ablate")
    tune = ablate.get("tune") if isinstance(ablate, dict) else None
    axes = tune.get("search") if isinstance(tune, dict) else None
    return tuple(axes) if isinstance(axes, dict) else ()


def tunings(search: StudyTables, confirmed: StudyTables | None, design: Design) -> list[Tuned]:
    """Return the settings of every cell, cell by cell.

    Args:
        search: The trials on validation classes.
        confirmed: The trials that were then trained; None if nothing has been chosen yet.
        design: The components.
    """
    keys = tuned_keys(search)
    view = View("val", search.study.metric)
    trained = () if confirmed is None else confirmed.contenders
    chosen = {digest(trial.varied): trial.label for trial in trained}
    names = {_cell(trial.varied, design): trial.label for trial in trained}
    found = []
    for trial in search.contenders:
        summary = search.summary(view, trial)
        cell = names.get(_cell(trial.varied, design), trial.label)
        settings = tuple(trial.varied.get(key) for key in keys)
        mean, seeds = (None, 0) if summary is None else (summary.mean, summary.n)
        found.append(Tuned(cell, settings, mean, seeds, digest(trial.varied) in chosen))
    return found


def choice_method(search: StudyTables, confirmed: int, seeds: str) -> Iterator[str]:
    """Say how it was chosen, for a paper.

    Args:
        search: The trials on validation classes.
        confirmed: Number of trials that were then trained.
        seeds: With which seeds, in words.
    """
    design = search.design
    if design is not None and design.name == "path":
        rule = _race(search)
        yield (
            f"A path {path_direction(design)} was found by races on validation classes only: of "
            f"the {len(search.contenders)} candidates of its steps, each got up to "
            f"{rule['seeds']} paired seeds and was dropped once a one-sided paired t-test showed "
            f"that another one mattered more (level {rule['alpha']:g} in each step, Bonferroni)."
        )
        yield f"The {confirmed} nodes were then trained with {seeds} that no race had used."
    elif keys := tuned_keys(search):
        yield (
            f"For every combination of components, the same settings of {', '.join(keys)} were "
            f"trained and scored on validation classes only, {len(search.contenders)} trials in "
            f"all. The {confirmed} combinations were then trained, each with its best setting, "
            f"with {seeds} that had not been used for it."
        )


def choice_text(search: StudyTables) -> str:
    """Say what was chosen and how, above the table of candidates."""
    design = search.design
    if design is None or design.name != "path":
        return (
            f"Every combination of components got the same settings of "
            f"{', '.join(tuned_keys(search))}, the first of them the base's own, and is trained "
            "with the one that was best on validation classes. So no component is judged at "
            "settings that suit another one. What is said of components rests on other seeds."
        )
    rule = _race(search)
    return (
        "Each step of the path flips the component that mattered most in a race on validation "
        f"classes. A candidate got up to {rule['seeds']} seeds, and fewer where a paired test "
        "showed that another one mattered more. What is said of components rests on other "
        "seeds and on test classes, which no race has seen."
    )


def _race(search: StudyTables) -> Mapping[str, float]:
    ablate = search.study.spec.get("ablate")
    rule: JsonValue = ablate.get("race") if isinstance(ablate, dict) else None
    assert isinstance(rule, dict)  # a recorded study has it
    return {key: value for key, value in rule.items() if isinstance(value, int | float)}


def _cell(varied: Mapping[str, JsonValue], design: Design) -> Cell:
    return frozenset(name for name in design.components if varied.get(name))
