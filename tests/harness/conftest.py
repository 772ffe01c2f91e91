"""What several test files of the harness start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_workload
from driver_place import Place

from harness.engine.dispatch import retry_policy


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setitem(
        retry_policy.RETRY_POLICIES, "crash", retry_policy.RetryPolicy(retries=2)
    )  # no test waits for one
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    return Place(tmp_path)
