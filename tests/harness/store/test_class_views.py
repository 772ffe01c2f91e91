"""Other test classes, flips, and fewer classes: what SQL says of single queries, against Python."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from store_examples import a_run, a_trial, ask, write

from harness.records.trial import Trial
from harness.stats.variance.crossed import crossed_interval
from harness.store import database
from harness.store.tables.bulk_rows import Row, insert_rows
from harness.store.tables.computed.comparisons import refresh_comparisons

BASELINE, OTHER, CONTROL = a_trial(0, "baseline"), a_trial(1), a_trial(9, "control")
SIZES = {"ant": 3, "bee": 5, "cow": 2, "dog": 4}
LABELS = [name for name, size in SIZES.items() for _ in range(size)]
SEEDS = 4
WIDE = "SELECT low_classes, high_classes, classes, share_classes FROM comparisons"
Hits = dict[tuple[int, int], list[int | None]]
"""Trial number and seed -> the first hit of each image."""


def draw_hits(trials: Sequence[Trial], seeds: int = SEEDS) -> Hits:
    draw = random.Random(0)
    choices = [1, 1, 2, 3, None]
    return {
        (trial.number, seed): [draw.choice(choices) for _ in LABELS]
        for trial in trials
        for seed in range(seeds)
    }


def make(
    results: Path,
    trials: Sequence[Trial],
    hits: Hits,
    labels: Mapping[tuple[int, int], Sequence[str]] | None = None,
) -> None:
    """A study with the queries of its runs, and one that was dropped in each."""
    values = {
        trial.number: [recall(hits[key]) for key in sorted(hits) if key[0] == trial.number]
        for trial in trials
    }
    write(results, trials, values)
    rows: list[Row] = []
    for trial in trials:
        for seed in range(len(values[trial.number])):
            key = (trial.number, seed)
            named = (labels or {}).get(key, LABELS)
            fixed = {"run_id": a_run(trial, seed).run_id}
            rows.append({**fixed, "image": 99, "label": "alone", "dropped": True})
            rows += [
                {**fixed, "image": image, "label": label, "dropped": False, "first_hit": first}
                for image, (label, first) in enumerate(zip(named, hits[key], strict=True))
            ]
    with database.connect(results, read_only=False) as con:
        insert_rows(con, "queries", rows, replace=False)
        refresh_comparisons(con, "s")


def recall(hits: Sequence[int | None]) -> float:
    return sum(first == 1 for first in hits) / len(hits)


def test_the_interval_over_classes_is_that_of_the_recall_of_each_class(tmp_path: Path) -> None:
    trials = [BASELINE, OTHER, CONTROL]
    hits = draw_hits(trials)
    make(tmp_path, trials, hits)
    found = ask(tmp_path, WIDE + " WHERE metric = 'recall@1' ORDER BY number")
    assert len(found) == 2
    for number, row in zip((1, 9), found, strict=True):
        table = np.zeros((SEEDS, len(SIZES)))
        for seed in range(SEEDS):
            for place, name in enumerate(SIZES):
                own = [image for image, label in enumerate(LABELS) if label == name]
                wins = [
                    (hits[number, seed][image] == 1) - (hits[0, seed][image] == 1) for image in own
                ]
                table[seed, place] = sum(wins) / len(own)
        expected = crossed_interval(table, np.array(list(SIZES.values()), dtype=float))
        assert expected is not None
        assert row == pytest.approx(tuple(expected))
    middle = ask(tmp_path, "SELECT difference - (low_classes + high_classes) / 2 FROM comparisons")
    assert [value for (value,) in middle if value is not None] == pytest.approx([0.0, 0.0])


def test_without_queries_or_on_other_classes_there_is_no_interval(tmp_path: Path) -> None:
    hits = draw_hits([BASELINE, OTHER])
    other = {(1, seed): ["elk" if name == "ant" else name for name in LABELS] for seed in range(9)}
    make(tmp_path / "a", [BASELINE, OTHER], hits, other)
    write(tmp_path / "b", [BASELINE, OTHER], {0: [0.5, 0.6], 1: [0.7, 0.6]})
    make(tmp_path / "c", [BASELINE, OTHER], draw_hits([BASELINE, OTHER], 1))
    for name in "abc":
        assert set(ask(tmp_path / name, WIDE)) == {(None, None, None, None)}


def test_flips_count_the_seeds_with_which_only_one_is_right(tmp_path: Path) -> None:
    trials = [BASELINE, OTHER, CONTROL]
    hits = draw_hits(trials)
    make(tmp_path, trials, hits)
    rows = ask(tmp_path, "SELECT number, image, label, seeds, wins, losses FROM flips")
    assert len(rows) == 2 * len(LABELS)
    for number, image, label, seeds, wins, losses in rows:
        right = [
            (
                hits[int(str(number)), seed][int(str(image))] == 1,
                hits[0, seed][int(str(image))] == 1,
            )
            for seed in range(SEEDS)
        ]
        assert (label, seeds) == (LABELS[int(str(image))], SEEDS)
        assert (wins, losses) == (right.count((True, False)), right.count((False, True)))


def test_flips_compare_runs_on_the_same_data_only(tmp_path: Path) -> None:
    make(tmp_path, [BASELINE, OTHER], draw_hits([BASELINE, OTHER]))
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("UPDATE run SET data = 'other' WHERE run_id = $1", [a_run(OTHER, 0).run_id])
    assert ask(tmp_path, "SELECT DISTINCT seeds FROM flips") == [(SEEDS - 1,)]


COUNTS = {"val": (6, {0: 5, 1: 3, 5: 2}), "test": (20, {0: 10, 2: 4, 7: 3, 19: 2, None: 1})}


def write_counts(results: Path) -> None:
    write(results, [BASELINE, OTHER], {0: [0.5, 0.6], 1: [0.7, 0.6]})
    rows: list[Row] = [
        {
            "run_id": a_run(BASELINE, 0).run_id,
            "split": split,
            "classes": classes,
            "classes_before_hit": before,
            "queries": queries,
        }
        for split, (classes, counts) in COUNTS.items()
        for before, queries in counts.items()
    ]
    with database.connect(results, read_only=False) as con:
        insert_rows(con, "class_counts", rows, replace=False)


def by_hand(split: str, chosen: int) -> float:
    classes, counts = COUNTS[split]
    hits = sum(
        queries * math.comb(classes - 1 - before, chosen - 1) / math.comb(classes - 1, chosen - 1)
        for before, queries in counts.items()
        if before is not None
    )
    return hits / sum(counts.values())


def test_recall_with_fewer_classes_is_the_hypergeometric_mean(tmp_path: Path) -> None:
    write_counts(tmp_path)
    rows = ask(tmp_path, "SELECT split, classes, of_classes, recall FROM recall_by_classes")
    for split, chosen, classes, found in rows:
        assert classes == COUNTS[str(split)][0]
        assert found == pytest.approx(by_hand(str(split), int(str(chosen))), rel=1e-12)
    assert {chosen for split, chosen, *_ in rows if split == "val"} == {2, 3, 5, 6}
    assert {chosen for split, chosen, *_ in rows if split == "test"} == {2, 3, 5, 6, 7, 10, 15, 20}


def test_among_all_classes_it_is_exactly_recall_at_1(tmp_path: Path) -> None:
    write_counts(tmp_path)
    rows = ask(tmp_path, "SELECT split, recall FROM recall_by_classes WHERE classes = of_classes")
    assert dict(rows) == {"val": 5 / 10, "test": 10 / 20}


def test_the_splits_are_matched_at_the_smaller_number_of_classes(tmp_path: Path) -> None:
    write_counts(tmp_path)
    rows = ask(tmp_path, "SELECT split, classes, seed FROM recall_by_classes WHERE is_matched")
    assert sorted(rows) == [("test", 6, 0), ("val", 6, 0)]
    with database.connect(tmp_path, read_only=False) as con:
        con.execute("DELETE FROM class_counts WHERE split = 'test'")
    assert ask(tmp_path, "FROM recall_by_classes WHERE is_matched") == []
