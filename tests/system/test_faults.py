"""Whatever is killed, filled up, torn or lost: nothing is, and the tables are the same."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_examples import held
from subject import GRID, SEARCH, TABLES, VICTIMS, Subject
from waiting import DEADLINE_S

import harness
from harness.records.event_log import read_spool
from harness.records.events import Finished
from harness.store.database import database_path, query

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """The study, undisturbed."""
    subject = Subject(tmp_path_factory.mktemp("whole"))
    assert subject.finish() == 1
    assert subject.lines() == 8 * 32
    assert all(subject.tables())
    return subject


@pytest.mark.process
@pytest.mark.parametrize("moment", range(3))
@pytest.mark.parametrize("victim", VICTIMS)
def test_kill_9_at_any_moment(whole: Subject, tmp_path: Path, victim: str, moment: int) -> None:
    subject = Subject(tmp_path)
    at_line = random.Random(f"{victim} {moment}").randrange(1, 7 * 32)
    assert subject.harm(at_line, VICTIMS[victim])
    subject.finish()
    assert subject.tables() == whole.tables()


@pytest.mark.process
def test_kill_9_of_a_search_changes_no_proposal(tmp_path: Path) -> None:
    undisturbed, subject = Subject(tmp_path / "whole", SEARCH), Subject(tmp_path / "hurt", SEARCH)
    undisturbed.finish()
    assert subject.harm(7 * 17, VICTIMS["driver"])
    subject.finish()
    assert len(subject.tables()[0]) == 10
    assert subject.tables() == undisturbed.tables()


@pytest.mark.process
def test_torn_last_lines(whole: Subject, tmp_path: Path) -> None:
    subject = Subject(tmp_path)
    shutil.copytree(whole.results, subject.results)
    torn = subject.spools()
    for position, path in enumerate(torn):
        text = path.read_bytes()
        if position % 2:  # the end itself is torn: its run goes on from its checkpoint
            path.write_bytes(text[: -1 - 7 * position])
        else:  # something that was begun after the end
            path.write_bytes(text + b'{"event": "epoch", "att')
    database_path(subject.results).unlink()
    assert subject.finish() == 1
    assert subject.tables() == whole.tables()
    ends = [sum(isinstance(e, Finished) for e in read_spool(path)) for path in torn]
    assert ends == [1] * 8


@pytest.mark.process
def test_a_store_that_a_reader_holds(whole: Subject, tmp_path: Path) -> None:
    subject = Subject(tmp_path)
    assert subject.start("--set", "seeds=1").communicate(timeout=DEADLINE_S)
    with held(subject.results, "read"):
        process = subject.start("--extend")
        assert process.stdout is not None
        assert any("waiting for" in line for line in process.stdout)
        assert subject.lines() == 8 * 32
    _, error = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, error) == (0, "")
    assert subject.tables() == whole.tables()


@pytest.mark.process
def test_a_store_that_is_deleted(whole: Subject, tmp_path: Path) -> None:
    subject = Subject(tmp_path)
    shutil.copytree(whole.results, subject.results)
    database_path(subject.results).unlink()
    command = [sys.executable, "-m", "harness", "rebuild", "--results", str(subject.results)]
    subprocess.run(command, check=True, capture_output=True)
    assert subject.tables() == whole.tables()


HOARDER = '''
"""``quadratic`` with checkpoints of 200 KB."""
from quadratic import check, schema
import quadratic

def run(params, *, seed, workdir, report, test):
    def save_and_report(epoch, metrics):
        (workdir / "weights").write_bytes(bytes(200_000))
        return report(epoch, metrics)
    return quadratic.run(params, seed=seed, workdir=workdir, report=save_and_report, test=test)
'''


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.process
@pytest.mark.parametrize("free_kib", [0, 100, 600])
def test_a_disk_that_fills_up(tmp_path: Path, small_disk: Path, free_kib: int) -> None:
    study = GRID.replace("held", "hoarder").replace("epochs: 30", "epochs: 15")
    subject = Subject(tmp_path / "study", study, results=str(small_disk / "results"))
    (subject.folder / "hoarder.py").write_text(HOARDER)
    whole = Subject(tmp_path / "study", study, results="whole")
    assert whole.finish() == 1
    subject.start("--set", "seeds=1").communicate(timeout=DEADLINE_S)
    filler = small_disk / "filler"
    fill(filler, shutil.disk_usage(small_disk).free - free_kib * 1024)
    process = subject.start("--extend")
    _, error = process.communicate(timeout=2 * DEADLINE_S)
    assert process.returncode in (1, 2), error
    assert "Traceback" not in error
    assert all(line.startswith("error: ") for line in error.splitlines())
    filler.unlink()
    subject.finish("--extend")
    assert subject.tables() == whole.tables()


def fill(path: Path, size: int) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while size > 0:
            size -= stream.write(bytes(min(size, 1 << 20)))


def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Subject(tmp_path).folder / "study.yaml"
    calm = harness.run(study, results=tmp_path / "calm", executor="local")
    hours = iter(range(23, 0, -1))

    def earlier_and_earlier() -> str:
        hour = next(hours, 0)
        return f"2026-03-01T{hour:02}:00:00.000000+00:00"

    monkeypatch.setattr("harness.executors.worker.run_attempt.utc_now", earlier_and_earlier)
    monkeypatch.setattr("harness.engine.record_writer.utc_now", earlier_and_earlier)
    monkeypatch.setattr("time.time", lambda: 0.0)
    jumped = harness.run(study, results=tmp_path / "jumped", executor="local")
    assert jumped.outcome._replace(forecast=None) == calm.outcome._replace(forecast=None)
    for sql in TABLES:
        assert query(tmp_path / "jumped", sql) == query(tmp_path / "calm", sql)
    durations = jumped.results.runs["seconds"]
    assert durations.between(0, 60).all()
    again = harness.run(study, results=tmp_path / "jumped", executor="local")
    assert (again.outcome.done, again.outcome.trained) == (8, 0)
