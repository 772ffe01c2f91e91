"""Variables that are set for a block only, and the profile that a run is asked for by one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.executors.interface import PROFILE, Job
from harness.executors.worker.environment import variables_set
from harness.executors.worker.run_attempt import execute
from harness.records.trial import Run


def test_what_the_environment_held_before_a_block_is_there_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HELD", "before")
    monkeypatch.delenv("NEW", raising=False)
    with variables_set({"HELD": "inside", "NEW": "inside"}):
        assert (os.environ["HELD"], os.environ["NEW"]) == ("inside", "inside")
    assert os.environ["HELD"] == "before"
    assert "NEW" not in os.environ


@pytest.mark.parametrize("profile", [True, False])
def test_a_run_sees_whether_its_time_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: bool
) -> None:
    monkeypatch.delenv(PROFILE, raising=False)
    seen = []

    def run(*_: object, **__: object) -> Mapping[str, float]:
        seen.append(os.environ.get(PROFILE))
        return {"val/recall@1": 0.5}

    job = Job(Run("os", {}, 0, False, "code", "data"), "a", tmp_path, 1, threads=1, profile=profile)
    assert execute(job, SimpleNamespace(run=run)) == 0  # type: ignore[arg-type]
    assert seen == ["1" if profile else None]
    assert PROFILE not in os.environ
