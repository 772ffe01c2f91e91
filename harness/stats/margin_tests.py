"""One-sided tests of paired differences against a margin, by exact sign flips. Pure.

A difference is *above* a margin if the differences minus the margin are too large for random signs,
and *below* it if they are too small. Under the null hypothesis, differences are symmetric about the
margin; a true mean on the other side of the margin only makes a p value larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from harness.stats.paired import (
    MIN_SEEDS_FOR_TEST,
    MOST_ENUMERATED,
    SAMPLED_FLIPS,
    flipped_sums,
    holm,
    t_interval,
)
from harness.stats.power import LEVEL

Question = Literal["above", "not below", "within"]
"""``above``: more than a margin above zero. ``not below``: above minus the margin. ``within``:
between minus the margin and the margin, by two one-sided tests (TOST)."""
Verdict = Literal["held", "refuted", "undecided"]


class MarginTest(NamedTuple):
    """A question about the mean of paired differences, and the evidence for and against it."""

    n: int
    difference: float
    low: float | None
    """Lower end of the 95 % paired t-interval; None for a single pair."""
    high: float | None
    p: float
    """One-sided p value of the test that would show the answer yes."""
    p_against: float
    """One-sided p value of the opposite test, which would show the answer no."""


class Decision(NamedTuple):
    """The verdict on one of several questions."""

    p_holm: float
    """``p``, adjusted for all questions."""
    p_against_holm: float
    """``p_against``, adjusted for all questions."""
    verdict: Verdict


def margin_test(differences: Sequence[float], question: Question, margin: float) -> MarginTest:
    """Test a question about the mean of paired differences.

    Args:
        differences: One per pair; at least one.
        question: What is asked.
        margin: Not negative; above zero for ``within``.
    """
    interval = t_interval(differences)
    bound = margin if question == "above" else -margin
    p, p_against = one_sided_p(differences, bound), one_sided_p(differences, bound, upper=False)
    if question == "within":  # both ends must be shown, and leaving either one refutes
        p = max(p, one_sided_p(differences, margin, upper=False))
        p_against = min(1.0, 2 * min(p_against, one_sided_p(differences, margin)))
    return MarginTest(
        len(differences), interval.mean, interval.low, interval.high, p=p, p_against=p_against
    )


def one_sided_p(differences: Sequence[float], margin: float, *, upper: bool = True) -> float:
    """Compute the p value of the test that the mean of ``differences`` is above ``margin``.

    Exact up to 20 pairs, where all ``2**n`` sign patterns are enumerated; with more, 2**18 random
    patterns from a fixed seed, with the observed one counted in.

    Args:
        differences: One per pair.
        margin: The bound of the mean under the null hypothesis.
        upper: False for the opposite test, that the mean is below ``margin``.

    Raises:
        ValueError: there are no differences.
    """
    if not differences:
        raise ValueError("a test needs at least one difference")
    moved = np.asarray(differences, dtype=np.float64) - margin
    if not upper:
        moved = -moved
    sizes = np.abs(moved)
    # Sums that differ from the observed one only by rounding count as ties. Differences and margin
    # are both rounded, so the tolerance is relative to both.
    scale = float(sizes.sum()) + len(sizes) * abs(margin)
    observed = float(moved.sum()) - 1e-12 * scale
    extreme = int(np.sum(flipped_sums(sizes) >= observed))
    if len(sizes) <= MOST_ENUMERATED:
        return float(extreme / 2 ** len(sizes))
    return (extreme + 1) / (SAMPLED_FLIPS + 1)


def decide(tests: Sequence[MarginTest]) -> list[Decision]:
    """Give the verdicts on a family of questions, in the order given.

    At most 5 % of families in which some answer is not yes have a question that is held although it
    is not true, and likewise for questions that are refuted although they are true: Holm's
    correction is applied to each of the two sides. With fewer pairs than any verdict needs
    (``MIN_SEEDS_FOR_TEST``), a question is undecided; it still counts in the correction.
    """
    held, refuted = holm([test.p for test in tests]), holm([test.p_against for test in tests])
    return [
        Decision(p, against, _verdict(test.n, p, against))
        for test, p, against in zip(tests, held, refuted, strict=True)
    ]


def pairs_for_verdict(questions: int) -> int:
    """Return the fewest pairs with which each of a family of questions could be decided."""
    pairs = MIN_SEEDS_FOR_TEST
    while questions / 2**pairs >= LEVEL:
        pairs += 1
    return pairs


def _verdict(pairs: int, p: float, p_against: float) -> Verdict:
    if pairs < MIN_SEEDS_FOR_TEST:
        return "undecided"
    if p < LEVEL:
        return "held"
    return "refuted" if p_against < LEVEL else "undecided"
