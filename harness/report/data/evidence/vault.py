"""Read how often the test set of a study has been read, over all studies of a results folder."""

from __future__ import annotations

from typing import NamedTuple

from harness.store.database import Connection
from harness.store.typed_rows import read_rows

_READINGS = """
WITH mine AS (
    SELECT coalesce(trial.test_set, run.data) AS test_set, count(*) AS runs
    FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
    WHERE trial.study = ? AND run.test AND run.state = 'done'
    GROUP BY ALL
)
SELECT vault.studies, vault.trials, count(*) OVER () FROM mine JOIN vault USING (test_set)
ORDER BY mine.runs DESC, test_set
"""


class Readings(NamedTuple):
    """How often a test set has been read."""

    studies: int
    trials: int
    """Over all these studies, controls left out."""
    test_sets: int = 1
    """Test sets that the study has opened; this is the one that most of its runs are scored on."""


def read_readings(con: Connection, study: str) -> Readings | None:
    """Return the readings of the test set of a study; None if it has not opened any."""
    rows = read_rows(con, _READINGS, [study])
    return Readings(*rows[0]) if rows else None
