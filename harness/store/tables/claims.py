"""Test the claims of a study on its finished pairs of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb

from harness.records.studies.claims import WINNER, Claim, NotedClaim
from harness.stats.margin_tests import (
    Decision,
    MarginTest,
    Question,
    Verdict,
    decide,
    margin_test,
    pairs_for_verdict,
)
from harness.store.tables.bulk_rows import Row, insert_rows

_QUESTIONS: Mapping[str, Question] = {
    "better_than": "above",
    "no_worse_than": "not below",
    "same_as": "within",
}


class ClaimResult(NamedTuple):
    """What the finished pairs of a study say about a claim; numbers are None without a pair."""

    n: int
    planned: int
    """Pairs that the study plans; 0 if a trial has not been chosen yet."""
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_against: float | None
    p_holm: float | None
    p_against_holm: float | None
    verdict: Verdict
    reason: str
    """Why it is undecided; empty if it is decided."""


class Pairs(NamedTuple):
    """The finished pairs of a claim."""

    differences: Sequence[float]
    planned: int
    ended: int
    """Pairs of which both runs have ended, well or not."""
    missing: str = ""
    """Why there are no differences; empty if there are."""


def claim_results(
    con: duckdb.DuckDBPyConnection, study: str, claims: Sequence[Claim]
) -> list[ClaimResult]:
    """Test the claims of a study, in the order given; see ``judged``."""
    return judged(claims, [_pairs(con, study, claim) for claim in claims])


def judged(claims: Sequence[Claim], found: Sequence[Pairs]) -> list[ClaimResult]:
    """Test claims on their pairs, with Holm's correction over all of them.

    A claim is tested once all its planned pairs have ended: a test after every pair would find
    something sooner or later. Failed runs then count as missing.
    """
    tests = [_test(claim, pairs) for claim, pairs in zip(claims, found, strict=True)]
    nothing = MarginTest(0, 0.0, None, None, p=1.0, p_against=1.0)
    family = [
        test if test is not None and pairs.ended >= pairs.planned else nothing
        for test, pairs in zip(tests, found, strict=True)
    ]
    return [
        _result(pairs, test, decision, is_tested=member is not nothing, claims=len(claims))
        for pairs, test, decision, member in zip(found, tests, decide(family), family, strict=True)
    ]


def _test(claim: Claim, pairs: Pairs) -> MarginTest | None:
    if not pairs.differences:
        return None
    return margin_test(pairs.differences, _QUESTIONS[claim.relation], claim.margin)


def _result(
    pairs: Pairs, test: MarginTest | None, decision: Decision, *, is_tested: bool, claims: int
) -> ClaimResult:
    return ClaimResult(
        n=len(pairs.differences),
        planned=pairs.planned,
        difference=test.difference if test else None,
        low=test.low if test else None,
        high=test.high if test else None,
        p=test.p if test and is_tested else None,
        p_against=test.p_against if test and is_tested else None,
        p_holm=decision.p_holm if is_tested else None,
        p_against_holm=decision.p_against_holm if is_tested else None,
        verdict=decision.verdict,
        reason="" if decision.verdict != "undecided" else _reason(pairs, claims),
    )


def write_claims(
    con: duckdb.DuckDBPyConnection, study: str, notes: Sequence[NotedClaim], noted: Sequence[str]
) -> None:
    """Replace the claims of a study; see ``refresh_claims`` for their results.

    Args:
        con: The database, in the caller's transaction.
        study: The study.
        notes: Its claims.
        noted: When each was noted, as a timestamp.
    """
    rows: list[Row] = [
        {
            "study": study,
            "number": number,
            "claim": note.claim.text,
            "trial": note.claim.trial,
            "relation": note.claim.relation,
            "other": note.claim.other,
            "metric": note.claim.metric,
            "margin": note.claim.margin,
            "noted": time,
            "known_pairs": note.known_pairs,
            "planned_pairs": note.planned_pairs,
        }
        for number, (note, time) in enumerate(zip(notes, noted, strict=True))
    ]
    if [note.claim for note in read_claims(con, study)] != [note.claim for note in notes]:
        con.execute("DELETE FROM claim_result WHERE study = $1", [study])  # of other claims
    con.execute("DELETE FROM claim WHERE study = $1", [study])
    insert_rows(con, "claim", rows)


def read_claims(con: duckdb.DuckDBPyConnection, study: str) -> list[NotedClaim]:
    """Return the claims of a study as they were noted, in order."""
    rows = con.execute(
        """
        SELECT trial, relation, other, metric, margin, noted::VARCHAR, known_pairs, planned_pairs
        FROM claim WHERE study = $1 ORDER BY number
        """,
        [study],
    ).fetchall()
    return [NotedClaim(Claim(*row[:5]), *row[5:]) for row in rows]


def refresh_claims(con: duckdb.DuckDBPyConnection, study: str) -> None:
    """Recompute the results of a study's claims, in the caller's transaction."""
    claims = [note.claim for note in read_claims(con, study)]
    rows: list[Row] = [
        {"study": study, "number": number, **result._asdict()}
        for number, result in enumerate(claim_results(con, study, claims))
    ]
    con.execute("DELETE FROM claim_result WHERE study = $1", [study])
    insert_rows(con, "claim_result", rows)


def _pairs(con: duckdb.DuckDBPyConnection, study: str, claim: Claim) -> Pairs:
    """Collect the finished pairs of a claim."""
    one, other = (_trial(con, study, label) for label in (claim.trial, claim.other))
    for trial_id, label in ((one, claim.trial), (other, claim.other)):
        if trial_id is None:
            return Pairs([], 0, 0, f"{label} has not been scored on the test classes")
    rows = con.execute(
        """
        SELECT one.seed, one.run_id, other.run_id, ours.state, theirs.state
        FROM member AS one JOIN member AS other USING (seed)
        LEFT JOIN run AS ours ON ours.run_id = one.run_id
        LEFT JOIN run AS theirs ON theirs.run_id = other.run_id
        WHERE one.trial_id = $1 AND other.trial_id = $2
        """,
        [one, other],
    ).fetchall()
    over = ("done", "failed", "pruned")
    ended = sum(ours in over and theirs in over for *_, ours, theirs in rows)
    values = con.execute(
        """
        SELECT one.value - other.value
        FROM results AS one JOIN results AS other USING (seed, split, name)
        WHERE one.trial_id = $1 AND other.trial_id = $2 AND split = 'test' AND name = $3
        ORDER BY seed
        """,
        [one, other, claim.metric],
    ).fetchall()
    missing = "" if values else f"no pair of runs has test/{claim.metric}"
    return Pairs([value for (value,) in values], len(rows), ended, missing)


def _trial(con: duckdb.DuckDBPyConnection, study: str, label: str) -> str | None:
    """Return the trial of that label, or the winner, that is scored on the test classes."""
    rows = con.execute(
        """
        SELECT trial_id, label, role FROM trial
        WHERE study = $1 AND phase = 'confirm' AND pruned IS NULL ORDER BY number
        """,
        [study],
    ).fetchall()
    named = [trial_id for trial_id, name, _ in rows if name == label]
    if not named and label == WINNER:
        named = [trial_id for trial_id, _, role in rows if role == "trial"]
    return named[0] if named else None


def _reason(pairs: Pairs, claims: int) -> str:
    """Say why a claim is undecided."""
    if pairs.missing and pairs.ended == pairs.planned:
        return pairs.missing
    if pairs.ended < pairs.planned:
        return f"{pairs.ended} of {pairs.planned} pairs have ended"
    needed = pairs_for_verdict(claims)
    if len(pairs.differences) < needed:
        return f"{len(pairs.differences)} pairs cannot decide it; it needs {needed}"
    return "the test classes show it neither true nor false"
