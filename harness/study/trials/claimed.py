"""Checks that the claims of a study are about trials that it has."""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import InputError, nearest
from harness.records.studies.claims import WINNER
from harness.records.trial import Trial
from harness.study.loading import Loaded


def check_claims(loaded: Loaded, trials: Sequence[Trial]) -> None:
    """Reject a claim about a trial that the study does not have.

    Args:
        loaded: The study.
        trials: Its trials that are known before any result, controls included.

    Raises:
        InputError: with the place of the claim.
    """
    if problem := no_such_trial(loaded, [trial.label for trial in trials]):
        raise InputError(problem)


def no_such_trial(loaded: Loaded, labels: Sequence[str]) -> str | None:
    """Describe the first claim about a trial that is not among ``labels``; None if there is none.

    The winner of a study with ``confirm`` is known by that name before it is found.
    """
    spec = loaded.spec
    known = [*dict.fromkeys(labels), *([WINNER] if spec.confirm else [])]
    for position, claim in enumerate(spec.claims):
        for field in ("trial", claim.relation):
            if (label := getattr(claim, field)) not in known:
                where = loaded.source.where(("claims", position, field))
                return (
                    f"{where}: claims.{position}.{field}: no trial {label!r}; "
                    f"{nearest(label, known)}"
                )
    return None
