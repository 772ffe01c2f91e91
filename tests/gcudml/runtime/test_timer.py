"""Time by part, on a clock that the test turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import context_for, train_tiny

import gcudml.methods.gcudml.method
from gcudml.methods import build_method
from gcudml.methods.gcudml.method import Gcudml
from gcudml.models import inference
from gcudml.runtime import timer
from gcudml.runtime.timer import PARTS, Stopwatch

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


def test_what_a_network_computes_for_a_clustering_counts_for_the_network(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = replace(context_for(method={"name": "gcudml"}), clock=Stopwatch(CPU, is_on=True))
    method = build_method(context)
    assert isinstance(method, Gcudml)

    def lasting(seconds: float) -> Callable[..., None]:
        def wait(*_: object) -> None:
            clock[0] += seconds

        return wait

    method.teacher.wide.bias.add_(1.0)  # else one forward would do for both
    method.teacher.register_forward_hook(lasting(1.0))
    context.student.register_forward_hook(lasting(10.0))
    kmeans = gcudml.methods.gcudml.method.spherical_kmeans
    monkeypatch.setattr(
        gcudml.methods.gcudml.method,
        "spherical_kmeans",
        lambda *a, **k: (lasting(100.0)(), kmeans(*a, **k))[1],
    )
    with context.clock("clustering"):
        method.begin_epoch(0)
    taken = {name.rpartition("/")[2]: s for name, s in context.clock.take().items() if s}
    assert taken == {"teacher": 1.0, "student": 10.0, "clustering": 100.0}


def test_views_of_an_evaluation_count_as_views(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, watch = context_for(), Stopwatch(CPU, is_on=True)

    def slow_views(*_: object, **__: object) -> torch.Tensor:
        clock[0] += 1
        return torch.zeros(4, 1, 28, 28)

    monkeypatch.setattr(inference, "random_views", slow_views)
    with watch("evaluation"):
        inference.embed_images(
            context.student,
            context.images[:4],
            heads=["compact"],
            number_format=context.number_format,
            views=inference.RandomViews(context.config.views, torch.Generator()),
            clock=watch,
        )
    assert {name: s for name, s in watch.take().items() if s} == {"seconds/part/views": 1.0}


def test_nothing_is_measured_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(timer.VARIABLE, raising=False)
    watch = Stopwatch.for_run(CPU)
    with watch("views"):
        pass
    assert watch.take() == {}
    monkeypatch.setenv(timer.VARIABLE, "1")
    assert set(Stopwatch.for_run(CPU).take()) == {f"seconds/part/{part}" for part in PARTS}


@pytest.mark.parametrize("method", ["gcudml", "stml"])
def test_a_run_says_where_its_time_goes_when_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    settings = {"name": method} | ({"neighbours": 2} if method == "stml" else {})
    plain, quiet = train_tiny(tmp_path / "plain", method=settings)
    monkeypatch.setenv(timer.VARIABLE, "1")
    profiled, epochs = train_tiny(tmp_path / "profiled", method=settings)
    assert profiled == plain
    names = {f"seconds/part/{part}" for part in PARTS}
    assert not any(names & set(metrics) for metrics in quiet)
    for number, metrics in enumerate(epochs):
        assert names <= set(metrics)
        spent = {name for name in names if metrics[name] > 0}
        assert spent == names - ({"seconds/part/checkpoint"} if number == 0 else set())
        known = sum(metrics[f"seconds/{stage}"] for stage in ("prepare", "train", "evaluate"))
        measured = names - {"seconds/part/checkpoint"}  # that of the epoch before
        assert sum(metrics[name] for name in measured) <= known
        inside = ("losses", "backward", "optimizer", "ema")
        assert sum(metrics[f"seconds/part/{part}"] for part in inside) <= metrics["seconds/train"]
        assert metrics["seconds/part/clustering"] <= metrics["seconds/prepare"]
        assert metrics["seconds/part/evaluation"] <= metrics["seconds/evaluate"]
