"""Makes the trials of a study of variance: all sources vary, each alone, and none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.errors import InputError, nearest
from harness.records.trial import Trial
from harness.study.axes import get_at
from harness.study.loading import Loaded
from harness.study.trials.single_trial import make_overridden
from harness.study.variance import Variance
from harness.workload import Workload

ALL = "all"
"""Label of the trial in which everything varies: ordinary runs, which other studies share."""
NONE = "none"
"""Label of the trial in which nothing varies: its runs differ by what the machine does."""


def make_variance(loaded: Loaded, variance: Variance, workload: Workload) -> tuple[Trial, ...]:
    """Make the trials; the one in which all sources vary is the baseline.

    A source that the study does not name varies in that trial only.

    Raises:
        InputError: a source is unknown, the base pins it, or the workload has no other.
    """
    base = loaded.spec.base
    everything = make_overridden(loaded, workload, ALL, base, {}, role="baseline")
    keys = _keys(loaded, variance, workload.random_sources(everything.params))
    trials = [everything]
    for label in (*variance.sources, NONE):
        pins = {key: variance.pinned for source, key in keys.items() if source != label}
        trials.append(make_overridden(loaded, workload, label, base, pins, role="trial"))
    return tuple(
        dataclasses.replace(
            trial,
            number=number,
            varied={source: trial.label in (ALL, source) for source in variance.sources},
        )
        for number, trial in enumerate(trials)
    )


def _keys(loaded: Loaded, variance: Variance, known: Mapping[str, str]) -> Mapping[str, str]:
    """Return every source of the workload with the key that pins it, once they are checked."""
    where, name = loaded.source.where(("variance", "sources")), loaded.spec.workload
    if len(known) < 2:
        raise InputError(
            f"{where}: variance: {name!r} declares {len(known)} sources of randomness, and "
            "a share needs two; see random_sources in harness.workload"
        )
    for place, source in enumerate(variance.sources):
        at = f"{loaded.source.where(('variance', 'sources', place))}: variance.sources"
        if source not in known:
            raise InputError(f"{at}: no source {source!r}; {nearest(source, known)}")
    for source, key in known.items():
        if get_at(loaded.spec.base, key) is not None:
            raise InputError(
                f"{loaded.source.where(('base', *key.split('.')))}: base: {key!r} pins {source!r}, "
                "and variance pins sources itself; remove it"
            )
    return known
