"""Say which trials of a study with several metrics are on the Pareto front."""

from __future__ import annotations

from harness.report.data.evidence.front import Axis, Front, Point
from harness.report.data.study_data import measure_label
from harness.units import duration

_MOST_NAMED = 12


def front_text(front: Front) -> str:
    """Return a sentence that names the front, the best by the primary metric first."""
    kept = front.kept
    named = "; ".join(_told(front, point) for point in kept[:_MOST_NAMED])
    more = f"; and {len(kept) - _MOST_NAMED} more" if len(kept) > _MOST_NAMED else ""
    return (
        f"On the Pareto front ({front.split}) are {len(kept)} of {len(front.points)} trials: "
        f"{named}{more}."
    )


def axis_title(axis: Axis) -> str:
    """Return the name of a metric, and which end of it is better."""
    better = "" if axis.direction == "maximise" else ", less is better"
    return f"{measure_label(axis.name)}{better}"


def value_text(value: float) -> str:
    """Format a value of any metric: whole numbers as such, others to four decimals."""
    return f"{value:.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.4f}"


def cost_text(point: Point) -> str:
    """Say what a run of a trial takes, where that is known."""
    parts = [
        "" if point.seconds is None else duration(point.seconds),
        "" if point.peak_mib is None else f"{point.peak_mib:.0f} MiB",
    ]
    return ", ".join(filter(None, parts))


def _told(front: Front, point: Point) -> str:
    pairs = zip(front.axes, point.values, strict=True)
    said = ", ".join(f"{axis.name} {value_text(value)}" for axis, value in pairs)
    return f"{point.trial.label} ({said})"
