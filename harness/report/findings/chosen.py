"""Tell how an ablation chose, on validation classes, what it then trained. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from harness.report.data.study_data import StudyTables, View
from harness.report.findings.components import path_direction
from harness.stats.designs import Cell, Design, nodes
from harness.workload import JsonValue


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


def choice_text(search: StudyTables) -> str:
    """Say what was chosen and how, above the table of candidates."""
    design = search.design
    if design is None or design.name != "path":
        return ""
    rule = _race(search)
    return (
        "Each step of the path flips the component that mattered most in a race on validation "
        f"classes. A candidate got up to {rule['seeds']} seeds, and fewer where a paired test "
        "showed that another one mattered more. What is said of components above rests on other "
        "seeds and on test classes, which no race has seen."
    )


def _race(search: StudyTables) -> Mapping[str, float]:
    ablate = search.study.spec.get("ablate")
    rule: JsonValue = ablate.get("race") if isinstance(ablate, dict) else None
    assert isinstance(rule, dict)  # a recorded study has it
    return {key: value for key, value in rule.items() if isinstance(value, int | float)}


def _cell(varied: Mapping[str, JsonValue], design: Design) -> Cell:
    return frozenset(name for name in design.components if varied.get(name))
