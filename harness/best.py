"""Where the best model of a study lies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from harness import store
from harness.spool import run_dir, work_dir

_BEST = """
WITH score AS (
    SELECT trial, trial_id, number, phase, seed, run_id, value
    FROM results JOIN study USING (study)
    WHERE study = $study AND split = 'val' AND role <> 'control'
        AND name = regexp_replace(metric, '^.*/', '')
),
mean AS (
    SELECT
        trial_id, phase, number, avg(value ORDER BY seed) AS mean,
        count(*) = (SELECT count(*) FROM member WHERE member.trial_id = score.trial_id) AS is_whole
    FROM score
    GROUP BY trial_id, phase, number
),
best AS (
    SELECT trial_id FROM mean
    ORDER BY phase <> 'confirm', NOT is_whole, mean DESC, number
    LIMIT 1
)
SELECT trial, seed, run_id, value
FROM score JOIN best USING (trial_id)
ORDER BY value DESC, seed
LIMIT 1
"""


class BestModel(NamedTuple):
    """The best run of the best trial."""

    trial: str
    seed: int
    run_id: str
    score: float
    """The study's metric on validation classes: test classes choose nothing."""
    path: Path
    """Its model file, or the folder of its files where there is no such file."""


def best_model(results: Path, study: str) -> BestModel | None:
    """The run to take from a study: the best seed of the best trial, both by validation.

    Trials that were confirmed come before those of the search, whose best is partly luck, and
    trials that lack no seed before others. None where no run has a validation score yet.

    Raises:
        InputError: nothing to read yet.
        StoreError: the database cannot be read.
    """
    rows = store.query(results, _BEST, {"study": study}).rows
    if not rows:
        return None
    trial, seed, run_id, score = rows[0]
    work = work_dir(run_dir(results, str(run_id)))
    files = sorted(path for path in work.glob("model.*") if path.is_file())
    return BestModel(
        str(trial), int(str(seed)), str(run_id), float(str(score)), files[0] if files else work
    )
