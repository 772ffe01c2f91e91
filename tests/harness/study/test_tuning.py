"""A search that every cell of an ablation gets: its settings, its trials, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_workload import load_problems, plan_problems, plan_study, write_study

from harness.study.ablate import Tune
from harness.study.axes import get_at
from harness.study.trials.tuning import settings_of
from harness.workload import JsonValue

STUDY = """\
ablate:
  design: leave_one_out
  components:
    momentum: {method.momentum: 0}
    groups: {method.groups: 1}
  tune:
    trials: 4
    search:
      train.learning_rate: {loguniform: [0.01, 1.0]}
      method.clusters: {int: [50, 200]}
seeds: 3
"""
BASE: Mapping[str, JsonValue] = {"lr": 0.1, "n": 3, "kind": "b"}


def settings(trials: int, **axes: object) -> list[dict[str, JsonValue]]:
    return settings_of(Tune.model_validate({"trials": trials, "search": axes}), BASE)


def test_every_cell_gets_the_same_settings_and_the_first_is_the_base(tmp_path: Path) -> None:
    plan = plan_study(tmp_path, STUDY)
    assert len(plan.fixed) == 3 * 4
    by_cell: dict[str, list[tuple[JsonValue, JsonValue]]] = {}
    for trial in plan.fixed:
        cell = trial.label.partition(", learning_rate")[0]
        chosen = (
            get_at(trial.params, "train.learning_rate"),
            get_at(trial.params, "method.clusters"),
        )
        by_cell.setdefault(cell, []).append(chosen)
        assert trial.phase == "search"
        assert (trial.varied["train.learning_rate"], trial.varied["method.clusters"]) == chosen
    assert list(by_cell) == ["full", "no momentum", "no groups"]
    assert by_cell["full"] == by_cell["no momentum"] == by_cell["no groups"]
    assert by_cell["full"][0] == (0.1, 100)
    assert len(set(by_cell["full"])) == 4
    (baseline,) = [trial for trial in plan.fixed if trial.role == "baseline"]
    assert baseline.number == 0
    assert plan.most_chosen_by == 12
    assert plan.most_confirmed == (3 + 1) * 3


def test_the_first_settings_stay_the_same_if_more_are_asked_for() -> None:
    axes = {"lr": {"loguniform": [0.01, 1.0]}, "n": {"uniform": [0.0, 1.0]}}
    assert settings(8, **axes) == settings(20, **axes)[:8]


def test_few_settings_cover_a_range_evenly() -> None:
    found = sorted(float(str(each["n"])) for each in settings(17, n={"uniform": [0.0, 1.0]})[1:])
    gaps = [b - a for a, b in zip([0.0, *found], [*found, 1.0], strict=True)]
    assert max(gaps) < 2 / 16
    found = sorted(float(str(each["lr"])) for each in settings(9, lr={"loguniform": [1e-4, 1.0]}))
    assert sum(value < 1e-2 for value in found) in (3, 4, 5)


def test_whole_numbers_and_lists_keep_to_their_values() -> None:
    found = settings(6, n={"int": [1, 6]})
    assert sorted(each["n"] for each in found) == [1, 2, 3, 4, 5, 6]  # type: ignore[type-var]
    found = settings(4, n={"logint": [1, 4]})
    assert {each["n"] for each in found} == {1, 2, 3, 4}
    found = settings(3, kind={"choice": ["a", "b", "c"]})
    assert found[0]["kind"] == "b"
    assert {each["kind"] for each in found} == {"a", "b", "c"}


def test_an_ablation_without_it_keeps_its_fingerprint(tmp_path: Path) -> None:
    plain = plan_study(tmp_path, STUDY.partition("  tune:")[0] + "seeds: 3\n").spec
    assert plain.ablate is not None
    assert {"tune", "race", "start"}.isdisjoint(plain.ablate.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("design: leave_one_out", "design: path"), "6:3: ablate.tune: the steps of a path are ra"),
        (
            ("method.clusters: {", "method.groups: {"),
            "10:7: ablate.tune.search.method.groups: component 'groups' sets 'method.groups', and ",
        ),
        (
            ("int: [50, 200]", "choice: [50], when: {train.epochs: 3}"),
            "10:7: ablate.tune.search.method.clusters: every cell gets every axis; remove 'when'",
        ),
        (
            ("method.clusters: {int: [50, 200]}", "train.speed: {choice: [1]}"),
            "10:7: train.speed: Extra inputs are not permitted (trial 'full, learning_rate=",
        ),
        (
            ("{loguniform: [0.01, 1.0]}\n", "{choice: [0.1, 0.2]}\n"),
            "7:13: ablate.tune.trials: there are only 2 settings, the base's own included, got 4; ",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    text = STUDY.replace(*change)
    if "0.2]" in text:
        text = text.replace("int: [50, 200]", "choice: [100]")
    (line,) = plan_problems(tmp_path, text)
    assert line.startswith(f"s.yaml:{int(said.partition(':')[0]) + 3}:"), line
    assert said.partition(": ")[2] in line


def test_one_setting_is_no_search(tmp_path: Path) -> None:
    (line,) = load_problems(write_study(tmp_path, STUDY.replace("trials: 4", "trials: 1")))
    assert "ablate.tune.trials" in line


def test_confirm_beside_it_is_refused(tmp_path: Path) -> None:
    (line,) = load_problems(write_study(tmp_path, STUDY + "confirm: {seeds: 4}\n"))
    assert "confirm: this ablation trains what it has chosen with the study's seeds" in line
