from __future__ import annotations

import dataclasses
import math
import statistics
from pathlib import Path

import pytest
from report_fixtures import Made, controls, make_study, momentum, value_of

from harness.report.data.load import load_tables
from harness.report.data.study_data import Comparison
from harness.report.findings.optimism import optimism, optimism_text
from harness.report.findings.sentences import (
    MOST_SENTENCES,
    comparison_sentences,
    is_estimated,
    more_seeds,
)

MINUS = "\N{MINUS SIGN}"


def compared(n: int, difference: float, half: float) -> Comparison:
    low, high = difference - half, difference + half
    return Comparison(n, difference, low, high, 0.3, 0.3, 0.6)


def test_every_compared_trial_has_a_sentence_best_first(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum(), seeds=8), "momentum")
    said = comparison_sentences(tables)
    assert [sentence.split(":")[0] for sentence in said] == [
        "teacher_momentum=0.9",
        "teacher_momentum=0.99",
        "teacher_momentum=0.999",
    ]
    assert "Recall@1 +0.0" in said[0]
    assert said[0].endswith("Holm p = 0.023, 8 paired seeds: better.")
    assert f"Recall@1 {MINUS}0.0" in said[2]
    assert said[2].endswith("8 paired seeds: worse.")
    assert not is_estimated(said)


def test_an_undecided_trial_says_how_many_seeds_would_settle_it(tmp_path: Path) -> None:
    made = [Made("m=0", 0.6, {"m": 0}, "baseline"), Made("m=1", 0.604, {"m": 1})]
    tables = load_tables(make_study(tmp_path, made, seeds=7), "momentum")
    (sentence,) = comparison_sentences(tables)
    (pair,) = [c for (view, _), c in tables.comparisons.items() if view == tables.primary]
    assert sentence.endswith(f"undecided; about {more_seeds(pair, 1)} more seeds would settle it.")
    assert is_estimated((sentence,))


def test_few_seeds_are_exploratory_and_two_say_nothing_of_the_spread(tmp_path: Path) -> None:
    five = comparison_sentences(load_tables(make_study(tmp_path / "five", momentum()), "momentum"))
    assert "exploratory; about " in five[0]
    two = comparison_sentences(
        load_tables(make_study(tmp_path / "two", momentum(), seeds=2), "momentum")
    )
    assert two[0].endswith("too few seeds, so the number that would settle it is unknown.")


def test_the_seeds_that_are_missing_grow_with_the_spread_over_the_difference() -> None:
    found = [more_seeds(compared(10, difference, 0.02), 3) for difference in (0.012, 0.006, 0.003)]
    sd = 0.02 / 2.2621572 * math.sqrt(10)
    normal = [
        ((2.3940 + 0.8416) * sd / difference) ** 2 - 10 for difference in (0.012, 0.006, 0.003)
    ]
    # The t-test needs a little more than the normal approximation at alpha 0.05 / 3, power 0.8.
    assert [one - other for one, other in zip(found, normal, strict=True)] == pytest.approx(
        [2.5] * 3, abs=1.5
    )
    assert more_seeds(compared(10, 0.001, 0.02), 3) is None
    assert more_seeds(compared(10, -0.012, 0.02), 3) == found[0]
    assert more_seeds(compared(2, 0.01, 0.02), 3) is None
    assert more_seeds(compared(4, 0.5, 0.02), 1) == 2  # six is the fewest that can be significant


def test_many_trials_are_counted_after_the_first(tmp_path: Path) -> None:
    made = [
        Made(f"m={m}", 0.5 + m / 500, {"m": m}, "trial" if m else "baseline") for m in range(12)
    ]
    said = comparison_sentences(load_tables(make_study(tmp_path, made, seeds=6), "momentum"))
    assert len(said) == MOST_SENTENCES + 1
    assert said[-1].startswith("And 3 more in the table: ")


def test_a_search_claims_nothing(tmp_path: Path) -> None:
    results = make_study(tmp_path, momentum(), sampler="tpe", seeds=6)
    assert comparison_sentences(load_tables(results, "momentum")) == ()


def mean(one: Made, seeds: int = 5) -> float:
    return statistics.mean(value_of(one, seed, "test", 1) for seed in range(seeds))


def test_the_gap_is_between_the_trial_that_validation_chose_and_the_best_on_test(
    tmp_path: Path,
) -> None:
    beside = {"test/recall@1_last_epoch": -0.004, "test/recall@1_best_test_epoch": 0.02}
    made = [
        Made("m=0", 0.600, {"m": 0}, "baseline", beside=beside),
        # Better on test than m=2, and worse on validation, by their noise alone.
        Made("m=1", 0.6302, {"m": 1}, beside=beside),
        Made("m=2", 0.6300, {"m": 2}, beside=beside | {"test/recall@1_best_test_epoch": 0.05}),
    ]
    tables = load_tables(make_study(tmp_path, [*made, *controls()]), "momentum")
    found = optimism(tables)
    assert found is not None
    on_val = [statistics.mean(value_of(m, s, "val", 1) for s in range(5)) for m in made]
    chosen = made[on_val.index(max(on_val))]
    best = max(made, key=mean)
    assert (found.honest.trial.label, found.best.trial.label) == (chosen.label, best.label)
    assert found.honest.value == pytest.approx(mean(chosen))
    assert found.best.value == pytest.approx(mean(best))
    assert found.best_by_epoch is not None
    assert found.best_by_epoch.trial.label == "m=2"
    assert found.best_by_epoch.value == pytest.approx(mean(made[2]) + 0.05)
    assert found.last == pytest.approx(mean(chosen) - 0.004)
    text = " ".join(optimism_text(found, "recall@1"))
    assert (
        f"Choosing the epoch of every run there too would have claimed {mean(made[2]) + 0.05:.3f}"
        in text
    )
    assert f"({MINUS}0.004)" in text


def test_what_was_not_recorded_is_said_to_be_so(tmp_path: Path) -> None:
    tables = load_tables(make_study(tmp_path, momentum()), "momentum")
    found = optimism(tables)
    assert found is not None
    text = " ".join(optimism_text(found, "recall@1"))
    assert "It is also the best on test classes: choosing there would have claimed no more." in text
    assert "effect of choosing the epoch there was not recorded" in text
    assert "After the last epoch" not in text


def test_no_gap_without_test_scores_or_without_results(tmp_path: Path) -> None:
    search = make_study(tmp_path / "search", momentum(), sampler="tpe", seeds=2)
    assert optimism(load_tables(search, "momentum")) is None
    made = [dataclasses.replace(one, unstarted=range(5)) for one in momentum()]
    assert optimism(load_tables(make_study(tmp_path / "none", made), "momentum")) is None


def test_scores_at_epochs_that_nothing_chose_are_no_choice_of_the_page(tmp_path: Path) -> None:
    beside = {"test/recall@1_best_test_epoch": 0.02, "test/recall@1_last_epoch": 0.0}
    made = [dataclasses.replace(one, beside=beside) for one in momentum()]
    tables = load_tables(make_study(tmp_path, made, seeds=2), "momentum")
    assert any(view.measure == "recall@1_best_test_epoch" for view in tables.views)
    assert not [m for m in tables.measures() if m.endswith("_epoch")]
    assert len(tables.chosen_views()) == 10
