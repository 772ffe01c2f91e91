"""What a study of variance costs, and how well it could know a share."""

from __future__ import annotations

from harness.stats.variance.variance_share import factor_of_interval
from harness.study.variance import Variance


def variance_lines(variance: Variance | None) -> tuple[str, ...]:
    """Say what the design costs and how wide its intervals are; empty for any other study."""
    if variance is None:
        return ()
    count, levels = len(variance.sources), variance.levels
    factor = factor_of_interval(levels)
    return (
        f"variance: {count} source{'s' * (count != 1)} alone, all together and none cost "
        f"({count} + 2) x {levels} runs; a share of the variance is then known up to a factor of "
        f"{factor:.1f} (95 %), or better where a source gives much of what all give together",
    )
