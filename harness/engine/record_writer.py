"""Writes the record of a study that several drivers may be working on.

Each write increments the version of the record. A driver writes under an exclusive lock and only
while it holds its leases; a driver that others consider dead writes nothing. What happens depends
on the record found on disk:

- There is none, or it is the one that this driver last read or wrote: it is replaced.
- Another driver of the same study has written it since: the two are merged. The new record has the
  trials and runs of both, everything that either has pruned, and the time spent by both. Fields
  that affect no result (the question, the budget) keep the value written last.
- Any other record written since, because the study was extended, is run with different code or
  data, or ended its search at a different point: that record is kept, and this driver stops.

There is one exception: the first record of a driver was just planned from the current code and
data, so its runs replace other runs of the same trials.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.engine.budget import TimeBudget
from harness.engine.claim_notes import merged_notes, note_claims
from harness.engine.dispatch.leases import Leases
from harness.engine.dispatch.run_states import RunTable
from harness.engine.dispatch.store_writer import StoreWriter
from harness.engine.forecast.notes import ForecastNotes
from harness.engine.study_state import restore_search_end
from harness.errors import HarnessError
from harness.records.events import utc_now
from harness.records.plain_file import file_stamp
from harness.records.provenance import library_versions
from harness.records.studies.claims import NotedClaim
from harness.records.studies.forecasts import merged_forecasts
from harness.records.studies.study_record import (
    DamagedRecordError,
    Member,
    StudyRecord,
    read_study_record,
    read_study_records,
    record_path,
    remove_drafts,
    set_aside,
    write_study_record,
)
from harness.records.trial import Trial
from harness.search.scheduler import Scheduler
from harness.study.spec import StudySpec
from harness.study.spec_diff import diff_specs
from harness.study.trials.plan import Plan

_SAVE_EVERY_S = 30.0


class SupersededError(HarnessError):
    """Another driver has written a record that this one must not replace."""


class RecordWriter:
    """Writes the record of one study for one driver."""

    def __init__(
        self,
        results: Path,
        spec: StudySpec,
        leases: Leases,
        before: StudyRecord | None,
        say: Callable[[str], None],
    ) -> None:
        """Prepare to write, without writing anything yet.

        Args:
            results: The results folder.
            spec: The study.
            leases: The leases of this driver.
            before: The record that this driver started from; None if there was none.
            say: Receives a one-line message about a damaged record.
        """
        self._results, self._spec, self._leases, self._say = results, spec, leases, say
        self.created = before.created if before else utc_now()
        """When the study was first run."""
        self._path = record_path(results, spec.study)
        self._version = before.version if before else 0
        self._spent = before.spent_seconds if before else 0.0
        self._known = before
        self._is_first = True
        self._stamp = file_stamp(self._path)

    @property
    def claims(self) -> tuple[NotedClaim, ...]:
        """The claims noted so far, as of the last record read or written."""
        return self._known.claims if self._known else ()

    def write(self, record: StudyRecord) -> StudyRecord:
        """Write ``record``, merged with what another driver has written since.

        Returns:
            The record as written.

        Raises:
            LeasesLostError: other drivers consider this one dead. Nothing was written.
            SupersededError: the record on disk must be kept. Nothing was written.
            StoreError: the record cannot be written.
        """
        with self._leases.holding():
            remove_drafts(self._results, record.study)
            # Damage at the start was reported then, and the first record written repairs it.
            say = _say_nothing if self._is_first else self._say
            found = _read(self._results, record.study, say)
            if found is not None and found.version > self._version:
                record = self._both(found, record)
            version = 1 + max(self._version, found.version if found else 0)
            record = replace(record, version=version)
            write_study_record(self._results, record)
            self._note(record)
            self._is_first = False
        return record

    def look(self) -> None:
        """Check that no other driver has written a record that this one must not replace.

        Raises:
            SupersededError: it has.
        """
        if (stamp := file_stamp(self._path)) == self._stamp or self._known is None:
            return
        self._stamp = stamp
        with suppress(DamagedRecordError):  # the next write replaces it
            found = read_study_record(self._results, self._spec.study)
            if found is not None and found.version > self._version:
                self._both(found, self._known)

    def _note(self, record: StudyRecord) -> None:
        self._known, self._stamp = record, file_stamp(self._path)
        self._version, self._spent = record.version, record.spent_seconds

    def _both(self, theirs: StudyRecord, mine: StudyRecord) -> StudyRecord:
        """Merge this driver's record with another driver's.

        Raises:
            SupersededError: they conflict.
        """
        if changes := diff_specs(theirs.spec, self._spec):
            change = changes[0]._replace(old=changes[0].new, new=changes[0].old)
            raise self._superseded(theirs, f"the study has changed ({change})")
        numbers = {trial.number: trial.trial_id for trial in theirs.trials}
        if any(numbers.get(t.number, t.trial_id) != t.trial_id for t in mine.trials):
            raise self._superseded(
                theirs, "it has other trials, because its search ended at a different point"
            )
        runs = {member.key: member.run_id for member in theirs.members}
        differ = any(runs.get(m.key, m.run_id) != m.run_id for m in mine.members)
        if differ and not self._is_first:
            raise self._superseded(theirs, "it is run with different code or data")
        newer, older = (mine, theirs) if self._is_first else (theirs, mine)
        decided = newer if newer.search_end is not None else older
        return replace(
            newer,
            created=min(theirs.created, mine.created),
            updated=mine.updated,
            trials=_trials(newer.trials, older.trials),
            members=merge_members(newer.members, older.members),
            pruned={**older.pruned, **newer.pruned},
            claims=merged_notes(newer.claims, older.claims),
            test_sets={**older.test_sets, **newer.test_sets},
            forecasts=merged_forecasts(theirs.forecasts, mine.forecasts),
            spent_seconds=mine.spent_seconds + max(0.0, theirs.spent_seconds - self._spent),
            search_end=decided.search_end,
            search_end_hours=decided.search_end_hours,
        )

    def _superseded(self, theirs: StudyRecord, reason: str) -> SupersededError:
        return SupersededError(
            f"{self._path}: another driver has since written this record, and {reason}; its "
            f"record is kept (version {theirs.version}, {theirs.updated}) and this call ends. "
            "Finished runs are kept: run the command of your newest study file again"
        )


@dataclass
class StudyRecorder:
    """Saves the current state of the study as its record; see ``RecordWriter``."""

    writer: RecordWriter
    plan: Plan
    schedule: Scheduler
    runs: RunTable
    store: StoreWriter
    budget: TimeBudget
    command: str
    test_sets: Mapping[str, str]
    forecasts: ForecastNotes
    versions: Mapping[str, str] = field(default_factory=library_versions)
    _saved: float = field(default=0.0, init=False)

    def save(self) -> None:
        """Write the current trials and runs, and adopt what other drivers have decided.

        Raises:
            HarnessError: as ``RecordWriter.write``.
        """
        spec, schedule, spent = self.plan.spec, self.schedule, self.budget.seconds
        written = self.writer.write(
            StudyRecord(
                study=spec.study,
                question=spec.question,
                metric=spec.metric,
                sampler=spec.sampler,
                spec=spec.model_dump(mode="json"),
                fingerprint=spec.fingerprint,
                created=self.writer.created,
                updated=utc_now(),
                command=self.command,
                versions=self.versions,
                trials=schedule.trials,
                members=schedule.members,
                pruned=schedule.pruned,
                spent_seconds=spent,
                search_end=schedule.search_end,
                search_end_hours=None if schedule.search_end is None else spec.budget.hours,
                rules=schedule.rules,
                test_sets=self.test_sets,
                forecasts=self.forecasts.noted,
                claims=note_claims(spec, self.writer.claims, schedule, self.runs.finished),
            )
        )
        self._saved = time.monotonic()
        self.forecasts.noted = written.forecasts
        self.store.note_study(written)
        # Time spent and decisions made by other drivers of this study count here, too.
        self.budget.add(written.spent_seconds - spent)
        if schedule.search_end is None:
            restore_search_end(schedule, self.plan, written)

    def save_if_due(self) -> None:
        """Save the time that a budget has spent now and then; notice a newer record at once.

        Raises:
            HarnessError: as ``RecordWriter.write`` and ``RecordWriter.look``.
        """
        if self.budget.left_s is not None and time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()
        self.writer.look()


def name_damage(results: Path, study: str, say: Callable[[str], None]) -> None:
    """Report damaged records of studies other than ``study``, without touching them."""
    notices: list[str] = []
    read_study_records(results, notices)
    for notice in notices:
        if not notice.startswith(f"{record_path(results, study)}:"):
            say(notice)


def _say_nothing(_: str) -> None: ...


def take_up_record(
    results: Path, study: str, leases: Leases, say: Callable[[str], None]
) -> StudyRecord | None:
    """Return the record that earlier calls of a study have written; None if there is none.

    A damaged record without a copy does not stop the study: trials, runs and prunings are derived
    from the study file and the spools. The time spent and the end of a search that ran out of time
    are lost, and the message says so. The damaged file is kept under another name.

    Args:
        results: The results folder.
        study: The study's name.
        leases: The leases of this driver.
        say: Receives a one-line message about a damaged record.

    Raises:
        StoreError: the record cannot be read, or was written by another version of this program.
    """
    with leases.holding():
        return _read(results, study, say)


def _read(results: Path, study: str, say: Callable[[str], None]) -> StudyRecord | None:
    """Read the record of a study; set a damaged one aside."""
    notices: list[str] = []
    try:
        found = read_study_record(results, study, notices)
    except DamagedRecordError as error:
        found = None
        notices.append(
            f"{error.what}; it is kept as {set_aside(results, study).name}, and a new one is made "
            "from the study and its runs: the hours of a budget count from 0 again, "
            "and a search uses the newest rules"
        )
    for notice in notices:
        say(notice)
    return found


def _trials(newer: Iterable[Trial], older: Iterable[Trial]) -> tuple[Trial, ...]:
    both = {trial.trial_id: trial for trial in (*older, *newer)}
    return tuple(sorted(both.values(), key=lambda trial: trial.number))


def merge_members(newer: Iterable[Member], older: Iterable[Member]) -> tuple[Member, ...]:
    """Merge the members; a run that either record has as stopped is stopped."""
    both = {member.key: member for member in newer}
    for member in older:
        known = both.setdefault(member.key, member)
        if member.is_pruned and member.run_id == known.run_id:
            both[member.key] = member
    return tuple(both.values())
