"""The best embedding that pretrained weights give for free: chosen fairly, never on test classes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import tiny, train_tiny

from gcudml.config import UntrainedConfig
from gcudml.data.datasets import load
from gcudml.methods import build_student
from gcudml.models.frozen import FrozenTrunk
from gcudml.models.number_format import Format
from gcudml.runtime.seeding import derive
from gcudml.training import untouched
from gcudml.training.untouched import choose_free_embedding

FORMAT = Format("fp32", "contiguous")
BEST = {"name": "untrained", "embedding": "best_free"}


def test_it_is_the_best_of_eight_on_the_validation_classes() -> None:
    config = tiny(method=BEST)
    assert isinstance(config.method, UntrainedConfig)
    student = build_student(config, channels=1, seed=3).eval()
    maps = student.features.maps
    trunk = FrozenTrunk(student, config, FORMAT, poolings=untouched.POOLINGS, keep=False)
    parts = {part: load(config.data, part) for part in ("train", "val")}
    given = [
        (torch.from_numpy(each.images.copy()), torch.from_numpy(each.labels), None)
        for each in parts.values()
    ]
    stored = [
        (torch.from_numpy(trunk.features(images, of=[])[0]), labels, None)
        for images, labels, _ in given
    ]
    training, validation = stored
    chosen = choose_free_embedding(training, validation, config, config.method)

    expected = {}
    for pooling in ("avg", "max", "avg+max", "gem"):
        train, val = (_pooled(maps, images, pooling) for images, *_ in given)
        expected[f"{pooling} pooling, plain"] = _recall(val, parts["val"].labels)
        mean, values, vectors = train.mean(0), *np.linalg.eigh(np.cov(train.T, bias=True))
        scale = np.maximum(values, 1e-6 * values.max()) ** -0.25
        name = f"{pooling} pooling, half-whitened to 8 dimensions"
        expected[name] = _recall((val - mean) @ (vectors * scale), parts["val"].labels)
    best = max(expected.values())
    assert len({round(value, 6) for value in expected.values()}) > 2  # else any choice is right
    assert expected[str(chosen)] == best

    embedded = chosen(validation[0]).pooled.detach().numpy()
    assert _recall(embedded, parts["val"].labels) == pytest.approx(best)


def _inputs(images: torch.Tensor) -> torch.Tensor:
    return images.float() / 127.5 - 1


def _pooled(trunk: torch.nn.Module, images: torch.Tensor, pooling: str) -> NDArray[np.float64]:
    with torch.no_grad():
        maps = trunk(_inputs(images)).double().numpy()
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
    assert isinstance(config.method, UntrainedConfig)
    unknown = torch.full((6,), -1)
    part = (torch.rand(6, 4 * 8, 1, 1), unknown, None)
    chosen = choose_free_embedding(part, part, config, config.method)
    assert str(chosen) == "avg+max pooling, plain"


@pytest.mark.parametrize("pooling", ["avg", "max", "avg+max", "gem"])
@pytest.mark.parametrize("gem_p", [3.0, 2.0])
def test_a_trial_is_compared_with_its_own_pooling(
    tmp_path: Path, pooling: str, gem_p: float
) -> None:
    model = {"pooling": pooling, "gem_p": gem_p}
    own = {"name": "untrained", "embedding": "pooled"}
    results, _ = train_tiny(tmp_path, seed=3, test=True, method=own, model=model)

    config = tiny(method=own, model=model)
    student = build_student(config, channels=1, seed=derive(3, "weights")).eval()
    for part in ("val", "test"):
        data = load(config.data, part)
        with torch.no_grad():
            pooled = student(_inputs(torch.from_numpy(data.images.copy()))).pooled.numpy()
        assert results[f"{part}/recall@1"] == pytest.approx(_recall(pooled, data.labels))


def test_a_pretrained_trunk_sees_each_image_once_for_all_controls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    compute = FrozenTrunk._compute

    def counted(self: FrozenTrunk, images: torch.Tensor, views: Sequence[object]) -> object:
        seen.append(len(images) * len(views))
        return compute(self, images, views)  # type: ignore[arg-type]

    monkeypatch.setattr(FrozenTrunk, "_compute", counted)
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))
    data = {"classes": 8, "images_per_class": 4, "image_size": 32}
    config = tiny(data=data)
    images = [len(load(config.data, part).images) for part in ("train", "val", "test")]
    pretrained = {"backbone": "efficientnet_lite0", "weights": "bundled"}
    controls: list[tuple[dict[str, str], dict[str, Any]]] = [
        ({"embedding": "pooled"}, {"pooling": "avg"}),
        ({"embedding": "pooled"}, {"pooling": "gem"}),
        ({"embedding": "best_free"}, {}),
        ({"embedding": "best_free"}, {"embedding_dim": 16}),
    ]
    scores = []
    for seed in (0, 1):
        for number, (method, model) in enumerate(controls):
            results, _ = train_tiny(
                tmp_path / f"{seed} {number}",
                seed=seed,
                test=True,
                data=data,
                method={"name": "untrained"} | method,
                model=pretrained | model,
            )
            scores.append(results["test/recall@1"])
    # The views of the label-free criterion differ from seed to seed.
    both_views = [2 * count for count in images[1:]]
    assert sorted(seen) == sorted(images + 2 * both_views)
    assert scores[:4] == scores[4:]
