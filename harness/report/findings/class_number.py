"""Say how scores depend on classes: on their number, and on which ones were drawn. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from harness.report.data.evidence.by_classes import ByClasses, rank_correlation
from harness.report.data.study_data import OverClasses
from harness.report.findings.estimates import decimal


def class_number_text(found: ByClasses) -> str:
    """Compare the splits by their mean over trials, then by how they rank the trials."""
    raw, matched = _mean(found.raw), _mean(found.matched)
    said = "No trial has been scored on both splits."
    if raw is not None and matched is not None:
        said = (
            f"Recall@1 is {decimal(raw['val'])} among {found.classes['val']} validation classes "
            f"and {decimal(raw['test'])} among {found.classes['test']} test classes (means over "
            f"trials); among {found.matched_classes} classes each it is "
            f"{decimal(matched['val'])} and {decimal(matched['test'])}."
        )
    rho = rank_correlation(found.raw), rank_correlation(found.matched)
    if rho[0] is None or rho[1] is None:
        return said
    return (
        f"{said} Over {len(found.raw['val'])} trials, the rank correlation of validation with test "
        f"(Spearman) is {decimal(rho[0], 2)} as they are and {decimal(rho[1], 2)} at equal numbers "
        "of classes."
    )


def class_interval_note(wide: OverClasses) -> str:
    """Say what the two intervals of a difference cover."""
    if wide.folds is not None:
        return (
            "The interval beside a difference covers what other seeds would give on these classes; "
            "the one for other classes also covers another draw of training and validation "
            f"classes, from the differences of the {wide.folds} folds (Nadeau and Bengio)."
        )
    return (
        "The interval beside a difference covers what other seeds would give on these "
        f"{wide.classes} test classes; the one for other classes also covers another draw of "
        f"{wide.classes} such classes."
    )


def _mean(recall: Mapping[str, Mapping[str, float]]) -> dict[str, float] | None:
    if not recall["val"]:
        return None
    return {split: sum(found.values()) / len(found) for split, found in recall.items()}
