"""The answer's first sentence warns of trials below a control."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_fixtures import Made, make_study

from harness.report.data.load import load_tables
from harness.report.findings.answer import answer
from harness.report.findings.estimates import decimal

LOW, HIGH = Made("raw pixels", 0.30, role="control"), Made("untouched", 0.60, role="control")


def claim_of(results: Path, levels: list[float], *controls: Made, sampler: str = "grid") -> str:
    made = [
        Made(f"m={number}", level, {"m": number}, "trial" if number else "baseline")
        for number, level in enumerate(levels)
    ]
    tables = load_tables(make_study(results, [*made, *controls], sampler=sampler), "momentum")
    return answer(tables).claim


@pytest.mark.parametrize(
    ("levels", "warning"),
    [
        ([0.7, 0.8], ""),
        ([0.5, 0.8], "; but m=0 is below the control “untouched”, {}, for which nothing is trained."),
        ([0.5, 0.4, 0.8], "; but 2 of 3 trials are below the control “untouched”, {}, for which nothing is trained."),
        ([0.5, 0.4], "; but every trial is below the control “untouched”, {}, for which nothing is trained."),
        ([0.5], "; but it is below the control “untouched”, {}, for which nothing is trained."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_the_claim_names_the_highest_control_that_a_trial_is_below(
    tmp_path: Path, levels: list[float], warning: str, sampler: str
) -> None:
    claim = claim_of(tmp_path, levels, LOW, HIGH, sampler=sampler)
    if not warning:
        assert "control" not in claim
        return
    tables = load_tables(tmp_path, "momentum")
    (mean,) = [
        found.mean
        for (view, trial_id), found in tables.summaries.items()
        if view == tables.primary
        and trial_id in {each.trial_id for each in tables.trials if each.label == "untouched"}
    ]
    assert claim.endswith(warning.format(decimal(mean)))
