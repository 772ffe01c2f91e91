"""Whole runs of what is not the default: published halves, In-Shop, a few labels, bad data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published_layouts import write_inshop
from tiny import tiny, train_tiny

import gcudml.training.run
from gcudml import workload
from gcudml.config import DataConfig
from gcudml.data.datasets import ImageSet, Part
from gcudml.data.views import random_views, to_unit
from gcudml.methods import known_labels
from gcudml.models import inference
from gcudml.training import epoch as epoch_module

GREY = {"color": "grey", "image_size": 16}
FOLDER = {"name": "folder", "image_size": 16, "color": "grey"}


def facts_of(workdir: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads((workdir / "facts.json").read_text())
    return facts


def test_the_published_protocol_scores_the_last_epoch_and_has_no_validation(tmp_path: Path) -> None:
    data = {"protocol": "published"}
    results, epochs = train_tiny(tmp_path, test=True, data=data)
    assert not [name for name in [*results, *epochs[0]] if name.startswith("val/")]
    assert not [name for name in results if name.endswith("_last_epoch")]  # no other was chosen
    assert results["test/queries"] == 8 * 8
    assert facts_of(tmp_path)["chosen_epoch"] == len(epochs) - 1
    shorter, _ = train_tiny(tmp_path / "one", test=True, data=data, train={"epochs": 1})
    assert shorter != results


def test_in_shop_asks_its_queries_of_its_gallery(tmp_path: Path) -> None:
    write_inshop(tmp_path / "images")
    data = {"name": "inshop", "root": str(tmp_path / "images"), "image_size": 16, "color": "grey"}
    results, _ = train_tiny(
        tmp_path,
        test=True,
        data=data | {"split": {"val": 2}},
        method={"name": "supervised"},
        train={"batch_size": 4, "images_per_cluster": 2},
        evaluate={"k": [1, 2]},
    )
    assert results["test/queries"] == 4  # 8 images of the gallery are never asked
    assert results["test/recall@2"] == results["test/recall@2_last_epoch"]
    assert results["val/queries"] == 6  # training classes have no gallery: all against all


@pytest.fixture
def drawn_folder(tmp_path: Path) -> dict[str, object]:
    """Ten classes of six noisy images of 32 px."""
    generator = np.random.default_rng(0)
    for name in range(10):
        folder = tmp_path / "drawn" / f"{name}"
        folder.mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    split = {"val": 3, "test": 3}
    return {"name": "folder", "root": str(tmp_path / "drawn"), "split": split} | GREY


SMALL_BATCHES = {
    "method": {"name": "gcudml", "clusters": 4, "groups": 2},
    "train": {"batch_size": 8, "images_per_cluster": 2},
    "evaluate": {"k": [1, 2]},
}


@pytest.mark.parametrize("size", [None, 16, 24, 32])
def test_training_views_are_cut_from_images_of_the_view_size(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drawn_folder: dict[str, object],
    size: int | None,
) -> None:
    seen = []

    def kept(images: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        views = random_views(images, *rest, **options)
        seen.append((images.shape[2:], views.shape[2:]))
        return views

    monkeypatch.setattr(epoch_module, "random_views", kept)
    embedded = []
    monkeypatch.setattr(
        inference, "to_unit", lambda images: embedded.append(images.shape[2:]) or to_unit(images)
    )
    train_tiny(tmp_path, data=drawn_folder | {"view_size": size}, **SMALL_BATCHES)
    assert set(seen) == {((size or 16,) * 2, (16, 16))}
    assert set(embedded) == {(16, 16)}


def test_the_view_size_changes_what_is_learnt_only_where_it_is_another(
    tmp_path: Path, drawn_folder: dict[str, object]
) -> None:
    def loss(size: int | None) -> float:
        data = drawn_folder | {"view_size": size}
        _, epochs = train_tiny(tmp_path / f"{size}", data=data, **SMALL_BATCHES)
        return epochs[-1]["loss"]

    assert loss(None) == loss(16) != loss(32)


def test_views_cannot_be_cut_from_smaller_images(drawn_folder: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="view_size: 12 is smaller than image_size = "):
        tiny(data=drawn_folder | {"view_size": 12})


def test_a_k_is_measured_by_the_gallery(tmp_path: Path) -> None:
    write_inshop(tmp_path / "images")
    data = {"name": "inshop", "root": str(tmp_path / "images"), "image_size": 16, "color": "grey"}
    params = {
        "data": data | {"split": {"val": 2}},
        "method": {"name": "supervised"},
        "evaluate": {"k": [1, 8]},
    }
    with pytest.raises(ValueError, match=r"^evaluate\.k: Recall@8 of (6 val|8 gallery) images"):
        workload.data_fingerprint(workload.check(params))


def test_labels_of_a_share_of_classes_teach_and_those_of_the_others_never_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = {"data": {"labelled_fraction": 0.5}, "method": {"name": "stml"}}
    shown, epochs = train_tiny(tmp_path / "shown", **sections)
    assert epochs[0]["loss/supervised"] > 0
    without, plain = train_tiny(tmp_path / "without", method={"name": "stml"})
    assert "loss/supervised" not in plain[0]
    assert shown != without

    loading = gcudml.training.run.load
    hidden = np.flatnonzero(
        known_labels(tiny(**sections), torch.arange(8).repeat_interleave(8)) < 0
    )

    def mixed(config: DataConfig, part: Part) -> ImageSet:
        found = loading(config, part)
        if part != "train":
            return found
        labels = found.labels.copy()
        labels[hidden] = labels[hidden][np.random.default_rng(0).permutation(len(hidden))]
        return dataclasses.replace(found, labels=labels)

    assert len(hidden) == 32
    monkeypatch.setattr(gcudml.training.run, "load", mixed)
    assert train_tiny(tmp_path / "mixed", **sections)[0] == shown


@pytest.fixture
def one_picture(tmp_path: Path) -> dict[str, object]:
    """Twelve classes that all show the same grey square."""
    for name in "abcdefghijkl":
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((16, 16), 90, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return {**FOLDER, "root": str(tmp_path / "images")}


def test_a_collapse_is_said_in_the_facts(tmp_path: Path, one_picture: dict[str, object]) -> None:
    views: dict[str, object] = dict.fromkeys(["rotate_deg", "brightness", "contrast"], 0.0)
    views |= {"crop_scale": [1.0, 1.0], "aspect": 1.0}
    _, epochs = train_tiny(tmp_path, data=one_picture, method={"name": "cbswr"}, views=views)
    assert [epoch["alarm/collapsed"] for epoch in epochs] == [1.0, 1.0]
    assert [epoch["alarm/one_cluster"] for epoch in epochs] == [
        0.0,
        1.0,
    ]  # untrained clusters first
    alarms = facts_of(tmp_path)["alarms"]
    assert isinstance(alarms, list)
    assert set(alarms) == set(gcudml.evaluation.diagnostics.ALARMS.values())
    with pytest.raises(
        ValueError, match=r"^method\.clusters: 1 clusters .* the embedding has collapsed"
    ):
        train_tiny(
            tmp_path, data=one_picture, method={"name": "gcudml", "clusters": 4, "groups": 1}
        )


def test_a_healthy_run_raises_no_alarm_and_a_reconstruction_says_that_it_is_one(
    tmp_path: Path,
) -> None:
    train_tiny(tmp_path / "gcudml")
    facts = facts_of(tmp_path / "gcudml")
    assert facts["alarms"] == []
    assert facts["remarks"] == list(tiny().method.remarks) != []
    train_tiny(tmp_path / "stml", method={"name": "stml"})
    assert facts_of(tmp_path / "stml")["remarks"] == []
    assert torch.get_num_threads() == facts["torch_threads"]
