"""Which number, computed without labels, tells good embeddings from bad ones.

    python tests/benchmarks/criterion.py [--only strokes|omniglot] [--write]

Trains small networks in many ways, good and bad (methods, momentum, weights, learning rates,
lengths, sizes, collapsed and untrained ones), and compares every candidate with Recall@1 on the
validation classes by Spearman's rho: over trials after their last epoch, over all epochs of all
trials, and, as a mean, over the epochs inside a trial. ``--write`` keeps the figures in
``tests/benchmarks/results/criterion.json``. Omniglot is looked for in ``$GCUDML_DATA/omniglot``.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from kept import FOLDER, keep
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_mutual_info_score
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import RunConfig, Views
from gcudml.evaluation.label_free import MOST_IMAGES, view_recall
from gcudml.evaluation.label_free import VIEWS as VIEWS_OF_CRITERION
from gcudml.models.inference import RandomViews, embed_images
from gcudml.neighbours.kmeans import spherical_kmeans
from gcudml.runtime.seeding import generator
from gcudml.training import run

CHOSEN = "two_view_recall@1 (default)"
"""The candidate that ``gcudml.evaluation.label_free`` became."""
VIEWS = {
    "default": VIEWS_OF_CRITERION,
    "strong": Views(
        crop_scale=(0.3, 1.0), aspect=1.3333, rotate_deg=20, brightness=0.4, contrast=0.4
    ),
}
ALPHABETS = {
    "train": ["Early_Aramaic", "Greek", "Hebrew", "Korean", "Latin"],
    "val": ["Anglo-Saxon_Futhorc", "Cyrillic", "Japanese_(katakana)"],
}
DATA: dict[str, dict[str, Any]] = {
    "strokes": {"name": "strokes", "classes": 120},
    "omniglot": {
        "name": "folder",
        "root": "$GCUDML_DATA/omniglot",
        "color": "grey",
        "invert": True,
        "image_size": 28,
        "split": {
            **{p: [f"images_background/{a}" for a in names] for p, names in ALPHABETS.items()},
            "test": ["images_evaluation/Keble"],
        },
    },
}
TRIALS: dict[str, dict[str, Any]] = {
    "gcudml": {"method.clusters": 80},
    "gcudml, momentum 0": {"method.clusters": 80, "method.teacher_momentum": 0.0},
    "gcudml, momentum 0.999": {
        "method.clusters": 80,
        "method.teacher_momentum": 0.999,
        "method.momentum_warmup": False,
    },
    "gcudml, 10 clusters": {"method.clusters": 10, "method.groups": 2},
    "gcudml, 300 clusters": {"method.clusters": 300},
    "gcudml, cbml": {"method.clusters": 80, "method.metric": "cbml"},
    "gcudml, distillation 2": {"method.clusters": 80, "method.weights.distillation": 2.0},
    "gcudml, group weights 1": {
        "method.clusters": 80,
        "method.weights.group": 1.0,
        "method.weights.collaborative": 1.0,
    },
    "gcudml, 2 epochs": {"method.clusters": 80, "train.epochs": 2},
    "gcudml, learning rate 1e-5": {"method.clusters": 80, "train.learning_rate": 1e-5},
    "gcudml, learning rate 3e-4": {"method.clusters": 80, "train.learning_rate": 3e-4},
    "gcudml, learning rate 0.1": {"method.clusters": 80, "train.learning_rate": 0.1},
    "gcudml, 3 dimensions": {"method.clusters": 80, "model.embedding_dim": 3},
    "gcudml, weak views": {"method.clusters": 80, "views.crop_scale": [0.95, 1.0]},
    "gcudml, distillation alone": {
        "method.clusters": 80,
        "method.weights": {"metric": 0, "group": 0, "collaborative": 0, "distillation": 1},
    },
    "stml": {"method.name": "stml"},
    "stml, momentum 0.9": {"method.name": "stml", "method.teacher_momentum": 0.9},
    "stml, contextual": {
        "method.name": "stml",
        "method.teacher_momentum": 0.9,
        "method.similarity": "contextual",
    },
    "stml, distillation alone": {
        "method.name": "stml",
        "method.weights.relaxed_contrastive": 0.0,
    },
    "udml_ss": {"method.name": "udml_ss", "method.clusters": 80},
    "udml_ss, rotation 1": {
        "method.name": "udml_ss",
        "method.clusters": 80,
        "method.weights.rotation": 1.0,
    },
    "udml_ss, learning rate 1e-4": {
        "method.name": "udml_ss",
        "method.clusters": 80,
        "train.learning_rate": 1e-4,
    },
    "cbswr": {"method.name": "cbswr"},
    "cbswr, clustering alone": {"method.name": "cbswr", "method.weights.metric": 0.0},
    "instance": {"method.name": "instance"},
    "instance, weak views": {"method.name": "instance", "views.crop_scale": [0.95, 1.0]},
    "instance, learning rate 1e-4": {"method.name": "instance", "train.learning_rate": 1e-4},
    "instance, learning rate 0.1": {"method.name": "instance", "train.learning_rate": 0.1},
    "untrained": {"method.name": "untrained"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(DATA))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = FOLDER / "criterion.json"
    found: dict[str, object] = json.loads(path.read_text())["data"] if path.exists() else {}
    for name in [arguments.only] if arguments.only else list(DATA):
        started = time.monotonic()
        points = [point for label in TRIALS for point in train_once(name, label)]
        correlations = {c: correlate(points, c) for c in points[0] if "/" not in c}
        best_first = sorted(correlations.items(), key=lambda item: -item[1]["trials"])
        print(f"\n{name}: {len(TRIALS)} trials, {time.monotonic() - started:.0f} s")
        for candidate, rho in best_first:
            print(f"{candidate:36} " + "  ".join(f"{k} {v:6.3f}" for k, v in rho.items()))
        last = {point["trial/label"]: point for point in points}  # the later one stays
        chosen = {
            label: [round(p[name], 4) for name in ("val/recall@1", CHOSEN)]
            for label, p in last.items()
        }
        found[name] = {"spearman": dict(best_first), "recall@1 and chosen criterion": chosen}
    if arguments.write:
        keep("criterion", data=found)


def train_once(data: str, label: str) -> list[dict[str, Any]]:
    """Candidates and recall of a trial after each of its epochs."""
    params: dict[str, Any] = {
        "data": DATA[data],
        "model": {"width": 16},
        "method": {"name": "gcudml"},
        "train": {"epochs": 4, "steps_per_epoch": 16, "batch_size": 80, "learning_rate": 3e-3},
        "evaluate": {"k": [1], "map_at_r": False, "nmi": False, "ami": False},
    }
    params["train"] |= {"number_format": "fp32", "memory_layout": "contiguous"}
    for key, value in TRIALS[label].items():
        section, field, *inner = key.split(".")
        target = params.setdefault(section, {})
        if inner:
            target, field = target.setdefault(field, {}), inner[0]
        target[field] = value
    points: list[dict[str, Any]] = []
    measure = run._measure

    def watched(student: Any, part: Any, config: Any, number_format: Any, *, seed: int) -> Any:
        measured = measure(student, part, config, number_format, seed=seed)
        point = {"trial/label": label, "trial/epoch": len(points)}
        point |= {"val/recall@1": measured["recall@1"]}
        points.append(point | candidates(student, part.images, number_format))
        return measured

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(run, "_measure", watched):
        run.run(
            RunConfig.model_validate(params),
            seed=0,
            workdir=Path(folder),
            report=lambda epoch, metrics: True,
            test=False,
        )
    print(f"{label:36} {[round(p['val/recall@1'], 3) for p in points]}", flush=True)
    return points


def candidates(student: Any, images: Tensor, number_format: Any) -> dict[str, float]:
    chosen = torch.randperm(len(images), generator=generator(0, "criterion"))[:MOST_IMAGES]

    def embed(views: RandomViews | None) -> Tensor:
        return F.normalize(
            embed_images(
                student, images[chosen], heads=["compact"], number_format=number_format, views=views
            )["compact"],
            dim=1,
        )

    plain = embed(None)
    found = {"rankme": rankme(plain), "uniformity": -uniformity(plain)}
    for strength, views in VIEWS.items():
        a, b = (embed(RandomViews(views, generator(0, "view", each))) for each in (0, 1))
        recall = view_recall(a, plain, distance="cosine")
        scores = {
            "view_recall@1": recall,
            "two_view_recall@1": view_recall(a, b, distance="cosine"),
            **{f"overlap@{k}": overlap(a, plain, k) for k in (1, 5, 10, 20)},
            **{f"two_view_overlap@{k}": overlap_of_views(a, b, k) for k in (1, 5, 10, 20)},
            "ami": clusterings_agree(a, b, 40),
            "mutual@1": mutual(a, plain),
            "alignment": -float((a - plain).square().sum(1).mean()),
            "alignment+uniformity": -float((a - b).square().sum(1).mean()) - uniformity(plain),
            "margin": margin(a, plain, 5),
        }
        scores["recall x overlap@5"] = recall * scores["overlap@5"]
        scores["recall x overlap@10"] = recall * scores["overlap@10"]
        scores["recall x ami"] = recall * scores["ami"]
        scores["overlap@10 x rankme"] = scores["overlap@10"] * rankme(plain)
        found |= {f"{name} ({strength})": value for name, value in scores.items()}
    return found


def neighbours(a: Tensor, b: Tensor, k: int) -> Tensor:
    return (a @ b.T).fill_diagonal_(-2).topk(k, dim=1).indices


def shared(one: Tensor, other: Tensor) -> float:
    return float((one[:, :, None] == other[:, None, :]).any(2).float().mean())


def overlap(a: Tensor, plain: Tensor, k: int) -> float:
    return shared(neighbours(a, plain, k), neighbours(plain, plain, k))


def overlap_of_views(a: Tensor, b: Tensor, k: int) -> float:
    return shared(neighbours(a, a, k), neighbours(b, b, k))


def mutual(a: Tensor, plain: Tensor) -> float:
    """Share of views whose nearest other image has them nearest in return."""
    to = neighbours(a, plain, 1)[:, 0]
    back = neighbours(plain, a, 1)[:, 0]
    return float((back[to] == torch.arange(len(a))).float().mean())


def clusterings_agree(a: Tensor, b: Tensor, clusters: int) -> float:
    one = spherical_kmeans(a, clusters, seed=1).labels.numpy()
    other = spherical_kmeans(b, clusters, seed=2).labels.numpy()
    return float(adjusted_mutual_info_score(one, other))


def rankme(z: Tensor) -> float:
    """Garrido et al., ICML 2023, arXiv:2210.02885."""
    values = torch.linalg.svdvals(z.double())
    p = values / values.sum() + 1e-7
    return float(torch.exp(-(p * p.log()).sum()))


def uniformity(z: Tensor) -> float:
    """Wang and Isola, ICML 2020, arXiv:2005.10242."""
    return float(torch.pdist(z.double()).square().mul(-2).exp().mean().log())


def margin(a: Tensor, plain: Tensor, k: int) -> float:
    """How much nearer a view is to its image than to the nearest others, by the spread."""
    similarity = a @ plain.T
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-2)
    others = similarity.topk(k, dim=1).values.mean(1)
    return float(((own - others) / (1 - others).clamp(min=1e-6)).mean())


def correlate(points: list[dict[str, Any]], candidate: str) -> dict[str, float]:
    last = {point["trial/label"]: point for point in points}  # the later one stays
    inside = [
        rho
        for label in last
        if not math.isnan(
            rho := spearman([p for p in points if p["trial/label"] == label], candidate)
        )
    ]
    return {
        "trials": round(spearman(list(last.values()), candidate), 3),
        "epochs": round(spearman(points, candidate), 3),
        "inside a trial": round(float(np.mean(inside)), 3),
    }


def spearman(points: list[dict[str, Any]], candidate: str) -> float:
    values = [[point[name] for point in points] for name in (candidate, "val/recall@1")]
    if len(points) < 3 or min(len(set(column)) for column in values) < 2:
        return math.nan
    return float(spearmanr(*values).statistic)


if __name__ == "__main__":
    main()
