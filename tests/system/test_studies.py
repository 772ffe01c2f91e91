"""Every study under studies/ loads, passes its workload's check and says what it says it does."""

from __future__ import annotations

from pathlib import Path

import pytest
from roots import ROOT

from harness.study.loading import load_study
from harness.study.trials.plan import make_plan
from harness.workload import load_workload

pytestmark = pytest.mark.timeout(120)  # the first test imports torch, which a cold disk makes slow
STUDIES = sorted((ROOT / "studies").rglob("*.yaml"))


def test_all_studies_are_found() -> None:
    assert len(STUDIES) == 69


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: str(p.relative_to(ROOT / "studies")))
def test_a_shipped_study_is_valid(path: Path) -> None:
    loaded = load_study(path)
    plan = make_plan(loaded, load_workload(loaded.spec.workload))
    expected = {"raw pixels", "untrained"} if loaded.spec.variance is None else set()
    if any(trial.params["model"]["weights"] != "none" for trial in plan.fixed):  # type: ignore[index,call-overload]
        expected |= {"untouched", "untouched, best free"}
    assert {trial.label.partition(" (")[0] for trial in plan.controls} == expected
    assert sum(trial.role == "baseline" for trial in plan.fixed) == 1
    assert loaded.spec.question.endswith("?")
    assert loaded.spec.study == "-".join(path.relative_to(ROOT / "studies").with_suffix("").parts)
    command = path.read_text(encoding="utf-8").splitlines()[0]
    assert command.endswith(f"harness run {path.relative_to(ROOT)}")


def test_studies_over_momentum_use_the_published_form_without_warm_up() -> None:
    for path in STUDIES:
        if path.stem == "momentum":
            loaded = load_study(path)
            plan = make_plan(loaded, load_workload(loaded.spec.workload))
            for trial in plan.fixed:
                assert trial.params["method"]["momentum_warmup"] is False
