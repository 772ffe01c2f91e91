"""Earlier forecasts of the studies of a results folder, and what these studies took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.errors import InputError
from harness.store.database import query


@dataclass(frozen=True)
class KeptForecast:
    """A forecast whose runs are done."""

    study: str
    planned_at: str
    """UTC."""
    runs: int
    low_hours: float
    high_hours: float
    took_hours: float

    @property
    def has_held(self) -> bool:
        """Whether the study took as long as was said."""
        return self.low_hours <= self.took_hours <= self.high_hours


def kept_forecasts(results: Path) -> tuple[KeptForecast, ...]:
    """Return the forecasts that can be compared with what the runs took, oldest first."""
    try:
        rows = query(results, _KEPT).rows
    except InputError:  # no results yet
        return ()
    return tuple(
        KeptForecast(
            str(study), str(at), int(str(runs)), float(str(low)), float(str(high)), float(str(took))
        )
        for study, at, runs, low, high, took in rows
    )


_KEPT = """
    SELECT study, planned_at::VARCHAR, runs, low_hours, high_hours, took_hours
    FROM forecasts
    WHERE took_hours IS NOT NULL
    ORDER BY planned_at, study
"""
