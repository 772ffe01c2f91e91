"""Find what a study varied, and the scale to draw it on; pure, from the trials and the spec."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.report.data.study_data import StudyTables
from harness.workload import JsonValue

Scale = Literal["linear", "log", "category"]

MOST_TICKS = 8
"""Up to this many values, each gets its own tick."""
_CROWDED = 0.06  # neighbours closer than this share of the axis cannot be told apart
_TEXT_WIDTH = 0.1  # of a tick label, as a fraction of the axis
_WIDE = 100.0  # values that span more than two decades belong on a log axis
_NOT_SET = "not set"


@dataclass(frozen=True, slots=True)
class SweptAxis:
    """A parameter that varied between the trials of a study."""

    key: str
    """Dotted key, or ``variant``."""
    title: str
    """The shortest suffix of the key that no other axis shares."""
    scale: Scale
    ordered: bool
    """Whether a line may follow the order of the positions."""
    ticks: tuple[tuple[float, str], ...]
    """Positions with their texts; empty to let the axis choose its own."""
    positions: Mapping[str, float]
    """trial_id -> position; a trial without a number on a number axis is left out."""


def swept_axes(tables: StudyTables) -> tuple[SweptAxis, ...]:
    """Return the parameters that took at least two values, in the order of the study file.

    A study with variants has the axis ``variant`` first. A study in which nothing varied has one
    axis with a tick per trial; so has an ablation, whose trials combine components.
    """
    if tables.design is not None:
        return (trial_axis(tables),)
    trials = tables.contenders
    searched = tables.study.spec.get("search")
    search: Mapping[str, JsonValue] = searched if isinstance(searched, dict) else {}
    has_variants = any(trial.variant is not None for trial in trials)
    axes = []
    if has_variants and len({trial.variant for trial in trials}) > 1:
        names = {trial.trial_id: shown(trial.variant) for trial in trials}
        axes.append(_category("variant", "variant", names, ordered=False))
    # Overrides of a variant are its content, not axes of their own.
    keys = [key for key in search if any(key in trial.varied for trial in trials)]
    if not keys and not has_variants:
        keys = sorted({key for trial in trials for key in trial.varied})
    titles = _titles(keys)
    for key in keys:
        values = {t.trial_id: t.varied[key] for t in trials if key in t.varied}
        missing = [t.trial_id for t in trials if key not in t.varied]
        if len({shown(value) for value in values.values()}) + bool(missing) > 1:
            axes.append(_axis(key, titles[key], values, missing, _is_log(search.get(key))))
    return tuple(axes) or (trial_axis(tables),)


def drawn_axes(tables: StudyTables) -> tuple[SweptAxis, ...]:
    """Return the axes worth drawing: for a search, those on which trials with a result differ.

    On the others, every value but one was pruned. Each axis keeps only the ticks that are drawn.
    """
    if not tables.is_search or tables.primary is None:
        return swept_axes(tables)
    ends = {trial_id for view, trial_id in tables.summaries if view == tables.primary}
    found = []
    for axis in swept_axes(tables):
        places = {place for trial_id, place in axis.positions.items() if trial_id in ends}
        if len(places) < 2:
            continue
        unseen = {*axis.positions.values()} - places
        if axis.scale != "category":
            ticks = tuple(tick for tick in axis.ticks if tick[0] not in unseen)
            axis = replace(axis, ticks=_readable(ticks, is_log=axis.scale == "log"))
        found.append(axis)
    return tuple(found)


def _readable(ticks: Sequence[tuple[float, str]], *, is_log: bool) -> tuple[tuple[float, str], ...]:
    """Drop ticks whose text would overlap the one before."""
    places = [math.log(place) if is_log else place for place, _ in ticks]
    span = max(places, default=0.0) - min(places, default=0.0)
    kept: list[int] = []
    for at, place in enumerate(places):
        if not kept or place - places[kept[-1]] > _TEXT_WIDTH * span:
            kept.append(at)
    return tuple(ticks[at] for at in kept)


def trial_axis(tables: StudyTables) -> SweptAxis:
    """Return an axis with one tick per trial, in the order of the study."""
    labels = {trial.trial_id: trial.label for trial in tables.contenders}
    return _category("trial", "trial", labels, ordered=False)


def _titles(keys: Sequence[str]) -> dict[str, str]:
    titles = {}
    for key in keys:
        parts = key.split(".")
        endings = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
        titles[key] = next(
            (e for e in endings if sum(k == e or k.endswith("." + e) for k in keys) == 1), key
        )
    return titles


def _is_log(axis: JsonValue) -> bool:
    """Whether the study file asks for a log axis."""
    return isinstance(axis, dict) and any(axis.get(kind) for kind in ("loguniform", "logint"))


def _axis(
    key: str, title: str, values: Mapping[str, JsonValue], missing: Sequence[str], is_log: bool
) -> SweptAxis:
    numbers = {
        trial_id: float(value)
        for trial_id, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    is_numeric = len(numbers) == len(values)
    distinct = sorted(set(numbers.values()))
    if is_log and is_numeric and len(distinct) > 1 and distinct[0] == 0:
        return _log_with_zero(key, title, numbers, distinct)
    scale = number_scale(distinct, is_log) if is_numeric else "category"
    if scale == "category":
        texts = {trial_id: shown(value) for trial_id, value in values.items()}
        texts |= dict.fromkeys(missing, _NOT_SET)
        return _category(key, title, texts, ordered=is_numeric and not missing, by=numbers)
    few = distinct if len(distinct) <= MOST_TICKS else []
    return SweptAxis(key, title, scale, True, _number_ticks(few), numbers)


def _number_ticks(values: Sequence[float]) -> tuple[tuple[float, str], ...]:
    """Return one tick per number, to three digits if that keeps the numbers distinct."""
    short = [f"{value:.3g}" for value in values]
    is_told_apart = len(set(short)) == len(values)
    return tuple(
        (value, text if is_told_apart and len(text) < len(shown(value)) else shown(value))
        for value, text in zip(values, short, strict=True)
    )


def _log_with_zero(
    key: str, title: str, numbers: Mapping[str, float], distinct: Sequence[float]
) -> SweptAxis:
    """Return a log axis with 0, such as a baseline without the term, left of all others."""
    lowest, highest = distinct[1], distinct[-1]
    stand_in = lowest / 3
    powers = range(math.ceil(math.log10(lowest)), math.floor(math.log10(highest)) + 1)
    ticks = ((stand_in, "0"), *((10.0**power, f"{10.0**power:g}") for power in powers))
    positions = {trial_id: value or stand_in for trial_id, value in numbers.items()}
    return SweptAxis(key, title, "log", True, ticks, positions)


def number_scale(values: Sequence[float], is_log: bool) -> Scale:
    """Choose a scale on which ascending ``values`` can be told apart.

    A few values that crowd a number axis (0, 0.9, 0.99, 0.999) are spaced evenly.

    Args:
        values: Distinct and ascending.
        is_log: Whether the study file asks for a log axis; honoured if all values are positive.
    """
    positive = bool(values) and values[0] > 0
    if positive and (is_log or values[-1] / values[0] > _WIDE):
        return "log"
    if len(values) > MOST_TICKS or not _is_crowded(values):
        return "linear"
    if positive and not _is_crowded([math.log(value) for value in values]):
        return "log"
    return "category"


def _is_crowded(values: Sequence[float]) -> bool:
    gaps = [right - left for left, right in itertools.pairwise(values)]
    return bool(gaps) and min(gaps) < _CROWDED * (values[-1] - values[0])


def _category(
    key: str,
    title: str,
    texts: Mapping[str, str],
    *,
    ordered: bool,
    by: Mapping[str, float] | None = None,
) -> SweptAxis:
    """Return an axis of evenly spaced texts: numbers ascending, others in study order."""
    order = sorted(texts, key=lambda t: by.get(t, math.inf)) if by else list(texts)
    places = {text: place for place, text in enumerate(dict.fromkeys(texts[t] for t in order))}
    ticks = tuple((float(place), text) for text, place in places.items())
    positions = {trial_id: float(places[text]) for trial_id, text in texts.items()}
    return SweptAxis(key, title, "category", ordered, ticks, positions)


def shown(value: JsonValue) -> str:
    """Format a value as a study file would write it."""
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
