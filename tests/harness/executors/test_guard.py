"""Nothing that a driver has started is left when it is gone, whatever is killed with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hostile_workload
import pytest
import toy_workload
from roots import PYTHONPATH
from waiting import assert_soon, is_alive

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="needs what only Linux has"),
]
STUDY = """
study: bad
question: What is left?
workload: hostile_workload
seeds: 1
"""
BUSY = """
import os, time
from pathlib import Path
path = Path(os.environ["HOSTILE_WORKLOAD_FOLDER"])
(path / "part").write_text(str(os.getpid()))
(path / "part").replace(path / "server")
time.sleep(10_000)
"""
IMPORTING = """
import time
from harness.executors import make_executor
executor = make_executor("process", "busy_workload", slots=1, threads=1)
time.sleep(10_000)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Drivers, which are killed in the end."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    paths = [PYTHONPATH, folder]
    variables = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        hostile_workload.FOLDER: str(folder),
        toy_workload.FOLDER: str(folder),
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:  # it has ended meanwhile
        return []
    return [pid, *(each for child in children for each in descendants(int(child)))]


def kill(*pids: int) -> None:
    for pid in pids:  # none of them has the time to see another one go
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["ignores", "daemon"])
@pytest.mark.parametrize("executor", ["process", "spawn"])
@pytest.mark.parametrize("victims", ["driver", "driver and its child", "driver and run", "both"])
def test_what_a_run_has_started_ends_with_the_driver(
    tmp_path: Path,
    started: list[subprocess.Popen[bytes]],
    how: str,
    executor: str,
    victims: str,
) -> None:
    """``both``: the driver and what the run was forked from; of a spawned one, the run."""
    (tmp_path / "study.yaml").write_text(f"{STUDY}base: {{how: {how}}}\n")
    driver = start(tmp_path, "-m", "harness", "run", "study.yaml", "--executor", executor)
    started.append(driver)
    assert_soon(lambda: len(hostile_workload.processes(tmp_path)) == 2)
    everyone = descendants(driver.pid)
    run, grandchild = hostile_workload.processes(tmp_path)
    assert {run, grandchild} <= set(everyone)
    if victims == "driver and its child" and how == "daemon" and executor == "spawn":
        pytest.skip("nobody is left who knows of it: a process that watched is killed with both")
    forked_from = parent(run) if executor == "process" else run
    others = {
        "driver": [],
        "driver and its child": [everyone[1]],
        "driver and run": [run],
        "both": [forked_from],
    }
    kill(driver.pid, *others[victims])
    driver.communicate()
    assert_soon(lambda: not any(map(is_alive, everyone)))


def test_a_server_that_imports_ends_with_its_driver(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    (tmp_path / "busy_workload.py").write_text(BUSY)
    driver = start(tmp_path, "-c", IMPORTING)
    started.append(driver)
    assert_soon((tmp_path / "server").exists)
    everyone = descendants(driver.pid)
    assert int((tmp_path / "server").read_text()) in everyone
    kill(driver.pid)
    driver.communicate()
    assert_soon(lambda: not any(map(is_alive, everyone)))


def test_a_study_ends_in_order_without_its_guard(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    (tmp_path / "study.yaml").write_text(
        STUDY.replace("hostile_workload", "toy_workload") + "base: {wait_for: go, epochs: 2}\n"
    )
    driver = start(tmp_path, "-m", "harness", "run", "study.yaml")
    started.append(driver)
    assert_soon(lambda: len(descendants(driver.pid)) > 3)
    everyone = descendants(driver.pid)
    kill(everyone[1])
    (tmp_path / "go").touch()
    said, _ = driver.communicate()
    assert driver.returncode == 0, said
    assert_soon(lambda: not any(map(is_alive, everyone)))
