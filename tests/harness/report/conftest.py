"""Many tests of the report start from the same few studies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import report_fixtures


@pytest.fixture(autouse=True, scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    report_fixtures.originals.append(tmp_path_factory.mktemp("originals"))
    yield
    report_fixtures.originals.clear()
