"""How much of a study's variance each parameter and each pair explains, in one table.

The score of a trial is the mean of the study's metric over its seeds: on validation classes in a
search, on test classes (where they are open) in a grid. Controls, pruned trials, and trials outside
the space that is searched do not count. A parameter that only some trials have (``when``) is
explained among these, weighted by their share of the sum of squares; its pairs are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import duckdb
import numpy as np
from numpy.typing import NDArray

from harness.stats.variance.importance import (
    Explained,
    Term,
    crossed_shares,
    forest_shares,
    is_crossed,
)
from harness.store.tables.bulk_rows import Row, insert_rows
from harness.workload import JsonValue

FEWEST_TRIALS = 8
"""Fewest trials for trees; a crossed design has as many as it needs."""
VARIANT = "variant"
_RANGES = ("uniform", "loguniform", "int", "logint")

_VALUES = """
SELECT trial.trial_id, trial.varied, trial.variant, results.seed, results.value
FROM results
JOIN trial USING (trial_id)
JOIN study ON study.study = results.study
WHERE results.study = $1 AND results.role <> 'control'
    AND results.name = regexp_replace(study.metric, '^.*/', '')
    AND (study.sampler = 'grid' OR results.phase = 'search')
    AND (results.split = 'val' OR results.split = 'test' AND results.phase = 'confirm')
-- min() prefers 'test' to 'val'.
QUALIFY results.split = min(results.split) OVER ()
ORDER BY results.number, results.seed
"""


class _Trials(NamedTuple):
    """Trials with a score."""

    settings: tuple[Mapping[str, JsonValue], ...]
    scores: tuple[Mapping[int, float], ...]
    """Of each: seed -> value."""

    @property
    def means(self) -> NDArray[np.float64]:
        """``(trials,)``."""
        return np.array([np.mean(list(by_seed.values())) for by_seed in self.scores])

    @property
    def squares(self) -> float:
        """Sum of squared deviations from the mean of all trials."""
        return float(self.means.var() * len(self.scores))

    def by_seed(self) -> NDArray[np.float64]:
        """Return ``(seeds, trials)`` for seeds that all trials have; if none, the means."""
        seeds = sorted(set.intersection(*(set(by_seed) for by_seed in self.scores)))
        if not seeds:
            return self.means[None]
        return np.array([[each[seed] for each in self.scores] for seed in seeds])

    def only(self, key: str) -> _Trials:
        """Return the trials that have a parameter."""
        kept = [at for at, one in enumerate(self.settings) if key in one]
        return _Trials(
            tuple(self.settings[at] for at in kept), tuple(self.scores[at] for at in kept)
        )


class _Axis(NamedTuple):
    """A parameter that varies."""

    key: str
    levels: NDArray[np.int64]
    """Of each trial: the index of its value."""
    places: NDArray[np.float64]
    """Of each trial: where its value lies from 0 to 1; outside of that it is not searched."""

    @property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return bool(self.levels.any())


def refresh_importance(con: duckdb.DuckDBPyConnection, study: str) -> None:
    """Recompute the table ``explained_variance`` of ``study`` from its finished runs.

    It stays empty with fewer than two parameters, or if no parameter makes a difference; it stays
    as it is if nothing it depends on has changed. Runs inside the caller's transaction.
    """
    found = con.execute("SELECT spec FROM study WHERE study = $1", [study]).fetchone()
    spec = json.loads(found[0]) if found else {}
    trials = _read_trials(con, study)
    digest = _digest(trials, spec)
    known = "SELECT 1 FROM explained_variance WHERE study = $1 AND digest = $2"
    if con.execute(known, [study, digest]).fetchone():
        return
    con.execute("DELETE FROM explained_variance WHERE study = $1", [study])
    rows = [_row(study, digest, keys, one) for keys, one in _explain(trials, spec).items()]
    insert_rows(con, "explained_variance", rows)


def _explain(trials: _Trials, spec: Mapping[str, JsonValue]) -> dict[tuple[str, ...], Explained]:
    """Explain each parameter and each pair of parameters that all trials have."""
    keys = _varied(trials.settings, spec)
    if len(keys) < 2:
        return {}
    everywhere = [key for key in keys if all(key in one for one in trials.settings)]
    found = _explain_alike(trials, everywhere, spec)
    for key in (key for key in keys if key not in everywhere):
        having = trials.only(key)
        beside = [each for each in keys if all(each in one for one in having.settings)]
        if (one := _explain_alike(having, beside, spec).get((key,))) is not None:
            part = having.squares / trials.squares
            ends = (None if end is None else part * end for end in (one.low, one.high))
            found[key,] = Explained(part * one.share, *ends)
    return found


def _explain_alike(
    trials: _Trials, keys: Sequence[str], spec: Mapping[str, JsonValue]
) -> dict[tuple[str, ...], Explained]:
    """Explain parameters that all these trials have; empty if none of them varies."""
    axes = [
        axis
        for key in keys
        if (axis := _axis(key, [one[key] for one in trials.settings], _asked(spec, key))).varies
    ]
    if not axes:
        return {}
    levels = np.stack([axis.levels for axis in axes], axis=1)
    places = np.stack([axis.places for axis in axes], axis=1)
    is_searched = ((places >= 0) & (places <= 1)).all(axis=1)
    shares: Mapping[Term, Explained] | None = None
    if is_crossed(levels):
        shares = crossed_shares(levels, trials.by_seed())
    elif is_searched.sum() >= FEWEST_TRIALS:
        shares = forest_shares(places[is_searched], trials.means[is_searched])
    return {tuple(axes[at].key for at in term): one for term, one in (shares or {}).items()}


def _row(study: str, digest: str, keys: Sequence[str], explained: Explained) -> Row:
    fixed = {"study": study, "digest": digest}
    # Not null, since it is part of the primary key.
    parameter, other = keys if len(keys) == 2 else (keys[0], "")
    return {**fixed, "parameter": parameter, "other": other, **explained._asdict()}


def _digest(trials: _Trials, spec: Mapping[str, JsonValue]) -> str:
    """Digest all that the shares depend on."""
    scores = [sorted(by_seed.items()) for by_seed in trials.scores]
    depends = [trials.settings, scores, spec.get("search"), spec.get("zip")]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()[:12]


def _read_trials(con: duckdb.DuckDBPyConnection, study: str) -> _Trials:
    settings: dict[str, Mapping[str, JsonValue]] = {}
    scores: dict[str, dict[int, float]] = {}
    for trial_id, varied, variant, seed, value in con.execute(_VALUES, [study]).fetchall():
        fixed = {} if variant is None else {VARIANT: variant}
        settings.setdefault(trial_id, {**json.loads(varied), **fixed})
        scores.setdefault(trial_id, {})[seed] = value
    return _Trials(tuple(settings.values()), tuple(scores.values()))


def _varied(
    settings: Sequence[Mapping[str, JsonValue]], spec: Mapping[str, JsonValue]
) -> list[str]:
    """Return what the study file varies and trials differ in; of tied parameters the first."""
    given, ties = spec.get("search"), spec.get("zip")
    lists = [tie for tie in ties if isinstance(tie, list)] if isinstance(ties, list) else []
    tied = {key for tie in lists for key in tie[1:]}
    keys = [VARIANT, *(given if isinstance(given, dict) else {})]
    return [
        key
        for key in keys
        if key not in tied and len({json.dumps(one.get(key, [])) for one in settings}) > 1
    ]


def _asked(spec: Mapping[str, JsonValue], key: str) -> JsonValue:
    given = spec.get("search")
    return given.get(key) if isinstance(given, dict) else None


def _axis(key: str, values: Sequence[JsonValue], given: JsonValue) -> _Axis:
    texts = [json.dumps(value) for value in values]
    distinct = list(dict.fromkeys(texts))
    if all(isinstance(value, int | float) for value in values):
        distinct.sort(key=lambda text: float(json.loads(text)))
    levels = np.array([distinct.index(text) for text in texts], dtype=np.int64)
    places = (levels + 0.5) / len(distinct)
    kind = next((k for k in _RANGES if isinstance(given, dict) and given.get(k)), None)
    bounds = given.get(kind) if isinstance(given, dict) and kind else None
    if kind and isinstance(bounds, list):
        scale = math.log if kind.startswith("log") else float
        low, high = (scale(float(str(bound))) for bound in bounds)
        outside = -1.0
        numbers = [float(str(value)) for value in values]
        places = np.array(
            [
                (scale(n) - low) / (high - low) if n > 0 or scale is float else outside
                for n in numbers
            ]
        )
    return _Axis(key, levels, places)
