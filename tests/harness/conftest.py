"""What several test files of the harness start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_workload
from driver_place import Place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    return Place(tmp_path)
