"""Two drivers on one results folder: each run is trained once, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
import toy_workload
from driver_place import GRID, RECALL, SEARCH, Place, Witness
from roots import PYTHONPATH
from waiting import DEADLINE_S, assert_soon

from harness.engine.database_repair import rebuild_results
from harness.engine.dispatch.leases import Leases
from harness.errors import HarnessError, InputError
from harness.records.event_log import read_spool
from harness.records.run_state import replay
from harness.records.studies.study_record import StudyRecord, read_study_records
from harness.store.results_lock import sharing

SLOW = GRID.replace("base: {", "base: {sleep_s: 0.3, ").replace("epochs: 1", "epochs: 2")


MEMBERS = "SELECT trial_id, seed, run_id FROM member ORDER BY ALL"


# A driver that beats fast, and seems to be on another machine where its name is given.
SLEEPER = """
import sys
from harness.engine.dispatch import leases
leases.Leases.__init__.__kwdefaults__.update(beat_s=0.05, silence_s=1.0)
if name := sys.argv.pop(1):
    leases.host_name = lambda: name
from harness.cli.commands import main
main()
"""


def start(
    place: Place, study: str, *more: str, program: tuple[str, ...] = ("-m", "harness")
) -> subprocess.Popen[str]:
    command = [sys.executable, *program, "run", study, "--results", "results", *more]
    paths = PYTHONPATH
    return subprocess.Popen(
        [*command, "--workers", "1", "--threads", "1"],
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": paths, toy_workload.FOLDER: str(place.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def attempts(place: Place) -> Mapping[str, int]:
    """Run id -> how often it was started."""
    return Counter(
        path.parent.name
        for path in place.results.glob("runs/*/spool.jsonl")
        for event in read_spool(path)
        if type(event).__name__ == "Started"
    )


@pytest.mark.process
@pytest.mark.parametrize("text", [SLOW, SEARCH.replace("trials: 14", "trials: 6")])
def test_two_drivers_of_one_study_share_its_runs(place: Place, text: str) -> None:
    place.write(text)
    both = [start(place, "study.yaml") for _ in range(2)]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert set(attempts(place).values()) == {1}
    assert all(len(list(place.results.glob("drivers/*"))) == 0 for _ in both)
    assert len(toy_workload.calls(place.folder)) == len(attempts(place))
    alone = place.folder / "alone"
    place.run(text, executor="process", workers=1, results=alone)
    assert place.ask(RECALL) == place.ask(RECALL, alone)
    assert place.ask(MEMBERS) == place.ask(MEMBERS, alone)


@pytest.mark.process
def test_a_search_goes_on_where_another_driver_was_faster(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write(SEARCH)
    alone = place.folder / "alone"
    place.run(SEARCH, executor="process", workers=1, results=alone)
    claim, is_first = Leases.claim, [True]

    def claim_late(leases: Leases, run_id: str) -> bool:
        if is_first.pop() if is_first else False:  # meanwhile another driver does everything
            other = start(place, "study.yaml")
            printed = other.communicate()[0]
            assert other.returncode == 0, printed
        return claim(leases, run_id)

    monkeypatch.setattr(Leases, "claim", claim_late)
    place.run(SEARCH, executor="process", workers=1)
    assert place.ask(MEMBERS) == place.ask(MEMBERS, alone)


@pytest.mark.process
def test_drivers_of_two_studies_share_equal_runs(place: Place) -> None:
    place.write(SLOW)
    place.write(SLOW.replace("study: quality", "study: again"), "again.yaml")
    both = [start(place, "study.yaml"), start(place, "again.yaml")]
    printed = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    assert set(attempts(place).values()) == {1}
    counts = "SELECT study, count(*) FROM results GROUP BY study ORDER BY study"
    (again, quality) = place.ask(counts)
    assert (again[0], quality[0], again[1]) == ("again", "quality", quality[1])


@pytest.mark.process
def test_what_a_killed_driver_was_training_is_taken_over(place: Place) -> None:
    place.write(SLOW.replace("base: {", "base: {wait_for: go, "))
    first = start(place, "study.yaml")
    assert_soon(lambda: is_waiting(place))
    second = start(place, "study.yaml")
    assert_soon(lambda: len(list(place.results.glob("drivers/*"))) == 2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    (place.folder / "go").touch()
    printed, _ = second.communicate()
    assert second.returncode == 0, printed
    assert place.ask("SELECT count(*) FROM run WHERE state = 'done'") == [(8,)]
    assert len(list(place.results.glob("drivers/*"))) == 0


def descendants(pid: int) -> list[int]:
    """A process and all that it has started, the youngest last."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in descendants(int(child)))]


def everything(place: Place) -> Mapping[str, bytes]:
    """File -> content, of all that the database is made from."""
    return {
        str(path): path.read_bytes()
        for pattern in ("studies/*", "runs/*/spool.jsonl", "runs/*/work/tables/*")
        for path in sorted(place.results.glob(pattern))
    }


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc here")
@pytest.mark.timeout(120)
def test_a_driver_that_slept_while_others_went_on_changes_nothing(place: Place) -> None:
    text = SEARCH.replace("trials: 14", "trials: 5").replace("base: {", "base: {wait_for: go, ")
    place.write(text.replace("epochs: 1", "epochs: 2, checkpoints: true"))
    sleeper = start(place, "study.yaml", program=("-c", SLEEPER, "elsewhere"))
    assert_soon(lambda: is_waiting(place), 4 * DEADLINE_S)
    asleep = descendants(sleeper.pid)
    assert len(asleep) >= 3  # the driver, its fork server and a run
    for pid in asleep:
        os.kill(pid, signal.SIGSTOP)
    try:
        (place.folder / "go").touch()
        other = start(place, "study.yaml", program=("-c", SLEEPER, ""))
        printed, _ = other.communicate()
        assert other.returncode == 0, printed
        (record,) = read_study_records(place.results)
        assert len(record.trials) == 5 + 2
        files, table = everything(place), place.ask("SELECT * FROM study")
    finally:
        for pid in reversed(asleep):
            os.kill(pid, signal.SIGCONT)
    said, _ = sleeper.communicate()
    assert sleeper.returncode == 2, said
    assert "another one has taken its runs over" in said
    assert everything(place) == files
    assert place.ask("SELECT * FROM study") == table


def is_waiting(place: Place) -> bool:
    """Whether a run has reported its first epoch, after which it waits."""
    states = [replay(read_spool(path)) for path in place.results.glob("runs/*/*.jsonl")]
    return any(state.state == "running" and state.epochs for state in states)


def test_a_driver_without_its_leases_leaves_record_and_database_alone(place: Place) -> None:
    def requeue_lost(count: int) -> None:
        if count != 2:
            return
        for path in place.results.glob("drivers/*.json"):
            path.unlink()
        kept.append((everything(place), place.ask("SELECT * FROM study")))

    kept: list[tuple[Mapping[str, bytes], list[tuple[object, ...]]]] = []
    with pytest.raises(HarnessError, match="was deleted while this process used it"):
        place.run(watcher=Witness(at_end=requeue_lost))
    assert kept == [(everything(place), place.ask("SELECT * FROM study"))]


@pytest.mark.process
@pytest.mark.timeout(60)
def test_an_extended_study_is_not_taken_back_by_the_driver_that_began_before(place: Place) -> None:
    def extend(count: int) -> None:
        if count == 2:
            other = start(place, "study.yaml", "--set", "seeds=3", "--extend")
            printed, _ = other.communicate()
            assert other.returncode == 0, printed
            kept.append((place.results / "studies" / "quality.json").read_bytes())

    kept: list[bytes] = []
    with pytest.raises(
        HarnessError, match=r"quality\.json: another driver .*seeds: 2 -> 3"
    ) as caught:
        place.run(watcher=Witness(at_end=extend))
    assert "\n" not in str(caught.value)
    assert kept == [(place.results / "studies" / "quality.json").read_bytes()]
    assert place.ask("SELECT count(*) FROM member") == [(12,)]


@pytest.mark.process
@pytest.mark.timeout(60)
def test_what_two_drivers_of_a_study_have_spent_is_added_up(place: Place) -> None:
    text = SLOW + "budget: {hours: 1}\n"
    place.write(text)

    def run_beside(count: int) -> None:
        if count == 2:
            before.append(read_study_records(place.results)[0])
            other = start(place, "study.yaml")
            printed, _ = other.communicate()
            assert other.returncode == 0, printed
            beside.append(read_study_records(place.results)[0])

    before: list[StudyRecord] = []
    beside: list[StudyRecord] = []
    assert place.run(text, watcher=Witness(at_end=run_beside)).done == 8
    (record,) = read_study_records(place.results)
    assert before[0].version < beside[0].version < record.version
    assert record.spent_seconds > beside[0].spent_seconds + 0.6  # two runs of its own
    assert record.members == beside[0].members


def test_a_rebuild_waits_for_no_driver(place: Place) -> None:
    place.have_run()
    with (
        sharing(place.results),
        pytest.raises(InputError, match=f"process {os.getpid()} is writing"),
    ):
        rebuild_results(place.results, on_wait=print)
