"""Read the Recall@1 that runs would have with fewer classes, on validation and on test classes.

With more classes there are more images to confuse a query with, so scores of splits with different
numbers of classes cannot be compared. With equal numbers they can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harness.report.data.study_data import StudyTables
from harness.stats.paired import spearman
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

_CURVES = """
SELECT trial_id, split, classes, of_classes, is_matched, avg(recall ORDER BY seed), count(*)
FROM recall_by_classes
WHERE study = $study AND list_contains($trials, trial_id)
GROUP BY ALL
ORDER BY trial_id, split, classes, of_classes, is_matched
"""


class ClassPoint(NamedTuple):
    """Mean Recall@1 of a trial over its seeds, among ``classes`` of ``of_classes`` classes."""

    classes: int
    of_classes: int
    is_matched: bool
    """Whether the other split is compared at this number of classes."""
    recall: float
    n: int


@dataclass(frozen=True, slots=True)
class ByClasses:
    """Recall@1 by number of classes."""

    curves: Mapping[tuple[str, str], tuple[ClassPoint, ...]]
    """By trial_id and split, ascending in the number of classes."""
    classes: Mapping[str, int]
    """Split -> its number of classes: ``val`` and ``test``, which differ."""
    raw: Mapping[str, Mapping[str, float]]
    """Split -> trial_id -> Recall@1 among all its classes; contenders with both splits only."""
    matched: Mapping[str, Mapping[str, float]]
    """The same among the smaller number of classes."""

    @property
    def matched_classes(self) -> int:
        """The number of classes at which the splits are compared."""
        return min(self.classes.values())


def read_by_classes(con: Connection, tables: StudyTables) -> ByClasses | None:
    """Read the curves of all trials; None unless runs have counts of both splits.

    Also None if the splits have equal numbers of classes, or if the runs of a split do not all
    have the same number.
    """
    ids = [trial.trial_id for trial in tables.trials]
    rows = read_rows(con, _CURVES, {"study": tables.study.name, "trials": ids})
    curves: dict[tuple[str, str], list[ClassPoint]] = {}
    for trial_id, split, *point in rows:
        curves.setdefault((trial_id, split), []).append(ClassPoint(*point))
    sizes: dict[str, set[int]] = {}
    for (_, split), points in curves.items():
        sizes.setdefault(split, set()).update(point.of_classes for point in points)
    if sizes.keys() != {"val", "test"} or len(set.union(*sizes.values())) != 2:
        return None
    if any(len(found) != 1 for found in sizes.values()):
        return None
    contenders = [
        trial.trial_id
        for trial in tables.contenders
        if all((trial.trial_id, split) in curves for split in sizes)
    ]
    return ByClasses(
        curves={key: tuple(points) for key, points in curves.items()},
        classes={split: found.pop() for split, found in sizes.items()},
        raw=_means(curves, contenders, lambda point: point.classes == point.of_classes),
        matched=_means(curves, contenders, lambda point: point.is_matched),
    )


def _means(
    curves: Mapping[tuple[str, str], Sequence[ClassPoint]],
    trials: Sequence[str],
    is_wanted: Callable[[ClassPoint], bool],
) -> dict[str, dict[str, float]]:
    """Return split -> trial -> its Recall@1 at the point that is wanted."""
    return {
        split: {
            trial: next(point.recall for point in curves[trial, split] if is_wanted(point))
            for trial in trials
        }
        for split in ("val", "test")
    }


def rank_correlation(recall: Mapping[str, Mapping[str, float]]) -> float | None:
    """Return Spearman's correlation of validation with test over trials; None below three."""
    trials = list(recall["val"])
    return spearman(*([recall[split][trial] for trial in trials] for split in ("val", "test")))
