"""Read and test the claims of a study: those in the store, or those of a study file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.errors import InputError, nearest
from harness.records.studies.claims import Claim, NotedClaim
from harness.store.database import Connection
from harness.store.tables.claims import ClaimResult, claim_results, read_claims


class ClaimFinding(NamedTuple):
    """A claim, when it was made, and what the finished runs say."""

    claim: Claim
    note: NotedClaim | None
    """None if no run of the study has noted it."""
    result: ClaimResult

    @property
    def is_registered(self) -> bool:
        """Whether it was made before any of its results."""
        return self.note is not None and self.note.is_registered


def read_claim_findings(con: Connection, study: str) -> tuple[ClaimFinding, ...]:
    """Test the claims that the runs of a study have noted."""
    notes = read_claims(con, study)
    results = claim_results(con, study, [note.claim for note in notes])
    return tuple(
        ClaimFinding(note.claim, note, result) for note, result in zip(notes, results, strict=True)
    )


def findings_as_written(
    con: Connection, study: str, claims: Sequence[Claim], where: Sequence[str]
) -> tuple[ClaimFinding, ...]:
    """Test the claims of a study file, which need not be noted.

    Args:
        con: The database.
        study: The study.
        claims: Its claims, in the order of the file.
        where: The place of each in the file.

    Raises:
        InputError: finished runs of the study do not report the metric of a claim.
    """
    known = {note.claim: note for note in read_claims(con, study)}
    metrics = _metrics(con, study)
    for position, claim in enumerate(claims):
        if metrics and claim.metric not in metrics:
            raise InputError(
                f"{where[position]}: claims.{position}.metric: no run reports "
                f"test/{claim.metric}; {nearest(claim.metric, metrics)}"
            )
    results = claim_results(con, study, claims)
    return tuple(
        ClaimFinding(claim, known.get(claim), result)
        for claim, result in zip(claims, results, strict=True)
    )


def _metrics(con: Connection, study: str) -> list[str]:
    """Return the metrics that finished runs have on the test classes."""
    rows = con.execute(
        "SELECT DISTINCT name FROM results WHERE study = $1 AND split = 'test' ORDER BY name",
        [study],
    ).fetchall()
    return [name for (name,) in rows]
