"""Test the claims of a study, given its file or its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError, nearest
from harness.report.data.evidence.claims import (
    ClaimFinding,
    findings_as_written,
    read_claim_findings,
)
from harness.report.findings.claim_lines import exit_status
from harness.store.database import Connection, reading
from harness.store.tables.claims import read_claims
from harness.study.claim_changes import refuse_changed_claims
from harness.study.loading import load_study
from harness.study.trials.claimed import no_such_trial
from harness.workload import JsonValue


class StudyClaims(NamedTuple):
    """The claims of a study, tested."""

    study: str
    found: tuple[ClaimFinding, ...]


def read_study_claims(
    results: Path, study: str, *, on_wait: Callable[[str], None] | None = None
) -> StudyClaims:
    """Test the claims of a study file, or of a study by its name.

    Claims of a file that no run has noted yet are tested, too; they count as made after results.

    Raises:
        InputError: the study is unknown or makes no claims, a registered claim was changed, or a
            claim names an unknown trial or metric.
        StoreError: the database cannot be read.
    """
    path = Path(study)
    with reading(results, on_wait=on_wait) as con:
        if path.suffix in (".yaml", ".yml") or path.is_file():
            return _of_file(con, results, path)
        _check_known(con, results, study)
        found = read_claim_findings(con, study)
    if not found:
        raise InputError(f"{study}: the study makes no claims; add them under 'claims'")
    return StudyClaims(study, found)


def claim_document(claims: StudyClaims) -> dict[str, JsonValue]:
    """Return the tested claims as plain values, with stable names."""
    return {
        "study": claims.study,
        "status": exit_status(claims.found),
        "claims": [_plain(each) for each in claims.found],
    }


def _of_file(con: Connection, results: Path, path: Path) -> StudyClaims:
    loaded = load_study(path)
    name, claims = loaded.spec.study, loaded.spec.claimed
    _check_known(con, results, name)
    refuse_changed_claims(loaded, read_claims(con, name))
    if not claims:
        raise InputError(f"{path}: claims: the study makes none; add them under 'claims'")
    labels = con.execute("SELECT label FROM trial WHERE study = $1", [name]).fetchall()
    if problem := no_such_trial(loaded, [label for (label,) in labels]):
        raise InputError(problem)
    places = [loaded.source.where(("claims", n, "metric")) for n in range(len(claims))]
    return StudyClaims(name, findings_as_written(con, name, claims, places))


def _check_known(con: Connection, results: Path, study: str) -> None:
    """Raise unless the results have a study of this name."""
    known = [name for (name,) in con.execute("SELECT study FROM study ORDER BY study").fetchall()]
    if study not in known:
        raise InputError(f"{results}: no study {study!r} has been run; {nearest(study, known)}")


def _plain(found: ClaimFinding) -> dict[str, JsonValue]:
    claim, note = found.claim, found.note
    return {
        "claim": claim.text,
        "digest": claim.digest,
        "trial": claim.trial,
        "relation": claim.relation,
        "other": claim.other,
        "metric": claim.metric,
        "margin": claim.margin,
        **found.result._asdict(),
        "is_registered": found.is_registered,
        "noted": note.noted if note else None,
        "known_pairs": note.known_pairs if note else None,
        "planned_pairs": note.planned_pairs if note else None,
    }
