"""Where the time of runs goes, part by part, where ``harness run --profile`` measured it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness.report.html.escape import label
from harness.report.html.layout import note, section
from harness.report.html.tables import data_table, table_row
from harness.store.typed_rows import integer, number, read_rows

PREFIX = "seconds/part/"
"""A metric of this name is the time that an epoch has spent on a part."""

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
    """One part of the work."""

    name: str
    seconds: float
    """In an epoch, on average over runs and epochs."""
    share: float
    """Of all parts together."""


class Profile(NamedTuple):
    """Where the time of a study's runs went."""

    parts: tuple[Part, ...]
    """The longest first."""
    runs: int
    """That were measured."""


def load_profile(results: Path, study: str) -> Profile | None:
    """The parts that trained runs reported; None where none did.

    Raises:
        StoreError: the database cannot be read.
    """
    rows = read_rows(results, _PARTS, {"study": study, "prefix": PREFIX})
    total = sum(number(seconds) for _, seconds, _, _ in rows)
    if not rows or total <= 0:
        return None
    parts = tuple(
        Part(str(name), number(seconds) / integer(epochs), number(seconds) / total)
        for name, seconds, _, epochs in rows
    )
    return Profile(parts, max(integer(runs) for _, _, runs, _ in rows))


def profile_section(profile: Profile | None) -> str:
    """The parts as a table."""
    if profile is None:
        return ""
    runs = "1 run" if profile.runs == 1 else f"{profile.runs} runs"
    words = note(
        f"Measured in {runs}, controls left out. A part that runs inside another one counts for "
        "itself alone. On a GPU the measurement makes a run slower, because it waits for each part."
    )
    rows = [
        table_row(label(part.name), [f"{100 * part.share:.1f}", f"{part.seconds:.3f}"])
        for part in profile.parts
    ]
    table = data_table("Share of each part", ["part", "% of the time", "s an epoch"], rows)
    return section("Where the time goes", words, table)
