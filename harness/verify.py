"""Kill a study at random, resume it, and compare its tables with an uninterrupted one.

The study is run once without interruption, and then again and again in other folders, while the
driver, the fork server or a worker is killed by SIGKILL; the same command is repeated until the
study is finished. Everything it decides and computes must be equal in the end.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from harness.errors import InputError
from harness.records.provenance import git_state
from harness.records.studies.verifications import (
    VerifyOutcome,
    add_verification,
    read_verifications,
)
from harness.store.database import connect
from harness.store.table_diff import StateApart, TableDiff, compare, first_state_apart
from harness.store.tables.verifications import replace_verifications
from harness.study.loading import load_study
from harness.study.spec import StudySpec

Victim = Literal["driver", "fork server", "worker"]
VICTIMS: tuple[Victim, ...] = ("driver", "fork server", "worker")
_CALLS_AFTER_LAST_KILL = 5
_CALLS_A_KILL = 4
_LONGEST_PEACE = 0.4
"""Longest time between two kills, as a fraction of a whole study: each study is hit several times,
at any stage."""
_START_S = 10.0
"""Lower limit of that time, so that a short study is not hit only while it starts."""
_WORDS = 300
_WAIT_S = 60.0


class Verified(NamedTuple):
    """Outcome of a verification."""

    kills: dict[Victim, int]
    studies: int
    """Number of folders in which the study was killed and then ran to its end."""
    tables: tuple[TableDiff, ...]
    """Comparison of the first study that differs, else of the last one."""
    kept: Path | None
    """Where the folders of a study that differs are kept."""
    apart: StateApart | None = None
    """Where the training of the first study that differs parts ways, if it does."""

    @property
    def is_equal(self) -> bool:
        """Whether every killed study ended in the same tables."""
        return not any(table.differences for table in self.tables)


@dataclass(frozen=True)
class Verification:
    """The study to verify, and how."""

    study: Path
    overrides: tuple[str, ...]
    kills: int
    seed: int
    workers: int | None
    threads: int | None
    say: Callable[[str], None]

    def run(self) -> Verified:
        """Run the study uninterrupted, then kill it until there have been enough kills.

        Raises:
            InputError: the study is wrong, or does not finish.
        """
        load_study(self.study, self.overrides)
        place = Path(tempfile.mkdtemp(prefix="harness-verify-"))
        try:
            verified = self._run(place)
        except BaseException:
            _remove(place)
            raise
        if verified.kept is None:
            _remove(place)
        return verified

    def _run(self, place: Path) -> Verified:
        began = time.monotonic()
        self.say("running the study without interruption ...")
        status = self._call(place / "whole")
        whole_s = time.monotonic() - began
        if status not in (0, 1):
            raise InputError(f"{self.study}: the study cannot be run: {_said(place / 'whole')}")
        longest_s = min(whole_s, max(_START_S, _LONGEST_PEACE * whole_s))
        dice = random.Random(self.seed)
        kills: dict[Victim, int] = dict.fromkeys(VICTIMS, 0)
        studies, tables = 0, []
        while sum(kills.values()) < self.kills:
            folder = place / f"killed-{studies}"
            self._run_killed(folder, status, kills, dice, longest_s)
            studies += 1
            tables = compare(place / "whole", folder)
            if any(table.differences for table in tables):
                apart = first_state_apart(place / "whole", folder)
                return Verified(kills, studies, tuple(tables), place, apart)
            _remove(folder)
        return Verified(kills, studies, tuple(tables), None)

    def _run_killed(
        self,
        folder: Path,
        wanted: int,
        kills: dict[Victim, int],
        dice: random.Random,
        longest_s: float,
    ) -> None:
        """Run the study in ``folder`` to its end, killing it on the way."""
        calls, left = 0, self.kills - sum(kills.values())
        while calls < _CALLS_AFTER_LAST_KILL + _CALLS_A_KILL * left:
            calls += 1
            process = self._start(folder)
            try:
                is_hit = self._harm(process, kills, dice, longest_s)
                status = process.wait()
            finally:
                _end(process)
            if status == wanted:
                return
            if status == 2 and not is_hit:
                break
        raise InputError(f"{self.study}: the killed study does not finish: {_said(folder)}")

    def _harm(
        self,
        process: subprocess.Popen[bytes],
        kills: dict[Victim, int],
        dice: random.Random,
        longest_s: float,
    ) -> bool:
        """Kill parts of a running call, each kind once, until it ends; return whether any was hit.

        No more than once: a run that is lost repeatedly counts as one that cannot be trained.
        """
        left = list(VICTIMS)
        while left and sum(kills.values()) < self.kills:
            after_s = dice.uniform(0.0, longest_s)
            killed = _kill(process, dice.choice(left), after_s)
            if killed is None:
                break
            kills[killed] += 1
            self.say(f"kill {sum(kills.values())}: the {killed}, after {after_s:.1f} s")
            left = [] if killed == "driver" else [each for each in left if each != killed]
        return len(left) < len(VICTIMS)

    def _call(self, folder: Path) -> int:
        process = self._start(folder)
        try:
            return process.wait()
        finally:
            _end(process)

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        """Start ``harness run`` into a folder, as a user would."""
        command: list[str] = [sys.executable, "-m", "harness", "run", str(self.study)]
        command += ["--results", str(folder), "--reports", str(folder / "reports")]
        for name, number in (("--workers", self.workers), ("--threads", self.threads)):
            command += [] if number is None else [name, str(number)]
        for override in self.overrides:
            command += ["--set", override]
        folder.mkdir(parents=True, exist_ok=True)
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  '' is where we are
        with _log(folder).open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
                start_new_session=True,
            )


def keep_outcome(results: Path, spec: StudySpec, verified: Verified) -> VerifyOutcome:
    """Add the outcome to the study in a results folder, which need not have its runs.

    Raises:
        StoreError: the folder or its database cannot be written.
    """
    found = find_spec(spec.workload)
    state = git_state(Path(found.origin if found and found.origin else ".").parent)
    apart = verified.apart
    made = VerifyOutcome(
        study=spec.study,
        checked=datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat(),
        kills=sum(verified.kills.values()),
        is_equal=verified.is_equal,
        git_commit=state.commit,
        dirty=state.dirty,
        differences=", ".join(each.table for each in verified.tables if each.differences),
        first_run=apart and apart.run_id,
        first_epoch=apart.epoch if apart else None,
        first_parts=", ".join(apart.parts) if apart else None,
    )
    add_verification(results, made)
    with connect(results, read_only=False, wait_s=_WAIT_S) as con:
        replace_verifications(con, read_verifications(results, []))
    return made


def describe(verified: Verified) -> list[str]:
    """Describe the outcome as lines of text."""
    counts = ", ".join(f"{count} x {victim}" for victim, count in verified.kills.items())
    plural = "study" if verified.studies == 1 else "studies"
    lines = [
        f"{sum(verified.kills.values())} kills ({counts}) in {verified.studies} {plural}",
        *(str(table) for table in verified.tables),
    ]
    if verified.apart is not None:
        run_id, epoch, parts = verified.apart
        lines.append(f"training parts ways in epoch {epoch} of run {run_id}: {', '.join(parts)}")
    if verified.is_equal:
        return [*lines, "equal to the uninterrupted study"]
    return [*lines, f"NOT equal to the uninterrupted study; both are kept in {verified.kept}"]


def _kill(process: subprocess.Popen[bytes], victim: Victim, after_s: float) -> Victim | None:
    """Kill a part of the study after some time; return which, or None if the study ended first.

    If there is no such part at that moment, or the system does not tell, kill the driver.
    """
    with suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
        return None
    servers = _children(_children([process.pid]))  # a guard process is in between
    pids: Sequence[int] = [process.pid]
    if victim == "fork server":
        pids = servers
    elif victim == "worker":
        pids = _children(servers)
    with suppress(ProcessLookupError):
        for pid in pids[:1]:
            os.kill(pid, signal.SIGKILL)
            return victim
    if process.poll() is not None:
        return None
    process.kill()
    return "driver"


def _children(parents: Sequence[int]) -> list[int]:
    """Return the processes that these have started; none without ``/proc``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has just ended
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if state != "Z" and int(parent) in parents:
                found.append(int(path.parent.name))
    return sorted(found)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a call has ended; its fork server and workers then end by themselves."""
    if process.poll() is None:
        process.kill()
        process.wait()


def _log(folder: Path) -> Path:
    return folder / "calls.log"


def _said(folder: Path) -> str:
    """Return the end of what the calls in a folder printed."""
    words = " ".join(_log(folder).read_text(errors="replace").split())
    return words[-_WORDS:] or "it printed nothing"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
