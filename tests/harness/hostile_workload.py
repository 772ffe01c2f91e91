"""A workload whose runs do what no run should do: ``how`` says what."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from pydantic import JsonValue

FOLDER = "HOSTILE_WORKLOAD_FOLDER"
STUBBORN = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); time.sleep(10_000)"
)
Report = Callable[[int, Mapping[str, float]], bool]


class Unpicklable(Exception):
    def __init__(self, message: str, source: object) -> None:
        super().__init__(message)
        self.source = source

    def __reduce__(self) -> str:
        raise TypeError("this cannot be pickled")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this works")


def schema() -> Mapping[str, JsonValue]:
    return {"type": "object", "properties": {"how": {"type": "string"}}}


def check(params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {"how": "well"} | dict(params)


def run(
    params: Mapping[str, JsonValue], *, seed: int, workdir: Path, report: Report, test: bool
) -> object:
    how = str(params["how"])
    _note(os.getpid())
    fine = {"val/recall@1": 0.5, "test/recall@1": 0.5}
    if how == "sleeps":
        time.sleep(10_000)
    if how in ("ignores", "daemon"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen(
            [sys.executable, "-c", STUBBORN],
            stdout=subprocess.PIPE,
            start_new_session=how == "daemon",
        )
        assert grandchild.stdout is not None
        grandchild.stdout.readline()
        _note(grandchild.pid)
        report(0, {"loss": 1.0})
        time.sleep(10_000)
    if how == "terminates its own":
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("fork").Process(target=_sleep, args=(theirs,))
        child.start()
        assert ours.recv() == "ready"
        child.terminate()
        child.join()
    if how == "chatters":
        for number in range(100):
            os.write(1, b"x" * 1_000_000 + f"\nline {number}\n".encode())
        raise RuntimeError("after 100 MB")
    if how == "unpicklable":
        raise Unpicklable("holds what cannot be sent", lambda: None)
    if how == "unprintable":
        raise Unprintable
    if how == "collapses":
        report(0, {"loss": 1.0, "collapsed": 0.0})
        report(1, {"loss": 1.0, "collapsed": 1.0})
    if how == "collapsed in the end":
        return fine | {"collapsed": 1.0}
    if how == "reports text":
        report(0, {"loss": "low"})  # type: ignore[dict-item]
    answers: dict[str, object] = {
        "returns nothing": None,
        "returns text": "0.5",
        "returns a text value": {"val/recall@1": "0.5"},
        "returns nan": fine | {"val/nmi": float("nan")},
    }
    return answers.get(how, fine)


def processes(folder: Path) -> list[int]:
    """All that the runs have started, themselves included."""
    path = folder / "processes"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def _sleep(pipe: Connection) -> None:
    pipe.send("ready")
    time.sleep(10_000)


def _note(pid: int) -> None:
    with (Path(os.environ[FOLDER]) / "processes").open("a") as stream:
        stream.write(f"{pid}\n")
