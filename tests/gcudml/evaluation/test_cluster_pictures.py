"""Which clusters of the last clustering get pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gcudml.data.datasets import ImageSet
from gcudml.evaluation.cluster_pictures import SHOWN_IMAGES, write_cluster_pictures
from gcudml.evaluation.run_files import append_rows


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ImageSet:
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))
    images = np.arange(60, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)
    return ImageSet(images, np.arange(60) // 10, tuple("abcdef"))


def cluster(number: int, purity: float | None, count: int = 5, epoch: int = 3) -> dict[str, object]:
    members = list(range(number, number + count))
    row = {"epoch": epoch, "cluster": number, "size": 4 * count, "group": 0}
    return {**row, "purity": purity, "members": members}


def written(workdir: Path) -> list[dict[str, Any]]:
    path = workdir / "tables" / "cluster_pictures.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_purest_and_the_least_pure_are_shown_with_a_few_images(
    tmp_path: Path, training: ImageSet
) -> None:
    append_rows(tmp_path, "clusters", [cluster(0, 1.0, epoch=2)])
    rows = [cluster(number, number / 10, 12 if number == 9 else 5) for number in range(1, 10)]
    append_rows(tmp_path, "clusters", [*rows, cluster(20, 1.0, count=3)])
    write_cluster_pictures(tmp_path, training)
    found = written(tmp_path)
    assert [row["cluster"] for row in found] == [9, 8, 7, 3, 2, 1]
    assert found[0]["images"] == [9, 10, 12, 13, 15, 16, 18, 19]  # spread over all twelve
    assert len(found[0]["images"]) == SHOWN_IMAGES
    assert found[0]["labels"] == ["a", *"bbbbbbb"]
    assert (found[0]["size"], found[0]["purity"], found[0]["epoch"]) == (48, 0.9, 3)
    assert all((tmp_path / name).stat().st_size for row in found for name in row["pictures"])
    before = found
    write_cluster_pictures(tmp_path, training)
    assert written(tmp_path) == before


def test_few_clusters_are_shown_once(tmp_path: Path, training: ImageSet) -> None:
    append_rows(tmp_path, "clusters", [cluster(1, 0.5), cluster(2, 0.5), cluster(3, 0.7)])
    write_cluster_pictures(tmp_path, training)
    assert [row["cluster"] for row in written(tmp_path)] == [3, 1, 2]


def test_without_classes_or_clusters_nothing_is_written(tmp_path: Path, training: ImageSet) -> None:
    write_cluster_pictures(tmp_path, training)
    append_rows(tmp_path, "clusters", [cluster(1, None)])
    write_cluster_pictures(tmp_path, training)
    assert written(tmp_path) == []
