"""Notes the claims of a study in its record, with what was known when each was first seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.records.events import utc_now
from harness.records.studies.claims import WINNER, Claim, NotedClaim
from harness.search.history import FinishedRuns
from harness.search.scheduler import Scheduler
from harness.study.spec import StudySpec


def note_claims(
    spec: StudySpec, before: Sequence[NotedClaim], schedule: Scheduler, finished: FinishedRuns
) -> tuple[NotedClaim, ...]:
    """Return the notes on the claims of ``spec``; claims noted before keep their notes.

    Args:
        spec: The study.
        before: The notes of earlier calls.
        schedule: The runs of the study so far.
        finished: The runs that have finished, whichever study trained them.
    """
    known = {note.claim: note for note in before}
    return tuple(
        known.get(claim) or _note(claim, spec, schedule, finished) for claim in spec.claimed
    )


def merged_notes(one: Iterable[NotedClaim], other: Iterable[NotedClaim]) -> tuple[NotedClaim, ...]:
    """Merge the notes of two drivers of a study; the earlier note on a claim counts."""
    found: dict[Claim, NotedClaim] = {}
    for note in (*one, *other):
        found[note.claim] = min(found.get(note.claim, note), note, key=lambda each: each.noted)
    return tuple(found.values())


def _note(claim: Claim, spec: StudySpec, schedule: Scheduler, finished: FinishedRuns) -> NotedClaim:
    one, other = (_runs(label, schedule) for label in (claim.trial, claim.other))
    pairs = [(one[seed], other[seed]) for seed in one.keys() & other.keys()]
    planned = len(spec.confirm_seed_list if spec.is_confirmed else spec.seed_list)
    return NotedClaim(
        claim,
        noted=utc_now(),
        known_pairs=sum(all(_is_done(run, finished) for run in pair) for pair in pairs),
        planned_pairs=len(pairs) or planned,
    )


def _runs(label: str, schedule: Scheduler) -> dict[int, str]:
    """Return seed -> run id of the trial of this label that is scored on test classes, if any."""
    scored = [trial for trial in schedule.trials if trial.phase == "confirm"]
    named = [trial for trial in scored if trial.label == label]
    if not named and label == WINNER:
        named = [trial for trial in scored if trial.role == "trial"]
    ids = {trial.trial_id for trial in named[:1]}
    return {member.seed: member.run_id for member in schedule.members if member.trial_id in ids}


def _is_done(run_id: str, finished: FinishedRuns) -> bool:
    return run_id in finished and finished[run_id].state == "done"
