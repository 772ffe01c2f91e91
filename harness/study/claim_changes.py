"""Keeps registered claims as they are: a prediction that may be edited predicts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import InputError
from harness.records.studies.claims import NotedClaim
from harness.study.loading import Loaded


def refuse_changed_claims(loaded: Loaded, noted: Sequence[NotedClaim]) -> None:
    """Reject a study that lacks a claim registered under its name; new claims are allowed.

    Args:
        loaded: The current study.
        noted: The claims noted under its name, registered or made after results.

    Raises:
        InputError: with both versions, and the remedy.
    """
    registered = [each for each in noted if each.is_registered]
    now = loaded.spec.claimed
    if all(each.claim in now for each in registered):
        return
    where = loaded.source.where(("claims",))
    lines = [
        f"{where}: claims: study {loaded.spec.study!r} has registered claims before its results, "
        "and they have changed:",
        *(f"  registered {each.noted[:10]}: {each.claim.text}" for each in registered),
        *(f"  now: {claim.text}" for claim in now),
        *([] if now else ["  now: none"]),
        "write the registered claims again (more may be added), or give the study another name "
        "(in the file, or with --set study=NAME)",
    ]
    raise InputError("\n".join(lines))
