"""The power that a probe takes, from counters and readings that a test makes up."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.planning.power_meter import PowerMeter


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counter(folder: Path, package: str, joules: float, most: float = 1000.0) -> None:
    """Write the counter of a package as the kernel does, in microjoules."""
    (folder / package).mkdir(exist_ok=True)
    (folder / package / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
    (folder / package / "max_energy_range_uj").write_text(f"{round(most * 1e6)}\n")


def test_packages_are_added_and_their_parts_are_not(tmp_path: Path) -> None:
    clock = Clock()
    for package in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl-mmio:0"):
        counter(tmp_path, package, 10)
    meter = PowerMeter(folder=tmp_path, clock=clock)
    clock.now += 4
    for package in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0", "intel-rapl-mmio:0"):
        counter(tmp_path, package, 110)
    assert meter.watts() == pytest.approx(2 * 100 / 4)


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    counter(tmp_path, "intel-rapl:0", 990)
    meter = PowerMeter(folder=tmp_path, clock=clock)
    clock.now += 2
    counter(tmp_path, "intel-rapl:0", 30)
    assert meter.watts() == pytest.approx(40 / 2)


def test_gpus_are_read_once_a_second_and_averaged(tmp_path: Path) -> None:
    clock, told = Clock(), {"0": [100.0, 300.0], "1": [50.0, 50.0]}
    meter = PowerMeter(
        ["0", "1"], folder=tmp_path, read_gpu=lambda gpu: told[gpu].pop(0), clock=clock
    )
    for _ in range(8):
        clock.now += 0.25
        meter.sample()
    assert meter.watts() == pytest.approx(200 + 50)
    assert told == {"0": [], "1": []}


@pytest.mark.parametrize("text", [None, "", "not a number"])
def test_a_machine_that_tells_nothing_has_no_power(tmp_path: Path, text: str | None) -> None:
    clock = Clock()
    if text is not None:
        counter(tmp_path, "intel-rapl:0", 1)
        (tmp_path / "intel-rapl:0" / "energy_uj").write_text(text)
    meter = PowerMeter(["0"], folder=tmp_path, read_gpu=lambda gpu: None, clock=clock)
    clock.now += 1
    assert meter.watts() is None
