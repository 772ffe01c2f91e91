"""The smallest run that still has everything: a few drawings, a narrow network, two epochs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gcudml.config import RunConfig
from gcudml.data.datasets import load
from gcudml.data.views import to_unit
from gcudml.methods import build_student, known_labels
from gcudml.methods.interface import Batch, Method, Setup
from gcudml.models.number_format import Format
from gcudml.training.run import run


def tiny(**sections: Mapping[str, Any]) -> RunConfig:
    """The tiny configuration with some fields of some sections replaced."""
    values: dict[str, dict[str, Any]] = {
        "data": {"name": "strokes", "classes": 16, "images_per_class": 8},
        "model": {"width": 8, "embedding_dim": 8, "wide_dim": 12},
        "method": {"name": "gcudml", "clusters": 8, "groups": 2},
        "train": {
            "epochs": 2,
            "batch_size": 16,
            "images_per_cluster": 4,
            "number_format": "fp32",
            "memory_layout": "contiguous",
        },
    }
    for name, fields in sections.items():
        replaced = "name" in fields and fields["name"] != values.get(name, {}).get("name")
        values[name] = dict(fields) if replaced else values.get(name, {}) | dict(fields)
    return RunConfig.model_validate(values)


class Recorder:
    """A report callback that keeps what it is told and stops after ``most`` epochs."""

    def __init__(self, most: int = 10**9) -> None:
        self.epochs: list[dict[str, float]] = []
        self.most = most

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        assert step == len(self.epochs)
        self.epochs.append(dict(metrics))
        return len(self.epochs) < self.most


def train_tiny(
    workdir: Path, *, seed: int = 0, test: bool = False, **sections: Mapping[str, Any]
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Results and reported epochs of a tiny run."""
    recorder = Recorder()
    results = run(tiny(**sections), seed=seed, workdir=workdir, report=recorder, test=test)
    return results, recorder.epochs


def setup_for(**sections: Mapping[str, Any]) -> Setup:
    """What a method is given in a tiny run."""
    config = tiny(**sections)
    data = load(config.data, "train")
    images, classes = torch.from_numpy(data.images.copy()), torch.from_numpy(data.labels)
    student = build_student(config, channels=images.shape[1], seed=0)
    known = known_labels(config, classes)
    return Setup(config, 0, student, images, known, classes, Format("fp32", "contiguous"))


def one_step(method: Method, setup: Setup, *, epoch: int = 0) -> dict[str, torch.Tensor]:
    """The loss terms of an epoch's first step, on unchanged images."""
    setup.student.train()
    return method.terms(*first_batch(method, setup, epoch=epoch))


def first_batch(method: Method, setup: Setup, *, epoch: int = 0) -> tuple[Batch, Any]:
    """An epoch's first batch, of unchanged images, and the student's embeddings of it."""
    indices = method.begin_epoch(epoch).batches[0].flatten()
    batch = Batch(to_unit(setup.pick(indices)), indices, 0)
    return batch, setup.student(batch.views)
