"""Every executor keeps the same promises; those with a process a run keep some more."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import toy_workload
from ray_cluster import CPUS
from ray_marks import ON_RAY
from waiting import DEADLINE_S, assert_soon, is_alive

from harness.errors import HarnessError, InputError, StoreError
from harness.executors import make_executor
from harness.executors.interface import Ended, Executor, ExecutorName, Job, Placement
from harness.executors.worker import run_log
from harness.executors.worker.run_attempt import execute, finished_by_death
from harness.records.event_log import read_spool
from harness.records.events import EpochReported, Event, Finished, Started
from harness.records.folders import spool_path, work_dir
from harness.records.run_state import replay
from harness.records.trial import Run
from harness.workload import JsonValue, Workload

IN_PROCESSES = [
    pytest.param("process", marks=pytest.mark.process),
    pytest.param("spawn", marks=pytest.mark.process),
    pytest.param("ray", marks=ON_RAY),
]
THREADS = CPUS


@pytest.fixture(scope="module", params=["local", *IN_PROCESSES])
def executor(request: pytest.FixtureRequest, folder: Path) -> Iterator[Executor]:
    placement = Placement()
    if request.param == "ray":
        cluster = request.getfixturevalue("ray_cluster")
        cluster.complete()
        placement = Placement(address=cluster.address)
    made = make_executor(
        request.param, "toy_workload", slots=2, threads=THREADS, placement=placement
    )
    yield made
    made.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(toy_workload.FOLDER, str(path))
        yield path


def make_job(directory: Path, *, attempt: int = 1, seed: int = 0, **params: JsonValue) -> Job:
    run = Run("toy_workload", toy_workload.check(params), seed, True, "code", "data")
    return Job(run, run.run_id, directory / run.run_id, attempt, threads=THREADS)


def wait_for_ends(executor: Executor, count: int) -> list[Ended]:
    ended: list[Ended] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(ended) < count and time.monotonic() < deadline:
        ended += executor.poll(0.2)
    assert len(ended) == count
    return ended


def events_of(job: Job) -> tuple[Event, ...]:
    return read_spool(spool_path(job.directory))


def finished(job: Job) -> Finished:
    last = events_of(job)[-1]
    assert isinstance(last, Finished)
    return last


def test_a_run_leaves_its_whole_story_in_its_spool(executor: Executor, tmp_path: Path) -> None:
    job = make_job(tmp_path, epochs=2, attempt=4)
    executor.submit(job)
    (ended,) = wait_for_ends(executor, 1)
    assert ended == Ended(job.run_id, 0, None)
    first, *epochs, last = events_of(job)
    assert isinstance(first, Started)
    assert (first.attempt, first.run, first.threads) == (4, job.run, THREADS)
    assert first.versions["python"]
    assert [each.epoch for each in epochs if isinstance(each, EpochReported)] == [0, 1]
    assert isinstance(last, Finished)
    assert last.state == "done"
    assert last.results["test/recall@1"] > 0
    assert last.seconds is not None
    assert last.peak_mib is not None
    assert 1 < last.peak_mib < 100_000
    assert (work_dir(job.directory) / "tables" / "clusters.jsonl").exists()


@pytest.mark.parametrize(
    ("fail", "failure", "words"),
    [
        ("diverge", "diverged", "loss is nan in epoch 1"),
        ("nan_result", "diverged", "val/nmi is nan in the result"),
        ("overflow", "diverged", "FloatingPointError: a feature is immense"),
        ("crash", "crash", "RuntimeError: this run was told to crash"),
        ("quiet", "crash", "SystemExit: 0"),
        ("memory", "oom", "MemoryError"),
        ("allocation", "oom", "RuntimeError: DefaultCPUAllocator"),
        ("invalid", "invalid", "ValueError: clusters: more clusters than images"),
    ],
)
def test_a_failure_gets_its_class_and_one_line(
    executor: Executor, tmp_path: Path, fail: str, failure: str, words: str
) -> None:
    job = make_job(tmp_path, fail=fail)
    executor.submit(job)
    wait_for_ends(executor, 1)
    last = finished(job)
    assert (last.state, last.failure) == ("failed", failure)
    assert last.message is not None
    assert last.message.startswith(words)
    assert "\n" not in last.message
    assert last.results == {}


def test_what_a_failed_run_printed_is_kept_with_the_traceback(
    executor: Executor, tmp_path: Path
) -> None:
    job = make_job(tmp_path, fail="crash", says="\n".join(f"line {n}" for n in range(300)))
    executor.submit(job)
    wait_for_ends(executor, 1)
    lines = (finished(job).stderr or "").splitlines()
    assert len(lines) == 100
    assert "line 299" in lines
    assert lines[-1] == "RuntimeError: this run was told to crash"


def test_a_second_attempt_goes_on_from_what_the_first_left(
    executor: Executor, tmp_path: Path
) -> None:
    first = make_job(tmp_path, epochs=4, checkpoints=True, fail="crash")
    executor.submit(first)
    wait_for_ends(executor, 1)
    (work_dir(first.directory) / "checkpoint").write_text("2")  # as if it had crashed earlier
    second = dataclasses.replace(first, attempt=2)
    executor.submit(second)
    wait_for_ends(executor, 1)
    epochs = [event for event in events_of(second) if isinstance(event, EpochReported)]
    assert [(event.attempt, event.epoch) for event in epochs[4:]] == [(2, 2), (2, 3)]
    assert finished(second).attempt == 2


def test_each_of_several_runs_ends_once(executor: Executor, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, seed=seed) for seed in range(2)]
    for job in jobs:
        executor.submit(job)
    ended = wait_for_ends(executor, 2)
    assert {each.run_id for each in ended} == {job.run_id for job in jobs}
    assert executor.poll(0.0) == []


def test_no_more_slots_than_asked_for(executor: Executor) -> None:
    assert 1 <= executor.slots <= 2


@pytest.mark.parametrize("name", ["local", *IN_PROCESSES[:2]])
def test_a_stopped_executor_leaves_no_end_behind(
    name: ExecutorName, folder: Path, tmp_path: Path
) -> None:
    executor = make_executor(name, "toy_workload", slots=2, threads=1)
    try:
        job = make_job(tmp_path, wait_for="never")
        executor.submit(job)
        if name != "local":
            assert_soon(lambda: len(events_of(job)) >= 2)
        executor.stop()
        assert executor.poll(0.0) == []
        assert not replay(events_of(job)).is_over
        pids = [event.pid for event in events_of(job) if isinstance(event, Started)]
        assert_soon(lambda: not any(map(is_alive, pids)))
    finally:
        executor.close()


class TestProcess:
    """What only a process of its own can promise."""

    @pytest.mark.parametrize("executor", IN_PROCESSES, indirect=True)
    @pytest.mark.parametrize(
        ("fail", "ended", "failure", "words"),
        [
            ("exit", (7, None), "crash", "status 7"),
            ("kill", (None, signal.SIGKILL), "oom", "SIGKILL"),
        ],
    )
    def test_a_worker_that_dies_is_told_from_one_that_fails(
        self,
        executor: Executor,
        tmp_path: Path,
        fail: str,
        ended: tuple[int | None, int | None],
        failure: str,
        words: str,
    ) -> None:
        job = make_job(tmp_path, fail=fail, says="last words")
        executor.submit(job)
        (end,) = wait_for_ends(executor, 1)
        assert (end.exit_code, end.signal) == ended
        assert not replay(events_of(job)).is_over
        event = finished_by_death(job, end, seconds=1.0, log_start=0)
        assert (event.state, event.failure) == ("failed", failure)
        assert words in (event.message or "")
        assert event.stderr == "last words"

    @pytest.mark.parametrize("executor", IN_PROCESSES, indirect=True)
    def test_runs_do_not_share_a_process(self, executor: Executor, tmp_path: Path) -> None:
        jobs = [make_job(tmp_path, seed=seed) for seed in (5, 6)]
        for job in jobs:
            executor.submit(job)
        wait_for_ends(executor, 2)
        pids = {event.pid for job in jobs for event in events_of(job) if isinstance(event, Started)}
        assert len(pids) == 2
        assert os.getpid() not in pids

    @pytest.mark.process
    @pytest.mark.parametrize("name", ["process", "spawn"])
    def test_a_spool_that_cannot_be_written_is_no_crash_of_the_run(
        self, name: ExecutorName, folder: Path, tmp_path: Path
    ) -> None:
        executor = make_executor(name, "toy_workload", slots=2, threads=1)
        try:
            job = make_job(tmp_path)
            spool_path(job.directory).mkdir(parents=True)  # a folder where the file should be
            executor.submit(job)
            (end,) = wait_for_ends(executor, 1)
            assert end.exit_code == 74
            assert "is not a plain file but a folder" in (job.directory / "stderr.log").read_text()
        finally:
            executor.close()

    @pytest.mark.process
    @pytest.mark.parametrize("name", ["process", "spawn"])
    def test_threads_are_limited_before_the_workload_is_imported(
        self, name: ExecutorName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "seeing_workload.py").write_text(
            "import os\nSEEN = int(os.environ['OMP_NUM_THREADS'])\n"
            "schema = check = controls = data_fingerprint = lambda *_: {}\n"
            "def run(params, **_):\n    return {'val/threads': SEEN}\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        executor = make_executor(name, "seeing_workload", slots=1, threads=5)
        try:
            run = Run("seeing_workload", {}, 0, False, "code", "data")
            job = Job(run, run.run_id, tmp_path / "run", 1, threads=5)
            executor.submit(job)
            wait_for_ends(executor, 1)
            assert finished(job).results == {"val/threads": 5.0}
        finally:
            executor.close()

    @pytest.mark.process
    @pytest.mark.parametrize(
        ("name", "source", "words"),
        [
            ("broken_workload", "1 / 0\n", "ZeroDivisionError: division by zero"),
            ("poor_workload", "schema = print\n", "lacks check, run"),
        ],
    )
    def test_a_workload_that_cannot_be_imported_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, words: str
    ) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(tmp_path)
        executor = make_executor("process", name, slots=1, threads=1)
        try:
            with pytest.raises(HarnessError, match=words):
                wait_for_ends(executor, 1)
        finally:
            executor.close()

    @pytest.mark.process
    def test_a_fork_server_that_dies_is_replaced_and_its_runs_are_lost(
        self, folder: Path, tmp_path: Path
    ) -> None:
        executor = make_executor("process", "toy_workload", slots=1, threads=1)
        try:
            job = make_job(tmp_path, wait_for="never")
            for attempt in range(1, 4):
                job = dataclasses.replace(job, attempt=attempt)
                executor.submit(job)
                (end,) = kill_fork_server_of(job, executor)
                assert end == Ended(job.run_id, None, None, is_lost=True)
            well = make_job(tmp_path, seed=1)
            executor.submit(well)
            assert wait_for_ends(executor, 1) == [Ended(well.run_id, 0, None)]
            executor.submit(dataclasses.replace(job, attempt=4))
            with pytest.raises(HarnessError, match="fork server died"):
                kill_fork_server_of(dataclasses.replace(job, attempt=4), executor)
        finally:
            executor.close()


def kill_fork_server_of(job: Job, executor: Executor) -> list[Ended]:
    """Kill what ``job`` was forked from, once it is under way; its run dies with it."""

    def start() -> Started | None:
        executor.poll(0.0)
        starts = [event for event in events_of(job) if isinstance(event, Started)]
        return starts[-1] if starts and starts[-1].attempt == job.attempt else None

    assert_soon(lambda: start() is not None)
    pid = cast("Started", start()).pid
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    os.kill(int(parent), signal.SIGKILL)
    ended = wait_for_ends(executor, 1)
    assert_soon(lambda: not is_alive(pid))
    return ended


Body = Callable[[Callable[[int, Mapping[str, float]], bool]], Mapping[str, float]]


def run_here(job: Job, body: Body) -> Finished:
    """Execute ``body`` as a workload, in this process."""
    fake = SimpleNamespace(run=lambda params, *, seed, workdir, report, test: body(report))
    execute(job, cast("Workload", fake))
    return finished(job)


def test_a_run_that_diverged_stays_so_whatever_follows(tmp_path: Path) -> None:
    answers = []

    def body(report: Callable[[int, Mapping[str, float]], bool]) -> Mapping[str, float]:
        answers.append(report(0, {"loss": 1.0}))
        answers.append(report(1, {"loss": float("inf")}))
        answers.append(report(2, {"loss": 1.0}))
        raise RuntimeError("singular matrix")

    last = run_here(make_job(tmp_path), body)
    assert answers == [True, False, False]
    assert (last.failure, last.message) == ("diverged", "loss is inf in epoch 1")


def test_a_message_over_several_lines_becomes_one(tmp_path: Path) -> None:
    def body(report: object) -> Mapping[str, float]:
        raise RuntimeError("first\n  second")

    assert run_here(make_job(tmp_path), body).message == "RuntimeError: first second"


def test_a_search_may_not_score_test_classes(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job = dataclasses.replace(job, run=dataclasses.replace(job.run, test=False))

    def returns(report: Callable[..., bool]) -> Mapping[str, float]:
        return {"val/recall@1": 0.5, "test/recall@1": 0.5}

    def reports(report: Callable[..., bool]) -> Mapping[str, float]:
        report(0, {"loss": 1.0, "test/recall@1": 0.5})
        return {"val/recall@1": 0.5}

    for attempt, body in enumerate((returns, reports), start=1):
        last = run_here(dataclasses.replace(job, attempt=attempt), body)
        assert (last.state, last.failure) == ("failed", "invalid")
        assert "test/recall@1: test classes were scored in a search" in str(last.message)
        assert last.results == {}


def test_a_result_that_is_no_number_is_the_workloads_fault(tmp_path: Path) -> None:
    last = run_here(make_job(tmp_path), lambda report: cast("dict[str, float]", {"val/x": None}))
    assert last.failure == "crash"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), StoreError("spool: disk full")])
def test_an_interruption_or_a_full_disk_is_passed_on(tmp_path: Path, error: BaseException) -> None:
    job = make_job(tmp_path)

    def body(report: object) -> Mapping[str, float]:
        raise error

    with pytest.raises(type(error)):
        run_here(job, body)
    assert not replay(events_of(job)).is_over


def test_memory_words_of_an_earlier_attempt_do_not_count(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.directory.mkdir()
    log = job.directory / "stderr.log"
    log.write_text("CUDA out of memory\n")
    start = log.stat().st_size
    with log.open("a") as stream:
        stream.write("segmentation fault\n")
    ended = Ended(job.run_id, None, signal.SIGSEGV)
    event = finished_by_death(job, ended, seconds=1.0, log_start=start)
    assert event.failure == "crash"
    assert event.stderr == "segmentation fault"
    assert finished_by_death(job, ended, seconds=1.0, log_start=0).failure == "oom"


@pytest.mark.parametrize("bad", ["nothing", "folder", "link", "pipe", "broken disk"])
def test_a_log_that_cannot_be_read_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    job = make_job(tmp_path)
    job.directory.mkdir()
    log = job.directory / "stderr.log"
    if bad == "folder":
        log.mkdir()
    elif bad == "link":
        log.symlink_to(tmp_path / "other")
    elif bad == "pipe":
        os.mkfifo(log)
    elif bad == "broken disk":

        def fail(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(run_log, "open_no_follow", fail)
    ended = Ended(job.run_id, None, signal.SIGSEGV)
    event = finished_by_death(job, ended, seconds=1.0, log_start=0)
    assert (event.failure, event.stderr) == ("crash", None)


def test_ray_that_is_missing_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r'install it with pip install "gcudml-harness\[ray\]"'):
        make_executor("ray", "toy_workload", slots=1, threads=1)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "ray://127.0.0.1:1"])
def test_an_address_where_nobody_listens_is_refused_at_once(address: str) -> None:
    with pytest.raises(InputError, match=f"--address {address}: nothing listens there"):
        make_executor(
            "ray", "toy_workload", slots=1, threads=1, placement=Placement(address=address)
        )


def test_a_job_survives_the_way_to_another_process(tmp_path: Path) -> None:
    job = make_job(tmp_path, quality=0.25, only_seeds=[1, 2])
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job
