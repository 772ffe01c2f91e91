"""Report where run time goes, part by part, if ``harness run --profile`` measured it."""

from __future__ import annotations

from typing import NamedTuple

from harness.report.html.elements.escape import label
from harness.report.html.elements.layout import note, section
from harness.report.html.elements.tables import data_table, table_row
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

PREFIX = "seconds/part/"
"""Prefix of the metrics that hold the seconds an epoch spent on one part."""

_PARTS = """
WITH own AS (
    SELECT DISTINCT run_id FROM member JOIN trial USING (trial_id)
    WHERE study = $study AND role <> 'control'
)
SELECT
    substr(name, length($prefix) + 1) AS part, sum(value ORDER BY run_id, epoch) AS seconds,
    count(DISTINCT run_id) AS runs, count(*) AS epochs
FROM epoch JOIN own USING (run_id)
WHERE starts_with(name, $prefix)
GROUP BY part
ORDER BY seconds DESC, part
"""


class Part(NamedTuple):
    """Time spent in one part of a run."""

    name: str
    seconds: float
    """Per epoch, averaged over runs and epochs."""
    share: float
    """Fraction of the time of all parts."""


class Profile(NamedTuple):
    """Time spent in each part, over a study's runs."""

    parts: tuple[Part, ...]
    """Longest first."""
    runs: int
    """Number of runs measured."""


def read_profile(con: Connection, study: str) -> Profile | None:
    """Return the time of each part that runs reported; None if none did."""
    rows = read_rows(con, _PARTS, {"study": study, "prefix": PREFIX})
    total = sum(seconds for _, seconds, _, _ in rows)
    if not rows or total <= 0:
        return None
    parts = tuple(Part(name, each / epochs, each / total) for name, each, _, epochs in rows)
    return Profile(parts, max(runs for _, _, runs, _ in rows))


def profile_section(profile: Profile | None) -> str:
    """Render the parts as a table."""
    if profile is None:
        return ""
    runs = "1 run" if profile.runs == 1 else f"{profile.runs} runs"
    words = note(
        f"Measured in {runs}, excluding controls. The time of a nested part counts towards that "
        "part only. On a GPU, profiling slows a run down, because it waits for each part to finish."
    )
    rows = [
        table_row(label(part.name), [f"{100 * part.share:.1f}", f"{part.seconds:.3f}"])
        for part in profile.parts
    ]
    table = data_table("Share of each part", ["part", "% of time", "s per epoch"], rows)
    return section("Where the time goes", words, table)
