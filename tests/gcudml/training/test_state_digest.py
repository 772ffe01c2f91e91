"""The digests of a training state tell which part differs, and whether any does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny, train_tiny

from gcudml.training import checkpoint
from gcudml.training.run import run
from gcudml.training.state_digest import digest_rows


def state() -> dict[str, Any]:
    return {
        "epoch": 1,
        "step": 4,
        "student": {"weight": torch.arange(24.0).reshape(2, 3, 2, 2)},
        "method": {"teacher": {"weight": torch.ones(2)}, "pseudo": {"labels": torch.zeros(3)}},
        "optimizers": [{"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1}]}],
        "best": {"epoch": 0, "score": 0.5, "state": {"weight": torch.zeros(1)}},
        "alarms": ["late"],
        "oracle_epoch": {},
    }


def digests(content: dict[str, Any]) -> dict[str, str]:
    return {str(row["part"]): str(row["digest"]) for row in digest_rows(0, content)}


def test_each_part_has_a_digest_of_its_own() -> None:
    found = digests(state())
    assert list(found) == ["student", "method.teacher", "method.pseudo", "optimizer.0", "progress"]
    assert len(set(found.values())) == len(found)
    assert found == digests(state())


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("student", lambda s: s["student"]["weight"][0, 0].add_(1e-6)),
        ("method.teacher", lambda s: s["method"]["teacher"]["weight"].neg_()),
        ("method.pseudo", lambda s: s["method"]["pseudo"]["labels"].add_(1)),
        ("optimizer.0", lambda s: s["optimizers"][0]["param_groups"][0].update(lr=0.2)),
        ("optimizer.0", lambda s: s["optimizers"][0]["state"][0]["step"].add_(1)),
        ("progress", lambda s: s.update(step=5)),
        ("progress", lambda s: s["best"].update(score=0.25)),
    ],
)
def test_a_change_shows_in_its_part_alone(part: str, change: Any) -> None:
    before, changed = digests(state()), state()
    change(changed)
    after = digests(changed)
    assert {name for name in before if before[name] != after[name]} == {part}


def test_the_layout_in_memory_does_not_matter() -> None:
    other = state()
    other["student"]["weight"] = other["student"]["weight"].to(memory_format=torch.channels_last)
    assert digests(other) == digests(state())


class KilledError(Exception):
    """Stands for a process that ends before it saves."""


def test_rows_of_an_epoch_that_was_not_saved_are_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tiny(tmp_path / "whole")
    save = checkpoint.save

    def fail_once(workdir: Path, key: str, content: Any) -> None:
        if content["epoch"] == 2:
            monkeypatch.setattr(checkpoint, "save", save)
            raise KilledError
        save(workdir, key, content)

    monkeypatch.setattr(checkpoint, "save", fail_once)
    with pytest.raises(KilledError):
        train_tiny(tmp_path / "killed")
    # Reports from the second epoch on.
    run(tiny(), seed=0, workdir=tmp_path / "killed", report=lambda *_: True, test=False)
    whole, killed = (tmp_path / name / "tables" / "states.jsonl" for name in ("whole", "killed"))
    assert killed.read_text() == whole.read_text()


def test_a_run_writes_one_row_for_each_epoch_and_part(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    lines = (tmp_path / "tables" / "states.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    parts = {row["part"] for row in rows}
    assert {"student", "method.teacher", "optimizer.0", "progress"} <= parts
    assert sorted((row["epoch"], row["part"]) for row in rows) == sorted(
        (epoch, part) for epoch in range(2) for part in parts
    )
    students = [row["digest"] for row in rows if row["part"] == "student"]
    assert len(set(students)) == 2
