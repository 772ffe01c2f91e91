"""The script that a good researcher writes instead of the harness, for ``throughput.py``.

GC-UDML over values of the teacher's momentum and seeds: an Optuna loop with SQLite storage, image
files in a ``DataLoader`` with two workers and per-image transforms of torchvision, fp32 in the
default memory layout, Recall@K by blockwise top-k. Model, losses, grouping and batches are the
library's own, so that both sides learn the same; what surrounds them is written here as scripts
are, and as well as that is usual: evaluation without gradient, foreach optimisers, the moving
average without copies, labels and neighbours in tensors, persistent workers.

    python tests/benchmarks/handwritten.py JOB.json
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
import optuna
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from gcudml.config import GcudmlConfig, RunConfig, count_clusters
from gcudml.data.batches import cluster_batches
from gcudml.losses.pairs import multi_similarity_loss
from gcudml.losses.relational import relational_distillation_loss
from gcudml.methods.gcudml.losses import collaborative_distillation_loss, group_classifier_loss
from gcudml.methods.gcudml.method import cluster_means
from gcudml.methods.gcudml.pseudo_labels import order_clusters, sample_for_groups
from gcudml.models.embedding import Embedder, TeacherNet
from gcudml.models.momentum_teacher import momentum_at
from gcudml.runtime.seeding import derive

if TYPE_CHECKING:
    from gcudml.config.data import FileData

EMPTY = -1e4
BLOCK = 1024


class Files(Dataset[tuple[Tensor, int]]):
    """Image files and their labels."""

    def __init__(self, listing: Sequence[tuple[str, int]], data: FileData, *, views: Any) -> None:
        self.listing = listing
        self.mode = "RGB" if data.color == "rgb" else "L"
        size = data.image_size
        steps = [v2.Resize((size, size), antialias=True)] if views is None else []
        if views is not None:
            steps = [
                # Its default, the nearest pixel, would keep strokes sharper than the harness does.
                v2.RandomRotation(views.rotate_deg, interpolation=v2.InterpolationMode.BILINEAR),
                v2.RandomResizedCrop(
                    size,
                    scale=views.crop_scale,
                    ratio=(1 / views.aspect, views.aspect),
                    antialias=True,
                ),
                v2.RandomHorizontalFlip(views.flip),
                v2.ColorJitter(brightness=views.brightness, contrast=views.contrast),
            ]
        invert = [v2.RandomInvert(p=1.0)] if data.invert else []
        scale = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
        self.transform = v2.Compose([v2.ToImage(), *invert, *steps, *scale])

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.listing[index]
        with Image.open(path) as image:
            return self.transform(image.convert(self.mode)), label


class Batches:
    """The batches of the epoch, as lists of indices that the workers get."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


@torch.no_grad()
def embed(network: nn.Module, loader: DataLoader[Any], heads: Sequence[str]) -> list[Tensor]:
    """The embeddings of all images of a loader, in order."""
    was_training = network.training
    network.eval()
    found: list[list[Tensor]] = [[] for _ in heads]
    for images, _ in loader:
        embeddings = network(images)
        for rows, head in zip(found, heads, strict=True):
            rows.append(getattr(embeddings, head))
    network.train(was_training)
    return [torch.cat(rows) for rows in found]


def recall_at(embeddings: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """Share of queries with an image of their class among the K nearest others."""
    unit = F.normalize(embeddings, dim=1)
    hits = dict.fromkeys(ks, 0)
    for start in range(0, len(unit), BLOCK):
        similarity = unit[start : start + BLOCK] @ unit.T
        rows = torch.arange(len(similarity))
        similarity[rows, start + rows] = -math.inf
        nearest = similarity.topk(max(ks), dim=1).indices
        same = labels[nearest] == labels[start : start + BLOCK, None]
        for k in ks:
            hits[k] += int(same[:, :k].any(dim=1).sum())
    return {k: hits[k] / len(unit) for k in ks}


class Run:
    """One trial with one seed."""

    def __init__(
        self, config: RunConfig, parts: dict[str, list[tuple[str, int]]], seed: int
    ) -> None:
        assert isinstance(config.method, GcudmlConfig)
        self.config, self.method, self.seed = config, config.method, seed
        data: Any = config.data
        self.train_batches = Batches()
        training = Files(parts["train"], data, views=config.views)
        self.loader = DataLoader(
            training, batch_sampler=self.train_batches, num_workers=2, persistent_workers=True
        )
        self.plain = {
            name: DataLoader(
                Files(listing, data, views=None),
                batch_size=256,
                num_workers=2,
                persistent_workers=True,
            )
            for name, listing in parts.items()
            if listing
        }
        self.labels = {
            name: torch.tensor([label for _, label in listing]) for name, listing in parts.items()
        }
        torch.manual_seed(seed)
        self.student = Embedder(
            config.model,
            channels=3 if data.color == "rgb" else 1,
            image_size=data.image_size,
            seed=derive(seed, "weights"),
        )
        self.teacher = TeacherNet(self.student)
        train = config.train
        heads = train.head_learning_rate or train.learning_rate
        self.optimizer = torch.optim.AdamW(
            [
                {"params": list(self.student.features.parameters()), "lr": train.learning_rate},
                {"params": list(self.student.heads().parameters()), "lr": heads},
            ],
            weight_decay=train.weight_decay,
            foreach=True,
        )
        steps = train.steps_per_epoch or -(-len(training) // train.batch_size)
        self.steps = steps
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, train.epochs * steps
        )

    def fit(self, trial: optuna.Trial) -> dict[str, float]:
        """Train; the test classes are scored once, at the epoch that was best on validation."""
        best, chosen = -1.0, None
        for epoch in range(self.config.train.epochs):
            self.epoch(epoch)
            score = 0.0
            if "val" in self.plain:
                (rows,) = embed(self.student, self.plain["val"], ["compact"])
                score = recall_at(rows, self.labels["val"], [1, 2, 4, 8])[1]
            trial.report(score, self.seed * self.config.train.epochs + epoch)
            if score > best or "val" not in self.plain:
                best = score
                chosen = {k: v.clone() for k, v in self.student.state_dict().items()}
        assert chosen is not None
        self.student.load_state_dict(chosen)
        (rows,) = embed(self.student, self.plain["test"], ["compact"])
        found = recall_at(rows, self.labels["test"], [1, 2, 4, 8])
        return {"val/recall@1": best} | {f"test/recall@{k}": value for k, value in found.items()}

    def epoch(self, epoch: int) -> None:
        """Cluster with the teacher, imprint the classifiers, train one epoch."""
        method, train, student = self.method, self.config.train, self.student
        (wide,) = embed(self.teacher, self.plain["train"], ["wide"])
        clusters = count_clusters(method.clusters, images=len(wide))
        unit = F.normalize(wide, dim=1).numpy()
        kmeans = faiss.Kmeans(
            unit.shape[1],
            clusters,
            niter=20,
            seed=derive(self.seed, "k-means", epoch) % 2**31,
            spherical=True,
            min_points_per_centroid=1,
            max_points_per_centroid=2**31 - 1,
        )
        kmeans.train(unit)
        _, assigned = kmeans.index.search(unit, 1)
        draws = torch.Generator().manual_seed(derive(self.seed, "draws", epoch))
        pseudo = order_clusters(
            torch.from_numpy(assigned[:, 0].astype(np.int64)),
            clusters=clusters,
            groups=method.groups,
            ratio=method.group_ratio,
            floor=method.group_floor,
            grouping=method.grouping,
            generator=draws,
        )
        sampled = sample_for_groups(pseudo, generator=draws)
        (compact,) = embed(student, self.plain["train"], ["compact"])
        means = cluster_means(compact, pseudo.labels, clusters=clusters)
        classifiers = [nn.Parameter(means[:end].clone()) for end in pseudo.ends]
        heads = train.head_learning_rate or train.learning_rate
        done = self.schedule.last_epoch
        rate = heads * 0.5 * (1 + math.cos(math.pi * done / (train.epochs * self.steps)))
        classifier_optimizer = torch.optim.AdamW(
            classifiers, lr=rate, weight_decay=train.weight_decay, foreach=True
        )
        batches = cluster_batches(
            pseudo.by_size,
            batch_size=train.batch_size,
            images_per_cluster=train.images_per_cluster,
            steps=self.steps,
            generator=draws,
        )
        self.train_batches.rows = [row.repeat(train.views).tolist() for row in batches]
        hidden = pseudo.sizes == 0
        student.train()
        for step, ((views, _), row) in enumerate(zip(self.loader, batches, strict=True)):
            indices = row.repeat(train.views)
            labels, used = pseudo.labels[indices], sampled[:, indices]
            embeddings = student(views)
            cosines = [
                F.normalize(embeddings.compact, dim=1) @ F.normalize(weight, dim=1).T
                for weight in classifiers
            ]
            scores = [
                (method.scale * cosine).masked_fill(hidden[: cosine.shape[1]], EMPTY)
                for cosine in cosines
            ]
            with torch.no_grad():
                taught = self.teacher(views).wide
            weights = method.weights
            collaborative = collaborative_distillation_loss(
                scores,
                labels,
                used,
                transfer="top_down",
                temperature=method.temperature,
                detach_source=method.detach_source,
            )
            loss = (
                weights.metric * multi_similarity_loss(embeddings.compact, labels)
                + weights.group * group_classifier_loss(scores, labels, used)
                + weights.collaborative * collaborative
                + weights.distillation * relational_distillation_loss(embeddings.compact, taught)
            )
            self.optimizer.zero_grad(set_to_none=True)
            classifier_optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            classifier_optimizer.step()
            self.schedule.step()
            self.follow(epoch * self.steps + step)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move the teacher: weights and statistics are averaged, counters copied."""
        momentum = momentum_at(
            step, self.method.teacher_momentum, warmup=self.method.momentum_warmup
        )
        mine = nn.ModuleList([self.teacher.features, self.teacher.wide]).state_dict()
        theirs = self.student.shared().state_dict()
        for old, new in zip(mine.values(), theirs.values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - momentum)
            else:
                old.copy_(new)


def main() -> None:
    """Run the job: ``base`` and ``parts`` (files and labels), ``momenta``, ``seeds``, ``out``."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    parts = {name: [(path, label) for path, label in rows] for name, rows in job["parts"].items()}
    found = []

    def objective(trial: optuna.Trial) -> float:
        momentum = trial.suggest_categorical("teacher_momentum", job["momenta"])
        base = job["base"] | {"method": job["base"]["method"] | {"teacher_momentum": momentum}}
        scores = []
        for seed in job["seeds"]:
            results = Run(RunConfig.model_validate(base), parts, seed).fit(trial)
            found.append({"momentum": momentum, "seed": seed, **results})
            scores.append(results["val/recall@1"])
        return sum(scores) / len(scores)

    study = optuna.create_study(
        storage=f"sqlite:///{Path(job['out']).with_suffix('.db')}",
        direction="maximize",
        sampler=optuna.samplers.BruteForceSampler(seed=0),
    )
    study.optimize(objective, n_trials=len(job["momenta"]))
    Path(job["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
