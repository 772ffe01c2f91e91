"""Read how much of the variance between the trials each parameter and each pair explains."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.data.study_data import StudyTables
from harness.store.database import Connection
from harness.store.typed_rows import read_rows

_SHARES = """
SELECT parameter, nullif(other, ''), share, low, high FROM explained_variance
WHERE study = ? ORDER BY other <> '', share DESC, parameter, other
"""


@dataclass(frozen=True, slots=True)
class ExplainedShare:
    """What one parameter, or a pair beyond its two parameters, explains."""

    parameter: str
    other: str | None
    """The second parameter of a pair."""
    share: float
    low: float | None
    high: float | None


def read_explained(con: Connection, tables: StudyTables) -> tuple[ExplainedShare, ...]:
    """Return the parameters, largest share first, then the pairs; empty for a search.

    Those of a search are of its own trials, which have a section with pictures of their own.
    """
    if tables.is_search or tables.is_confirmation:
        return ()
    return tuple(ExplainedShare(*row) for row in read_rows(con, _SHARES, [tables.study.name]))
