"""A workload whose runs do what no run should do: ``how`` says what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
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
        child = subprocess.Popen(
            [sys.executable, "-c", STUBBORN],
            stdout=subprocess.PIPE,
            start_new_session=how == "daemon",
        )
        assert child.stdout is not None
        child.stdout.readline()
        _note(child.pid)
        report(0, {"loss": 1.0})
        time.sleep(10_000)
    if how == "pool":
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(1) as pool:  # which ends with SIGTERM
            assert pool.apply(abs, (-1,)) == 1
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


def _note(pid: int) -> None:
    with (Path(os.environ[FOLDER]) / "processes").open("a") as stream:
        stream.write(f"{pid}\n")
