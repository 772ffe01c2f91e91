"""The best embedding that pretrained weights give for free: chosen fairly, never on test classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import tiny, train_tiny

from gcudml.data.datasets import load
from gcudml.methods import build_student
from gcudml.models.number_format import Format
from gcudml.training import untouched
from gcudml.training.untouched import choose_free_embedding

FORMAT = Format("fp32", "contiguous")
BEST = {"name": "untrained", "embedding": "best_free"}


def test_it_is_the_best_of_eight_on_the_validation_classes() -> None:
    config = tiny(method=BEST)
    student = build_student(config, channels=1, seed=3).eval()
    parts = {part: load(config.data, part) for part in ("train", "val")}
    given = [
        (torch.from_numpy(each.images.copy()), torch.from_numpy(each.labels), None)
        for each in parts.values()
    ]
    chosen = choose_free_embedding(student, *given, config, number_format=FORMAT)

    expected = {}
    for pooling in ("avg", "max", "avg+max", "gem"):
        train, val = (_pooled(student, images, pooling) for images, *_ in given)
        expected[f"{pooling} pooling, plain"] = _recall(val, parts["val"].labels)
        mean, values, vectors = train.mean(0), *np.linalg.eigh(np.cov(train.T, bias=True))
        scale = np.maximum(values, 1e-6 * values.max()) ** -0.25
        name = f"{pooling} pooling, half-whitened to 8 dimensions"
        expected[name] = _recall((val - mean) @ (vectors * scale), parts["val"].labels)
    best = max(expected.values())
    assert len({round(value, 6) for value in expected.values()}) > 2  # else any choice is right
    assert expected[str(chosen)] == best

    embedded = chosen(_inputs(given[1][0])).pooled.detach().numpy()
    assert _recall(embedded, parts["val"].labels) == pytest.approx(best)


def _inputs(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


def _pooled(student: torch.nn.Module, images: torch.Tensor, pooling: str) -> NDArray[np.float64]:
    with torch.no_grad():
        maps = student.features.maps(_inputs(images)).double().numpy()  # type: ignore[union-attr,operator]
    average, largest = maps.mean((2, 3)), maps.max((2, 3))
    mean_of_cubes = (np.maximum(maps, 1e-6) ** 3).mean((2, 3)) ** (1 / 3)
    found = {"avg": average, "max": largest, "avg+max": average + largest, "gem": mean_of_cubes}
    return np.asarray(found[pooling])


def _recall(vectors: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    nearness = unit @ unit.T
    np.fill_diagonal(nearness, -np.inf)
    return float((labels[nearness.argmax(1)] == labels).mean())


def test_without_validation_it_is_chosen_on_training_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[set[int]] = []
    retrieve = untouched.retrieve

    def spy(rows: torch.Tensor, labels: torch.Tensor, **options: object) -> object:
        judged.append(set(labels.tolist()))
        return retrieve(rows, labels, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(untouched, "retrieve", spy)
    data = {"classes": 16, "images_per_class": 8, "protocol": "published"}
    results, _ = train_tiny(tmp_path, test=True, method=BEST, data=data)
    assert 0 < results["test/recall@1"] <= 1
    assert len(judged) == 8
    assert set(map(len, judged)) == {2}  # 30 % of the 8 training classes
    (remark,) = json.loads((tmp_path / "facts.json").read_text())["remarks"]
    assert remark.startswith("The best embedding that the untouched weights give is ")


def test_without_classes_it_is_the_networks_own_pooling() -> None:
    config = tiny(method=BEST)
    student = build_student(config, channels=1, seed=0)
    images = torch.from_numpy(load(config.data, "train").images.copy())
    unknown = torch.full((len(images),), -1)
    part = (images, unknown, None)
    chosen = choose_free_embedding(student, part, part, config, number_format=FORMAT)
    assert str(chosen) == "avg+max pooling, plain"
