"""What the columns of the views mean, for the comments in the database.

DuckDB forgets them when a view is replaced, so they are written anew after every migration.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from harness.store.bulk_rows import quoted

COLUMNS: Mapping[str, str] = {
    "attempts": "How often it was started.",
    "difference": "Mean of trial minus baseline.",
    "epoch": "As the workload counts.",
    "exploratory": "Too few seeds (below 6) for any verdict.",
    "failure": "Its class: diverged, collapsed, oom, crash, timeout, stalled or invalid.",
    "high": "Upper end of the 95 % t-interval of the mean; null at one seed.",
    "is_baseline": "Whether the others are compared with it.",
    "is_complete": "Whether all its seeds are finished.",
    "k": "Neighbours looked at.",
    "low": "Lower end of the 95 % t-interval of the mean; null at one seed.",
    "mean": "Over finished seeds.",
    "message": "Why it failed, in a line.",
    "metric": "The primary metric of the study.",
    "n": "Seeds that are finished.",
    "name": "Of the result: recall@K, nmi, map@r, ...",
    "number": "Position of the trial in the study, from 0; controls come last.",
    "opened": "When the run started, UTC.",
    "p": "Two-sided exact sign-flip p; never below 2 / 2**n.",
    "p_error": "Standard error of p: 0 up to 20 seeds, where it is exact; beyond, it is sampled.",
    "p_holm": "p adjusted for all trials compared on this metric, controls apart.",
    "phase": "search: scored on validation classes only; confirm: test classes are opened.",
    "prob_improvement": "Share of seeds won; a tie counts half.",
    "pruned": "Why a search gave it up, in a line; null if it did not.",
    "rank": "From 1, within the study.",
    "reason": "Why, in a line.",
    "role": "trial, baseline or control.",
    "run_id": "The run.",
    "runs": "How many finished runs have this value.",
    "sd": "Standard deviation over finished seeds (n - 1); null at one seed.",
    "seed": "The seed; equal seeds of two trials are a pair.",
    "seeds_done": "Seeds that are finished.",
    "seeds_failed": "Seeds whose run failed.",
    "seeds_planned": "Seeds that the study asks for.",
    "seeds_pruned": "Seeds that a search stopped early or spared.",
    "settings": "What it varies, as text: key=value, key=value.",
    "split": "The classes scored: val, test or what the workload names.",
    "stderr": "The last lines it printed.",
    "study": "The study.",
    "trial": "The label of the trial.",
    "trial_id": "The trial.",
    "value": "Its value.",
    "variant": "Name of the variant, where the study has variants.",
    "what": "A library, device, number_format or memory_layout.",
    "varied": "Dotted key to value, for what differs between trials, as JSON text.",
}
"""Column -> what it means in every view that has it."""

OF_ONE_VIEW: Mapping[tuple[str, str], str] = {
    ("classes", "label"): "The class.",
    ("classes", "queries"): "Queries of the class that count.",
    ("classes", "recall"): "Share of them whose nearest neighbour is of the class.",
    ("comparisons", "high"): "Upper end of the 95 % paired t-interval; null at one seed.",
    ("comparisons", "low"): "Lower end of the 95 % paired t-interval; null at one seed.",
    ("comparisons", "metric"): "recall@K or the name of a score.",
    ("comparisons", "n"): "Seeds that both have finished.",
    ("curves", "name"): "loss, learning_rate, val/recall@1, ...",
    ("leaderboard", "split"): "The classes that decide: test for confirmed trials, else val.",
    ("mixed", "value"): "One of the values that runs have; there are two or more.",
    ("openings", "reason"): "Why the test classes were opened.",
    ("pruned", "reason"): "Why the search gave it up, in a line.",
    ("trials", "split"): "The classes that decide: test for confirmed trials, else val.",
}
"""View and column -> what it means there alone."""


def comment_on_views(con: duckdb.DuckDBPyConnection) -> None:
    """Describe every column of every view that is known here; others stay as they are."""
    columns = con.execute(
        """
        SELECT table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND table_name IN (SELECT view_name FROM duckdb_views())
        """
    ).fetchall()
    for view, column in columns:
        comment = OF_ONE_VIEW.get((view, column)) or COLUMNS.get(column)
        if comment is not None:
            text = comment.replace("'", "''")
            con.execute(f"COMMENT ON COLUMN {quoted(view)}.{quoted(column)} IS '{text}'")
