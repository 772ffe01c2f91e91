"""One Ray cluster for all tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ray_cluster import RayCluster


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    made = RayCluster(tmp_path_factory.mktemp("ray"))
    yield made
    made.shutdown()
