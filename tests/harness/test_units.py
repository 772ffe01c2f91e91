"""Times and sizes as text."""

from __future__ import annotations

import pytest

from harness.units import duration, mebibytes, total_duration, whole_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (10.1, "11 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_a_time_has_the_two_units_that_matter(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_other_texts_for_times_and_sizes() -> None:
    assert [whole_duration(4), whole_duration(3660)] == ["4 s", "1 h 01 min"]
    assert [total_duration(431.4), total_duration(7800)] == ["431 s", "2.17 h"]
    assert [mebibytes(12.5), mebibytes(1536)] == ["12.5 MiB", "1.5 GiB"]
