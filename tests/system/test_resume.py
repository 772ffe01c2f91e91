"""A study of real training that is killed goes on inside its runs and ends in the same table."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from roots import ROOT
from waiting import DEADLINE_S, assert_soon

from harness.records.event_log import read_spool
from harness.records.events import EpochReported, Finished, Started
from harness.store.database import query

STUDY = """
study: killed
question: Does a killed study end in the same table?
workload: waiting_training
base:
  data: {name: strokes, classes: 16, images_per_class: 8}
  model: {width: 8, embedding_dim: 8, wide_dim: 12}
  method: {name: gcudml, clusters: 8, groups: 2, recluster_every: 3}
  train:
    epochs: 8
    steps_per_epoch: 30
    batch_size: 16
    images_per_cluster: 4
    number_format: fp32
    memory_layout: contiguous
search:
  method.teacher_momentum: {grid: [0.5]}
seeds: 1
"""
WORKLOAD = '''
"""``gcudml.workload``, which stays in its seventh epoch until it may go on."""
import time
from pathlib import Path
from gcudml import workload
from gcudml.workload import check, controls, data_fingerprint, epochs, schema

def run(params, *, seed, workdir, report, test):
    def report_and_wait(epoch, metrics):
        goes_on = report(epoch, metrics)
        while epoch == 6 and not (workdir.parents[3] / "go").exists():
            time.sleep(0.01)
        return goes_on
    return workload.run(params, seed=seed, workdir=workdir, report=report_and_wait, test=test)
'''
TABLES = (
    "SELECT run_id, split, k, recall FROM recall ORDER BY ALL",
    "SELECT run_id, epoch, name, value FROM epoch WHERE name NOT LIKE 'seconds/%' ORDER BY ALL",
    "SELECT * FROM clusters ORDER BY ALL",
)


def start(folder: Path, results: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "harness", "run", "study.yaml", "--results", results]
    return subprocess.Popen(
        [*command, "--workers", "1", "--threads", "1"],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
            "GCUDML_CACHE": str(folder / "cache"),
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )


def epochs(folder: Path) -> list[tuple[int, int]]:
    """(attempt, epoch) of all that the training run reported."""
    spools = [read_spool(path) for path in folder.glob("runs/*/spool.jsonl")]
    trained = [events for events in spools if _method(events) == "gcudml"]
    return [
        (event.attempt, event.epoch)
        for events in trained
        for event in events
        if isinstance(event, EpochReported)
    ]


def _method(events: tuple[object, ...]) -> object:
    first = next((event for event in events if isinstance(event, Started)), None)
    if first is None:  # its spool was made a moment ago
        return None
    return first.run.params["method"]["name"]  # type: ignore[call-overload,index]


@pytest.mark.process
@pytest.mark.timeout(180)
def test_a_killed_study_goes_on_after_the_last_epoch(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    (tmp_path / "waiting_training.py").write_text(WORKLOAD)
    process = start(tmp_path, "killed")
    assert_soon(lambda: len(epochs(tmp_path / "killed")) >= 3, 4 * DEADLINE_S)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (tmp_path / "go").touch()
    before = epochs(tmp_path / "killed")
    assert len(before) < 8
    assert start(tmp_path, "killed").wait() == 0
    assert start(tmp_path, "whole").wait() == 0

    reported = epochs(tmp_path / "killed")
    again = [epoch for attempt, epoch in reported if attempt == 2]
    assert again == list(range(again[0], 8))
    assert again[0] >= len(before) - 1 > 0  # at most the epoch that was being written
    ends = [
        event
        for path in tmp_path.glob("killed/runs/*/spool.jsonl")
        for event in read_spool(path)
        if isinstance(event, Finished)
    ]
    assert all(event.state == "done" for event in ends)
    for sql in TABLES:
        ours, theirs = query(tmp_path / "killed", sql), query(tmp_path / "whole", sql)
        assert ours.rows
        assert ours == theirs
