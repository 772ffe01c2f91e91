"""Time by part, on a clock that the test turns."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from tiny import train_tiny

from gcudml import stopwatch
from gcudml.stopwatch import PARTS, Stopwatch

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_what_runs_inside_a_part_counts_for_the_inner_one_alone(clock: list[float]) -> None:
    watch = Stopwatch(CPU, is_on=True)
    with watch("losses"):
        clock[0] += 1
        with watch("teacher"):
            clock[0] += 2
            with watch("views"):
                clock[0] += 4
        clock[0] += 8
    with watch("teacher"):
        clock[0] += 16
    taken = watch.take()
    assert list(taken) == [f"seconds/part/{part}" for part in PARTS]
    assert {part: s for part, s in taken.items() if s} == {
        "seconds/part/losses": 9.0,
        "seconds/part/teacher": 18.0,
        "seconds/part/views": 4.0,
    }
    assert not any(watch.take().values())


def test_a_part_that_fails_is_closed(clock: list[float]) -> None:
    watch = Stopwatch(CPU, is_on=True)

    def fail() -> None:
        with watch("losses"), watch("teacher"):
            clock[0] += 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with watch("views"):
        clock[0] += 1
    taken = watch.take()
    assert (
        taken["seconds/part/teacher"],
        taken["seconds/part/losses"],
        taken["seconds/part/views"],
    ) == (3, 0, 1)


def test_nothing_is_measured_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stopwatch.VARIABLE, raising=False)
    watch = Stopwatch.for_run(CPU)
    with watch("views"):
        pass
    assert watch.take() == {}
    monkeypatch.setenv(stopwatch.VARIABLE, "1")
    assert set(Stopwatch.for_run(CPU).take()) == {f"seconds/part/{part}" for part in PARTS}


@pytest.mark.parametrize("method", ["gcudml", "stml"])
def test_a_run_says_where_its_time_goes_when_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings = {"name": method} | ({"neighbours": 2} if method == "stml" else {})
    plain, quiet = train_tiny(tmp_path / "plain", method=settings)
    monkeypatch.setenv(stopwatch.VARIABLE, "1")
    profiled, epochs = train_tiny(tmp_path / "profiled", method=settings)
    assert profiled == plain
    names = {f"seconds/part/{part}" for part in PARTS}
    assert not any(names & set(metrics) for metrics in quiet)
    for number, metrics in enumerate(epochs):
        assert names <= set(metrics)
        spent = {name for name in names if metrics[name] > 0}
        assert spent == names - ({"seconds/part/checkpoint"} if number == 0 else set())
        inside = ("views", "student", "losses", "teacher", "backward", "optimizer", "ema", "data")
        assert sum(metrics[f"seconds/part/{part}"] for part in inside) <= metrics["seconds/train"]
        assert metrics["seconds/part/clustering"] <= metrics["seconds/prepare"]
