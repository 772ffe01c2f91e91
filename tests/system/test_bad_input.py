"""What the command line answers to weights, images and settings that cannot work: one line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from harness.cli import commands
from harness.study.loading import load_study
from harness.study.trials.plan import make_plan
from harness.workload import load_workload

BASE = {
    "data": {"name": "strokes", "classes": 16, "images_per_class": 8},
    "model": {"width": 8, "embedding_dim": 8, "wide_dim": 12},
    "method": {"name": "gcudml", "clusters": 8, "groups": 2},
    "train": {"epochs": 1, "batch_size": 16, "images_per_cluster": 4},
}
STUDY = {
    "study": "bad",
    "question": "Is bad input refused?",
    "workload": "gcudml.workload",
    "search": {"train.learning_rate": {"grid": [0.001, 0.01]}},
    "seeds": 1,
}
Answers = Callable[..., str]


@pytest.fixture
def answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Answers:
    """The one line with which a study with some sections changed is refused before any run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))

    def call(sections: dict[str, dict[str, object]], **fields: object) -> str:
        base = {name: BASE.get(name, {}) | sections.get(name, {}) for name in {*BASE, *sections}}
        for name, values in sections.items():
            if "name" in values:  # another kind of section shares no field with it
                base[name] = dict(values)
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"base": base} | fields))
        monkeypatch.setattr(sys, "argv", ["harness", "run", "study.yaml", "--executor", "local"])
        with pytest.raises(SystemExit) as exit_:
            commands.main()
        said = capsys.readouterr()
        assert (exit_.value.code, said.out) == (2, "")
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert not (tmp_path / "results").exists()
        return said.err

    return call


class Intruder:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("intruded",)


def test_a_corrupt_weights_file(answer: Answers, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"no weights")
    model = {"weights": "w.pt", "input_format": "unit"}
    assert re.search(r"model\.weights: .*w\.pt.* cannot be read", answer({"model": model}))


def test_a_pickle_with_code_in_it_is_refused_and_does_nothing(
    answer: Answers, tmp_path: Path
) -> None:
    torch.save({"a": Intruder()}, tmp_path / "w.pt")
    model = {"weights": "w.pt", "input_format": "unit"}
    said = answer({"model": model})
    assert re.search(r"model\.weights: .*w\.pt.* is refused: it holds objects or code", said)
    assert not (tmp_path / "intruded").exists()


def test_weights_of_another_architecture(answer: Answers, tmp_path: Path) -> None:
    torch.save({"layer1.0.weight": torch.zeros(3, 3)}, tmp_path / "w.pt")
    model = {"weights": "w.pt", "input_format": "unit"}
    said = answer({"model": model})
    assert re.search(r"model\.weights: .*w\.pt.* conv4.*layer1\.0\.weight", said)


@pytest.fixture
def images(tmp_path: Path) -> dict[str, object]:
    """Twelve classes of six images."""
    for place, name in enumerate("abcdefghijkl"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(6):
            pixels = np.full((16, 16), 20 * place + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    return {"name": "folder", "root": "images", "image_size": 16, "color": "grey"}


def test_an_image_that_does_not_decode(
    answer: Answers, tmp_path: Path, images: dict[str, object]
) -> None:
    (tmp_path / "images" / "c" / "2.png").write_bytes(b"broken")
    assert "data.root: broken or missing images in 'images': c/2.png (not an image); " in answer(
        {"data": images}
    )


def test_classes_of_one_image_that_leave_nothing_to_find(
    answer: Answers, tmp_path: Path, images: dict[str, object]
) -> None:
    for path in (tmp_path / "images").glob("[ab]/[1-5].png"):
        path.unlink()
    split = {"train": "rest", "val": ["c", "d"], "test": ["a", "b"]}
    said = answer({"data": images | {"split": split}})
    assert "data.root: each of the 2 test classes has only one image" in said


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"data": {"labelled_fraction": 2}}, r"data\.labelled_fraction: .*less than or equal to 1"),
        (
            {"data": {"split": {"val": 2.5}}},
            r"data\.split\.val: give a number .*, got 2\.5",
        ),
        ({"evaluate": {"k": [1, 2, 1]}}, r"evaluate\.k: 1 is listed twice"),
        ({"evaluate": {"k": [1, 1000]}}, r"evaluate\.k: Recall@1000 of 2\d val images would"),
        (
            {"method": {"name": "gcudml", "clusters": 63}},
            r"method\.clusters: 63 clusters of 64 training images; .* at most 62",
        ),
        (
            {"method": {"name": "gce", "labels": "pseudo", "learners": 2, "clusters": 61}},
            r"method\.clusters: 61 clusters of 64 training images for 2 learners; .* at most 60",
        ),
        (
            {"model": {"weights": "~nobodyhere/x", "input_format": "unit"}},
            r"model\.weights: no home",
        ),
        (
            {"model": {"weights": "x" * 300, "input_format": "unit"}},
            r"model\.weights: .* cannot be read \(File name too long\)",
        ),
        (
            {"data": {"name": "folder", "root": "~nobodyhere/x"}},
            r"data\.root: no home folder for '~nobodyhere/x'",
        ),
        (
            {
                "data": {"image_size": 40, "crop_size": 32},
                "model": {"backbone": "timm:test_vit", "embedding_dim": 8, "wide_dim": 12},
                "method": {"name": "stml"},
            },
            r"method\.neighbours_on: timm:test_vit takes images of 32 pixels only.* to centre",
        ),
        (
            {"method": {"name": "gce", "learners": 5}, "model": {"embedding_dim": 20}},
            r"method\.learners: 5 learners",
        ),
    ],
)
def test_settings_that_cannot_be_served(
    answer: Answers, sections: dict[str, dict[str, object]], expected: str
) -> None:
    assert re.search(expected, answer(sections))


def test_pictures_that_are_not_read_are_not_passed_over(
    answer: Answers, tmp_path: Path, images: dict[str, object]
) -> None:
    (tmp_path / "images" / "c" / "2.png").rename(tmp_path / "images" / "c" / "2.HEIC")
    (tmp_path / "images" / "c" / "notes.txt").write_text("these do no harm")
    said = answer({"data": images})
    assert "data.root: 1 files in 'images' are images in unsupported formats, such as" in said
    assert "c/2.HEIC" in said


def test_supervision_needs_two_classes_to_compare(
    answer: Answers, tmp_path: Path, images: dict[str, object]
) -> None:
    for path in (tmp_path / "images").glob("[a-g]/[1-5].png"):
        path.unlink()
    split = {"train": list("abcdefgh"), "val": ["i", "j"], "test": ["k", "l"]}
    said = answer({"data": images | {"split": split}, "method": {"name": "supervised"}})
    assert "data.root: 1 training classes have two or more images" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_list_that_may_not_be_read(answer: Answers, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    folder.chmod(0)
    said = answer({"data": {"name": "folder", "root": "images"}})
    assert "data.root: cannot read images" in said


def test_a_search_of_what_the_data_cannot_serve_costs_no_trial(
    answer: Answers, tmp_path: Path
) -> None:
    said = answer({}, search={"method.clusters": {"logint": [8, 200]}}, sampler="tpe", trials=3)
    assert "study.yaml" in said
    assert "method.clusters: 200 clusters of 64 training images" in said


def test_semi_supervision_does_not_disturb_the_controls(tmp_path: Path) -> None:
    base = BASE | {
        "data": {**BASE["data"], "labelled_fraction": 0.5},
        "method": {"name": "stml"},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"base": base}))
    plan = make_plan(load_study(tmp_path / "study.yaml"), load_workload("gcudml.workload"))
    assert [trial.label for trial in plan.controls] == ["raw pixels", "untrained"]
