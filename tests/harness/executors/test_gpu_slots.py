"""Which GPUs there are, which run gets which, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toy_workload

from harness.executors import gpu_slots, make_executor
from harness.executors.gpu_slots import Starts, visible_gpus
from harness.executors.interface import Ended, ExecutorName, Job, Placement
from harness.records.event_log import append, read_spool
from harness.records.events import EpochReported, utc_now
from harness.records.folders import spool_path
from harness.records.trial import Run


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("0", ("0",)),
        ("2, 0", ("2", "0")),
        ("GPU-8932f937,MIG-5a10", ("GPU-8932f937", "MIG-5a10")),
        ("", ()),
        ("-1", ()),
        ("1,-1,2", ("1",)),
        ("NoDevFiles", ()),
        ("0,0", ("0",)),
    ],
)
def test_the_variable_says_which_gpus_there_are(
    tmp_path: Path, listed: str, found: tuple[str, ...]
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    environment = {"CUDA_VISIBLE_DEVICES": listed}
    assert visible_gpus(environment, driver_folder=tmp_path, command="none") == found


def test_without_the_variable_the_driver_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "gpus"
    assert visible_gpus({}, driver_folder=folder, command="no-such-command") == ()
    command = tmp_path / "smi"
    command.write_text(
        "#!/bin/sh\necho 'GPU 0: One (UUID: GPU-1)'\necho 'GPU 1: Two (UUID: GPU-2)'\n"
        "echo '  MIG 1g Device 0: (UUID: MIG-3)'\n"
    )
    command.chmod(0o755)
    assert visible_gpus({}, driver_folder=folder, command=str(command)) == ("0", "1")
    command.write_text("#!/bin/sh\nexit 9\n")
    assert visible_gpus({}, driver_folder=folder, command=str(command)) == ()
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (folder / name).mkdir(parents=True)
    assert visible_gpus({}, driver_folder=folder, command=str(command)) == ("0", "1", "2")


def make_job(folder: Path, seed: int, **params: object) -> Job:
    run = Run("toy_workload", toy_workload.check(params), seed, True, "code", "data")  # type: ignore[arg-type]
    return Job(run, run.run_id, folder / run.run_id, attempt=2, threads=1)


def report(job: Job, attempt: int) -> None:
    append(spool_path(job.directory), EpochReported(attempt, utc_now(), 0, {"loss": 1.0}))


def devices(jobs: list[Job]) -> list[tuple[int, str | None]]:
    return [(job.run.seed, job.device) for job in jobs]


def test_without_gpus_every_run_starts_at_once(tmp_path: Path) -> None:
    held = Starts((), runs_per_gpu=1)
    for seed in range(3):
        held.add(make_job(tmp_path, seed))
    assert devices(held.due()) == [(0, None), (1, None), (2, None)]
    assert not held.is_holding


def test_each_run_gets_the_gpu_with_the_fewest_runs(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, seed) for seed in range(3)]
    held = Starts(("5", "7"), runs_per_gpu=2)
    for job in jobs[:2]:
        held.add(job)
        report(job, attempt=2)
    assert devices(held.due()) == [(0, "5"), (1, "7")]
    held.note_end(jobs[1].run_id)
    held.add(jobs[2])
    assert devices(held.due()) == [(2, "7")]


def test_no_gpu_gets_more_runs_than_it_may_have(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, seed) for seed in range(4)]
    held = Starts(("5", "7"), runs_per_gpu=1)
    for job in jobs:
        held.add(job)
    assert devices(held.due()) == [(0, "5"), (1, "7")]
    assert held.due() == []
    held.note_end(jobs[1].run_id)
    assert devices(held.due()) == [(2, "7")]
    assert held.is_holding
    assert held.drop(jobs[3].run_id)
    assert not held.drop(jobs[3].run_id)
    assert not held.is_holding


def test_a_run_waits_for_the_first_report_of_the_one_before_it_on_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make_job(tmp_path, seed) for seed in range(3)]
    held = Starts(("0",), runs_per_gpu=3)
    for job in jobs:
        held.add(job)
    assert devices(held.due()) == [(0, "0")]
    report(jobs[0], attempt=1)  # an earlier attempt's
    assert held.due() == []
    report(jobs[0], attempt=2)
    assert devices(held.due()) == [(1, "0")]
    assert held.due() == []
    monkeypatch.setattr(gpu_slots, "_LONGEST_START_S", 0.0)
    assert devices(held.due()) == [(2, "0")]


@pytest.mark.process
@pytest.mark.parametrize("name", ["process", "spawn"])
def test_a_run_sees_its_gpu_alone_and_writes_down_which(
    name: ExecutorName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gpu_workload.py").write_text(
        "import os\nschema = check = lambda *_: {}\n"
        "def run(params, **_):\n"
        "    return {'val/gpu': int(os.environ['CUDA_VISIBLE_DEVICES'])}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    placement = Placement(gpus=("3", "4"))
    executor = make_executor(name, "gpu_workload", slots=4, threads=1, placement=placement)
    try:
        runs = [Run("gpu_workload", {}, seed, False, "code", "data") for seed in range(4)]
        for run in runs:
            executor.submit(Job(run, run.run_id, tmp_path / run.run_id, 1, threads=1))
        ended: list[Ended] = []
        while len(ended) < 4:
            ended += executor.poll(1.0)
        for run in runs:
            first, *_, last = read_spool(spool_path(tmp_path / run.run_id))
            assert first.device in ("3", "4")  # type: ignore[union-attr]
            assert last.results == {"val/gpu": float(first.device)}  # type: ignore[union-attr]
    finally:
        executor.close()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ or os.environ["CUDA_VISIBLE_DEVICES"] != "3"


@pytest.mark.process
@pytest.mark.parametrize("name", ["process", "spawn"])
def test_a_run_that_waits_for_a_gpu_can_be_stopped(name: ExecutorName, tmp_path: Path) -> None:
    executor = make_executor(
        name, "toy_workload", slots=2, threads=1, placement=Placement(gpus=("0",))
    )
    try:
        for seed in range(2):
            executor.submit(make_job(tmp_path, seed, epochs=1000, sleep_s=0.01))
        executor.stop()
        assert executor.poll(0.0) == []
    finally:
        executor.close()
