"""A folder of images without classes, from the command line: searched, confirmed, reported."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from roots import ROOT

from harness.cli import commands
from harness.store.database import query

STUDY = {
    "study": "own",
    "question": "Which weights suit my images?",
    "workload": "gcudml.workload",
    "base": {
        "data": {
            "name": "folder",
            "root": "images",
            "labels": "none",
            "image_size": 16,
            "color": "grey",
        },
        "model": {"width": 8, "embedding_dim": 8, "wide_dim": 12},
        "method": {"name": "gcudml", "clusters": 0.2, "groups": 2},
        "train": {
            "epochs": 1,
            "batch_size": 16,
            "images_per_cluster": 4,
            "number_format": "fp32",
            "memory_layout": "contiguous",  # else each run measures both first
        },
    },
    "search": {"train.learning_rate": {"loguniform": [1e-4, 1e-2]}},
    "sampler": "tpe",
    "trials": 3,
    "seeds": 1,
    "confirm": {"top": 1, "seeds": 2},
    "metric": "view_recall@1",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(1)
    (tmp_path / "images").mkdir()
    for number in range(30):
        pixels = draw.integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["harness", *arguments])
    with pytest.raises(SystemExit) as exit_:
        commands.main()
    return int(exit_.value.code or 0)


@pytest.mark.timeout(120)
def test_a_search_without_labels_ends_with_a_model_and_a_page(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", "own.yaml", "--executor", "local", "--threads", "1") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "view_recall@1 (val)" in said.out
    folder = said.out.splitlines()[-1].removeprefix("best model: ").partition(" (")[0]
    assert (place / folder).name == "model.safetensors"
    assert (place / folder).is_file()
    page = (place / "reports" / "own.html").read_text(encoding="utf-8")
    assert "view_recall@1" in page
    results = place / "results"
    asked = query(results, "SELECT DISTINCT split, name FROM results").rows
    assert asked == [("val", "view_recall@1")]
    means = query(
        results, "SELECT split, mean IS NOT NULL FROM trials WHERE phase = 'confirm'"
    ).rows
    assert means
    assert set(means) == {("val", True)}
    purity = query(results, "SELECT count(*), count(purity), sum(size) > 0 FROM clusters").rows
    assert purity[0][0] > 0
    assert purity[0][1:] == (0, True)


@pytest.mark.timeout(120)
def test_the_shipped_search_takes_thirty_images_without_classes(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = str(ROOT / "studies" / "auto.yaml")
    own = ["--set", "data.root=images", "--set", "data.labels=none"]
    assert call(monkeypatch, "run", study, *own, "--dry-run") == 0
    assert "name=gcudml" in capsys.readouterr().out
    assert not (place / "results").exists()


def test_images_without_class_folders_are_refused_with_the_way_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "own.yaml", "--executor", "local", "--set", "data.labels=folders"]
    assert call(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "data.root: no class folder with images" in said
    assert "set data.labels to none" in said
    assert said.count("\n") == 1


def test_a_method_that_needs_classes_is_refused_in_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "own.yaml", "--executor", "local", "--set", "method={name: supervised}"]
    assert call(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "method.name: supervised learns from classes, and data.labels is none" in said
    assert said.count("\n") == 1
    assert not (place / "results").exists()
