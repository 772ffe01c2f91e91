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
from driver_place import GRID, RECALL, SEARCH, Place
from waiting import wait_until

from harness.driver import rebuild_results
from harness.errors import InputError
from harness.event_log import read_spool
from harness.leases import Leases
from harness.lock import sharing

ROOT = Path(__file__).resolve().parent.parent.parent
SLOW = GRID.replace("base: {", "base: {sleep_s: 0.3, ").replace("epochs: 1", "epochs: 2")


MEMBERS = "SELECT trial_id, seed, run_id FROM member ORDER BY ALL"


def start(place: Place, study: str, results: str = "results") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "run", study, "--results", results]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
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


def test_what_a_killed_driver_was_training_is_taken_over(place: Place) -> None:
    place.write(SLOW)
    first = start(place, "study.yaml")
    wait_until(lambda: len(attempts(place)) > 0)
    second = start(place, "study.yaml")
    wait_until(lambda: len(list(place.results.glob("drivers/*"))) == 2)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    printed, _ = second.communicate()
    assert second.returncode == 0, printed
    assert place.ask("SELECT count(*) FROM run WHERE state = 'done'") == [(8,)]
    assert len(list(place.results.glob("drivers/*"))) == 0


def test_a_rebuild_waits_for_no_driver(place: Place) -> None:
    place.run()
    with (
        sharing(place.results),
        pytest.raises(InputError, match=f"process {os.getpid()} is writing"),
    ):
        rebuild_results(place.results, on_wait=print)
