"""Format numbers for readers: means, differences, intervals and p values.

Every page, sentence and table formats its numbers here, so that "±" is always half the 95 %
interval and a minus always a true minus. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.report.data.study_data import Comparison, OverClasses, Summary
from harness.stats.ablations.lattice import Effect
from harness.stats.paired import half_interval

NONE = "\N{EN DASH}"
"""Shown in place of a missing number."""
_LEVEL = 0.05


def decimal(value: float, digits: int = 3) -> str:
    """Format a number with a true minus, and no negative zero."""
    text = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int = 3) -> str:
    """Format a difference with its sign; one that rounds to zero has none."""
    text = decimal(value, digits)
    return f"+{text}" if value > 0 and float(text) != 0 else text


def plus_minus(summary: Summary, digits: int = 3) -> str:
    """Format a mean ± half its 95 % interval, ``0.612 ± 0.012``; the mean alone at one seed."""
    half = half_interval(summary.low, summary.high)
    if half is None:
        return decimal(summary.mean, digits)
    least = 10.0**-digits
    is_hidden = 0 < half < least / 2  # rounds to zero, which is for identical seeds
    shown = f"<{least:.{digits}f}" if is_hidden else decimal(half, digits)
    return f"{decimal(summary.mean, digits)} ± {shown}"


def bar_lengths(found: Iterable[Summary | Comparison]) -> list[float | None]:
    """Return half of each 95 % interval, for error bars; None where there is none."""
    halves = [half_interval(each.low, each.high) for each in found]
    return [None if half is None else round(half, 6) for half in halves]


def range_text(summary: Summary | None) -> str:
    """Format the 95 % interval of a mean as a cell: ``0.600 to 0.624``."""
    if summary is None or summary.low is None or summary.high is None:
        return NONE
    return f"{decimal(summary.low)} to {decimal(summary.high)}"


def summary_text(summary: Summary) -> str:
    """Format a mean with its interval: ``0.612 [0.600, 0.624], 5 seeds``."""
    seeds = "1 seed" if summary.n == 1 else f"{summary.n} seeds"
    if summary.low is None or summary.high is None:
        return f"{decimal(summary.mean)}, {seeds}"
    interval = f"[{decimal(summary.low)}, {decimal(summary.high)}]"
    return f"{decimal(summary.mean)} {interval}, {seeds}"


def signed_interval(found: Comparison | Effect, digits: int = 3) -> str:
    """Format the 95 % interval of a difference, ``[+0.010, +0.052]``; empty with one seed."""
    if found.low is None or found.high is None:
        return ""
    return f"[{signed(found.low, digits)}, {signed(found.high, digits)}]"


def difference_text(comparison: Comparison) -> str:
    """Format a difference with its 95 % interval: ``+0.031 [+0.010, +0.052]``."""
    return f"{signed(comparison.difference)} {signed_interval(comparison)}".rstrip()


def class_interval_text(wide: OverClasses) -> str:
    """Format the interval that covers other test classes too: ``[-0.004, +0.066]``."""
    return f"[{signed(wide.low)}, {signed(wide.high)}]"


def verdict(comparison: Comparison) -> str:
    """Return ``better``, ``worse`` or ``undecided``, or ``exploratory`` if seeds are too few."""
    if comparison.exploratory:
        return "exploratory"
    if comparison.decision:
        first = comparison.decision.partition(",")[0]
        return first if first in ("better", "worse") else "undecided"
    if comparison.p_holm is None or comparison.p_holm >= _LEVEL:
        return "undecided"
    return "better" if comparison.difference > 0 else "worse"


def p_text(p: float | None) -> str:
    """Format a p value to two or three decimals; below 0.001 it is ``< 0.001``."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def evidence(comparison: Comparison) -> str:
    """Format a comparison's evidence and verdict: ``Holm p = 0.012, 10 paired seeds: better``."""
    seeds = "1 paired seed" if comparison.n == 1 else f"{comparison.n} paired seeds"
    if comparison.exploratory:
        return f"{seeds}: exploratory"
    if comparison.decision:
        return comparison.decision
    p = p_text(comparison.p_holm)
    equals = p if p.startswith("<") else f"= {p}"
    return f"Holm p {equals}, {seeds}: {verdict(comparison)}"
