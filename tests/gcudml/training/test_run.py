"""Whole runs, small ones: what they return, what they never touch, and that they repeat."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tiny import Recorder, tiny, train_tiny

import gcudml.data.datasets
import gcudml.methods.gcudml.method
import gcudml.training.run
from gcudml.evaluation.pixels import pixel_vectors
from gcudml.training.run import run


def without_times(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in e.items() if not k.startswith("seconds/")} for e in epochs]


def test_a_run_returns_recall_of_both_splits_and_reports_every_epoch(tmp_path: Path) -> None:
    results, epochs = train_tiny(tmp_path, test=True)
    for split in ("val", "test"):
        assert {f"{split}/recall@{k}" for k in (1, 2, 4, 8)} <= results.keys()
        assert 0.0 <= results[f"{split}/recall@1"] <= results[f"{split}/recall@8"] <= 1.0
        assert results[f"{split}/queries"] > 0
    assert len(epochs) == 2
    weights = tiny().method.weights.model_dump()
    weighted = sum(weight * epochs[0][f"loss/{term}"] for term, weight in weights.items())
    assert all(weight > 0 for weight in weights.values())
    assert epochs[0]["loss"] == pytest.approx(weighted, rel=1e-4)
    assert epochs[1]["learning_rate"] < epochs[0]["learning_rate"]


def test_the_same_seed_gives_the_same_numbers_and_another_one_others(tmp_path: Path) -> None:
    first, first_epochs = train_tiny(tmp_path / "a", seed=3, test=True)
    torch.manual_seed(99)  # the global state must not matter
    again, again_epochs = train_tiny(tmp_path / "b", seed=3, test=True)
    other, _ = train_tiny(tmp_path / "c", seed=4, test=True)
    assert first == again
    assert without_times(first_epochs) == without_times(again_epochs)
    assert first != other


def test_without_test_the_test_classes_are_not_even_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    original = gcudml.training.run.load
    monkeypatch.setattr(
        gcudml.training.run,
        "load",
        lambda config, part: opened.append(part) or original(config, part),
    )
    results, _ = train_tiny(tmp_path, test=False)
    assert sorted(set(opened)) == ["train", "val"]
    assert not [name for name in results if name.startswith("test/")]
    train_tiny(tmp_path / "open", test=True)
    assert "test" in opened


def test_hidden_labels_of_the_training_classes_teach_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, honest_epochs = train_tiny(tmp_path / "a", test=True)
    original = gcudml.training.run._load

    def shuffled(config, part, device):
        images = original(config, part, device)
        if part != "train":
            return images
        order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))
        return images._replace(labels=images.labels[order])

    monkeypatch.setattr(gcudml.training.run, "_load", shuffled)
    blind, blind_epochs = train_tiny(tmp_path / "b", test=True)
    assert blind == honest
    assert [e["loss"] for e in blind_epochs] == [e["loss"] for e in honest_epochs]
    assert blind_epochs[0]["clusters/purity"] != honest_epochs[0]["clusters/purity"]


def test_a_loss_that_is_not_finite_ends_the_run_and_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        gcudml.methods.gcudml.method.OWN,
        "multi_similarity",
        lambda embeddings, labels: embeddings.sum() * float("nan"),
    )
    results, epochs = train_tiny(tmp_path, test=True)
    assert results == {}
    assert len(epochs) == 1
    assert math.isnan(epochs[0]["loss"])


def test_weights_that_are_not_finite_after_the_last_step_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = gcudml.methods.gcudml.method.Gcudml.after_step

    def spoil(method: gcudml.methods.gcudml.method.Gcudml, step: int) -> None:
        original(method, step)
        if step == 3:  # the last of the first epoch
            method.context.student.compact.bias.data[0] = float("inf")

    monkeypatch.setattr(gcudml.methods.gcudml.method.Gcudml, "after_step", spoil)
    results, epochs = train_tiny(tmp_path, test=True)
    assert results == {}
    assert math.isnan(epochs[-1]["loss"])


def test_a_run_that_is_told_to_stop_trains_no_further_epoch(tmp_path: Path) -> None:
    recorder = Recorder(most=1)
    results = run(tiny(train={"epochs": 5}), seed=0, workdir=tmp_path, report=recorder, test=True)
    assert len(recorder.epochs) == 1
    assert results == {}


def test_test_is_scored_at_the_epoch_that_validation_chose(tmp_path: Path) -> None:
    results, epochs = train_tiny(tmp_path, test=True, train={"epochs": 4})
    recalls = [epoch["val/recall@1"] for epoch in epochs]
    chosen = json.loads((tmp_path / "facts.json").read_text())["chosen_epoch"]
    assert chosen == recalls.index(max(recalls))  # the earliest of the best
    assert results["val/recall@1"] == recalls[chosen]
    assert "test/recall@1_last_epoch" in results
    if chosen == 3:
        assert results["test/recall@1_last_epoch"] == results["test/recall@1"]


@pytest.mark.parametrize("method", ["pixels", "untrained"])
def test_controls_report_once_and_open_the_test_classes_only_if_allowed(
    tmp_path: Path, method: str
) -> None:
    closed, epochs = train_tiny(tmp_path / "a", test=False, method={"name": method})
    opened, _ = train_tiny(tmp_path / "b", test=True, method={"name": method})
    assert len(epochs) == 1
    assert not [name for name in closed if name.startswith("test/")]
    assert opened["val/recall@1"] == closed["val/recall@1"]
    assert 0 < opened["test/recall@1"] <= 1


@pytest.mark.parametrize("name", ["supervised", "udml_ss"])
def test_what_a_library_draws_comes_from_the_seed(tmp_path: Path, name: str) -> None:
    loss = {"name": "triplet", "args": {"triplets_per_anchor": 2}}
    method = {"name": name, "loss": loss} | ({"clusters": 8} if name == "udml_ss" else {})
    found = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        found.append(train_tiny(tmp_path / str(noise), method=method)[0])
    assert found[0] == found[1]


def test_raw_pixels_do_not_depend_on_the_seed(tmp_path: Path) -> None:
    one, _ = train_tiny(tmp_path, seed=0, test=True, method={"name": "pixels"})
    other, _ = train_tiny(tmp_path, seed=1, test=True, method={"name": "pixels"})
    assert one["test/recall@1"] == other["test/recall@1"]


def test_raw_pixels_of_large_images_are_reduced_and_it_is_said(tmp_path: Path) -> None:
    data = {"classes": 10, "images_per_class": 4, "image_size": 160}
    train_tiny(tmp_path, test=True, method={"name": "pixels"}, data=data)
    (remark,) = json.loads((tmp_path / "facts.json").read_text())["remarks"]
    assert "reduced to 32 x 32" in remark
    config = tiny(data=data)
    part = gcudml.training.run._load(config, "val", torch.device("cpu"))
    pixels = pixel_vectors(part.images, size=160, device=torch.device("cpu"))
    blocks = part.images.float().unfold(2, 5, 5).unfold(3, 5, 5).mean(dim=(4, 5)).flatten(1)
    torch.testing.assert_close(pixels, torch.nn.functional.normalize(blocks, dim=1))


def test_every_clustering_is_written_as_rows(tmp_path: Path) -> None:
    train_tiny(tmp_path, train={"epochs": 3}, method={"recluster_every": 2})
    rows = [
        json.loads(line)
        for line in (tmp_path / "tables" / "clusters.jsonl").read_text().splitlines()
    ]
    assert sorted({row["epoch"] for row in rows}) == [0, 2]
    for epoch in (0, 2):
        sizes = [row["size"] for row in rows if row["epoch"] == epoch]
        assert len(sizes) == 8
        assert sum(sizes) == 8 * 8  # half of the 16 classes train, 8 images each
        assert sizes == sorted(sizes, reverse=True)
    assert {row["group"] for row in rows} == {0, 1}
    assert all(0 <= row["purity"] <= 1 for row in rows)


def test_facts_say_what_the_run_computed_with(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts["number_format"] == "fp32"
    assert facts["memory_layout"] == "contiguous"
    assert facts["torch_threads"] == torch.get_num_threads()


def test_more_clusters_than_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"method\.clusters: 65 clusters of 64"):
        train_tiny(tmp_path, method={"clusters": 65})


def test_a_missing_gpu_is_refused_by_name(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match=r"train\.device: no CUDA device"):
        train_tiny(tmp_path, train={"device": "cuda"})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("trunk", ["trained", "frozen"])
def test_a_gpu_learns_what_a_cpu_learns(tmp_path: Path, trunk: str) -> None:
    cpu, gpu = ({"device": device, "trunk": trunk} for device in ("cpu", "cuda"))
    on_cpu, _ = train_tiny(tmp_path / "cpu", test=True, train=cpu)
    on_gpu, _ = train_tiny(tmp_path / "gpu", test=True, train=gpu)
    assert on_gpu["test/recall@1"] == pytest.approx(on_cpu["test/recall@1"], abs=0.15)
