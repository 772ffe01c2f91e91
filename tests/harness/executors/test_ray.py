"""A cluster of two nodes: what is sent there and comes back, and what survives the end of one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import cast

import pytest
import toy_workload
from driver_place import RECALL, Place, Witness
from ray_cluster import ON_LOOPBACK, RayCluster
from ray_marks import ON_RAY
from subject import GRID, Subject
from waiting import DEADLINE_S, assert_soon

from harness.engine.progress import Snapshot
from harness.engine.run_options import RunOptions
from harness.engine.run_study import run_study
from harness.errors import InputError, StoreError
from harness.executors import make_executor
from harness.executors.interface import Ended, Executor, Job, Placement
from harness.executors.ray import executor as ray_executor
from harness.records.event_log import read_spool
from harness.records.events import EpochReported, Finished
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.trial import Run

pytestmark = ON_RAY
STUDY = """
study: quality
question: Does quality matter?
workload: toy_workload
base: {epochs: 3, clusters: 2, checkpoints: true, wait_for: go, only_seeds: [0]}
search:
  quality: {grid: [0.2, 0.5]}
seeds: 2
"""


@pytest.fixture
def cluster(ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> RayCluster:
    ray_cluster.complete()  # another test may have killed a node
    for name, value in ON_LOOPBACK.items():
        monkeypatch.setenv(name, value)
    return ray_cluster


@pytest.fixture
def executor(cluster: RayCluster) -> Iterator[Executor]:
    placement = Placement(address=cluster.address)
    made = make_executor("ray", "toy_workload", slots=None, threads=2, placement=placement)
    yield made
    made.close()


def make_job(folder: Path, *, threads: int = 2, **params: object) -> Job:
    run = Run("toy_workload", toy_workload.check(params), 0, True, "code", "data")  # type: ignore[arg-type]
    return Job(run, run.run_id, folder / run.run_id, attempt=1, threads=threads)


def until_end(executor: Executor) -> Ended:
    ended: list[Ended] = []
    assert_soon(lambda: bool(ended.extend(executor.poll(0.5)) or ended))
    return ended[0]


def test_the_code_is_sent_along_and_knows_its_threads(
    cluster: RayCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "sent_workload.py").write_text(
        "import os\nimport harness\nschema = check = lambda *_: {}\n"
        "def run(params, *, workdir, **_):\n"
        "    return {'val/threads': int(os.environ['OMP_NUM_THREADS']),\n"
        "            'val/sent': 'py_modules' in __file__ and 'py_modules' in harness.__file__,\n"
        "            'val/kept': int((workdir / 'kept').read_text())}\n"
    )
    monkeypatch.syspath_prepend(code)
    placement = Placement(address=cluster.address)
    executor = make_executor("ray", "sent_workload", slots=None, threads=2, placement=placement)
    try:
        assert executor.slots == 2
        run = Run("sent_workload", {}, 0, False, "code", "data")
        job = Job(run, run.run_id, tmp_path / "run", 1, threads=2)
        work_dir(job.directory).mkdir(parents=True)
        (work_dir(job.directory) / "kept").write_text("7")
        executor.submit(job)
        assert until_end(executor) == Ended(run.run_id, 0, None)
        last = read_spool(spool_path(job.directory))[-1]
        assert cast("Finished", last).results == {
            "val/threads": 2.0,
            "val/sent": 1.0,
            "val/kept": 7.0,
        }
    finally:
        executor.close()


def test_a_run_is_cancelled_or_stopped_wherever_it_is(executor: Executor, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, quality=quality, wait_for="never") for quality in (0.1, 0.2, 0.3)]
    for job in jobs:  # the third has to wait for a node
        executor.submit(job)

    def has_reported(job: Job) -> bool:
        executor.poll(0.1)
        return len(read_spool(spool_path(job.directory))) >= 2

    assert_soon(lambda: has_reported(jobs[0]) and has_reported(jobs[1]))
    executor.cancel(jobs[2].run_id)
    assert until_end(executor).run_id == jobs[2].run_id
    executor.cancel(jobs[0].run_id, grace_s=0.0)
    assert until_end(executor).run_id == jobs[0].run_id
    executor.stop()
    assert executor.poll(0.0) == []
    events = read_spool(spool_path(jobs[1].directory))
    assert not any(isinstance(event, Finished) for event in events)


def test_to_wait_for_a_run_without_asking_for_slots_is_no_lack_of_nodes(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_executor, "_COUNT_EVERY_S", 0.0)
    monkeypatch.setattr(ray_executor, "_NO_ROOM_S", 5.0)
    monkeypatch.setattr(executor, "_had_room", 0.0)  # as if the last count were of long ago
    job = make_job(tmp_path, wait_for="never")
    executor.submit(job)
    assert executor.poll(0.0) == []
    executor.stop()


def test_a_place_here_that_cannot_be_written_is_told_as_such(
    executor: Executor, tmp_path: Path
) -> None:
    job = make_job(tmp_path)
    spool_path(job.directory).mkdir(parents=True)  # a folder where the file should be
    executor.submit(job)
    with pytest.raises(StoreError, match="is not a plain file but a folder"):
        until_end(executor)


def test_a_run_that_fits_on_no_node_is_refused(cluster: RayCluster) -> None:
    with pytest.raises(InputError, match="no node of the cluster has 3 CPUs"):
        make_executor(
            "ray",
            "toy_workload",
            slots=None,
            threads=3,
            placement=Placement(address=cluster.address),
        )


class NodeKiller(Witness):
    """Kills a node as soon as each has a run under way, and then lets them go on."""

    def __init__(self, cluster: RayCluster, results: Path) -> None:
        super().__init__()
        self.cluster, self.results = cluster, results
        self.checkpointed: set[str] = set()

    def tick(self, snapshot: Snapshot) -> None:
        for line in snapshot.running:
            if (work_dir(run_dir(self.results, line.run_id)) / "checkpoint").exists():
                self.checkpointed.add(line.run_id)
        if len(self.checkpointed) == 2 and not (self.cluster.folder / "go").exists():
            self.cluster.remove_node(0)
            (self.cluster.folder / "go").touch()


def test_a_study_that_loses_a_node_ends_in_the_same_table(
    cluster: RayCluster, place: Place
) -> None:
    study = place.write(STUDY)
    killer = NodeKiller(cluster, place.results)
    options = RunOptions(place.results, "ray", threads=2, address=cluster.address)
    outcome = run_study(study, (), options, killer)
    assert (outcome.done, outcome.failed) == (8, 0)
    (said,) = killer.said
    assert "its worker is gone" in said
    stories = [read_spool(path) for path in place.results.glob("runs/*/spool.jsonl")]
    (lost,) = [events for events in stories if events[-1].attempt == 2]
    reported = [(each.attempt, each.epoch) for each in lost if isinstance(each, EpochReported)]
    assert reported == [(1, 0), (2, 1), (2, 2)]  # from its checkpoint on
    alone = place.folder / "alone"
    (place.folder / "go").touch()
    place.run(STUDY, results=alone)
    assert place.ask(RECALL) == place.ask(RECALL, alone)
    assert place.ask("SELECT count(*) FROM clusters") == place.ask(
        "SELECT count(*) FROM clusters", alone
    )


@pytest.mark.timeout(180)
def test_nodes_killed_at_random_moments_change_nothing(cluster: RayCluster, tmp_path: Path) -> None:
    study = GRID.replace("held", "quadratic")  # the nodes get one module, and see no file of ours
    whole, subject = Subject(tmp_path / "whole", study), Subject(tmp_path / "hurt", study)
    assert whole.finish() == 1
    on_cluster = ("--executor", "ray", "--address", cluster.address)
    moments = random.Random("ray nodes")
    process = subject.start(*on_cluster)
    for at_line in sorted(moments.randrange(1, 7 * 32) for _ in range(3)):
        assert_soon(partial(has_come_to, subject, process, at_line), timeout_s=4 * DEADLINE_S)
        assert process.poll() is None, subject.lines()
        cluster.remove_node(moments.randrange(len(cluster.nodes)))
        cluster.complete()
    _, error = process.communicate()
    assert "Traceback" not in error
    subject.finish(*on_cluster)
    assert subject.tables() == whole.tables()


def has_come_to(subject: Subject, process: Popen[str], at_line: int) -> bool:
    return subject.lines() >= at_line or process.poll() is not None


def listening() -> set[str]:
    """Addresses with a port that is listened to, in the kernel's notation."""
    lines = []
    for name in ("tcp", "tcp6"):
        lines += Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    return {parts[1] for parts in map(str.split, lines) if parts[3] == "0A"}


def test_a_cluster_of_ones_own_trains_and_listens_on_the_loopback_address_only(
    tmp_path: Path,
) -> None:
    before = listening()
    executor = make_executor("ray", "toy_workload", slots=1, threads=1)
    try:
        hosts = {address.partition(":")[0] for address in listening() - before}
        assert hosts
        assert hosts <= {"0100007F", "0000000000000000FFFF00000100007F", "0" * 31 + "1"}
        job = make_job(tmp_path, threads=1, epochs=2)
        executor.submit(job)
        assert until_end(executor) == Ended(job.run_id, 0, None)
        epochs = [
            each
            for each in read_spool(spool_path(job.directory))
            if isinstance(each, EpochReported)
        ]
        assert [each.epoch for each in epochs] == [0, 1]
    finally:
        executor.close()
