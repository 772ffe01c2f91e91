"""Real images, where ``$GCUDML_DATA`` says that there are some: the readers and a short study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from roots import ROOT
from torch.nn import functional as F

from gcudml.config import EvaluateConfig, FolderData, RunConfig
from gcudml.config.data import OmniglotData
from gcudml.data import benchmarks
from gcudml.data.datasets import load
from gcudml.evaluation.retrieval import evaluate
from gcudml.methods import build_student
from gcudml.models.inference import embed_images
from gcudml.models.number_format import Format
from gcudml.neighbours.kmeans import spherical_kmeans

DATA = os.environ.get("GCUDML_DATA")


def needs(name: str) -> list[pytest.MarkDecorator]:
    """Skip with a reason where a data set is not there."""
    missing = not DATA or not (Path(DATA) / name).is_dir()
    reason = f"$GCUDML_DATA/{name} is missing" if DATA else "GCUDML_DATA is not set"
    return [pytest.mark.data, pytest.mark.skipif(missing, reason=reason)]


class TestOmniglot:
    pytestmark = needs("omniglot")

    @pytest.mark.timeout(400)
    def test_a_short_study_learns_characters_of_unseen_alphabets(self, tmp_path: Path) -> None:
        harness = [sys.executable, "-m", "harness"]
        folders = ["--results", str(tmp_path / "results")]
        command = [*harness, "run", "studies/omniglot/momentum.yaml", *folders]
        command += ["--reports", str(tmp_path / "reports"), "--set", "seeds=1"]
        command += ["--set", "train.epochs=3"]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ)
        sql = "SELECT trial, mean FROM summary WHERE split = 'test' AND k = 1"
        done = subprocess.run(
            [*harness, "sql", sql, *folders, "--format", "json"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        recall = {row["trial"]: row["mean"] for row in json.loads(done.stdout)}
        assert len(recall) == 6
        assert recall["raw pixels"] == pytest.approx(0.41, abs=0.02)
        assert recall["teacher_momentum=0"] > recall["untrained"] + 0.1
        assert (tmp_path / "reports" / "omniglot-momentum.html").stat().st_size > 1e6

    def test_the_published_halves_are_found(self) -> None:
        found = benchmarks.read(OmniglotData(root="$GCUDML_DATA/omniglot"))
        assert (len(found.train), len(found.test)) == (964, 659)
        assert len(found.select(found.train)) == 19_280

    def test_alphabets_stay_whole(self) -> None:
        config = FolderData(
            root="$GCUDML_DATA/omniglot",
            name="folder",
            color="grey",
            image_size=28,
            invert=True,
            split={
                "train": ["images_background/Greek"],
                "val": ["images_background/Latin"],
                "test": ["images_evaluation/Keble"],
            },
        )
        train, val, test = (load(config, part) for part in ("train", "val", "test"))
        assert [len(part.class_names) for part in (train, val, test)] == [24, 26, 26]
        assert all(name.startswith("images_background/Greek/") for name in train.class_names)
        assert train.images.shape == (24 * 20, 1, 28, 28)
        assert train.images.mean() < 80  # white strokes on black after inversion


class TestBirds:
    pytestmark = needs("cub100")

    @pytest.mark.timeout(120)
    def test_photographs_are_read_in_colour(self) -> None:
        config = FolderData(root="$GCUDML_DATA/cub100", name="folder", image_size=32)
        parts = [load(config, part) for part in ("train", "val", "test")]
        assert sum(len(part.class_names) for part in parts) == 100
        assert sum(len(part.images) for part in parts) == 5902
        for part in parts:
            assert part.images.shape[1:] == (3, 32, 32)
        red, _, blue = parts[0].images.mean(axis=(0, 2, 3))
        assert abs(float(red) - float(blue)) > 1  # three channels, not one three times

    @pytest.mark.timeout(200)
    def test_metrics_of_real_embeddings_equal_the_librarys(self) -> None:
        data = FolderData(root="$GCUDML_DATA/cub100", name="folder", image_size=32)
        part = load(data, "test")
        images, labels = torch.from_numpy(part.images), torch.from_numpy(part.labels)
        config = RunConfig.model_validate({"data": data.model_dump()})
        student = build_student(config, channels=3, seed=0)
        z = embed_images(
            student, images, heads=["compact"], number_format=Format("fp32", "contiguous")
        )["compact"]
        z -= z.mean(dim=0)  # an untrained network's lie so close that rounding would rank them
        assert len(z.unique(dim=0)) == len(z)

        found = evaluate(z, labels, EvaluateConfig(k=[1]), seed=3)
        clusters = spherical_kmeans(z, len(part.class_names), seed=3).labels
        library = AccuracyCalculator(
            include=("precision_at_1", "mean_average_precision_at_r", "r_precision", "NMI", "AMI"),
            k="max_bin_count",
            kmeans_func=lambda x, nmb_clusters: clusters,
            device=torch.device("cpu"),
        ).get_accuracy(F.normalize(z, dim=1), labels)
        names = {
            "recall@1": "precision_at_1",
            "map@r": "mean_average_precision_at_r",
            "r_precision": "r_precision",
            "nmi": "NMI",
            "ami": "AMI",
        }
        assert [found[name] for name in names] == pytest.approx(
            [library[name] for name in names.values()]
        )
        assert found["recall@1"] > 2 / len(part.class_names)
