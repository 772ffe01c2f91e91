"""STML: Self-Taught Metric Learning without Labels.

Kim, Kim, Cho and Kwak, CVPR 2022, arXiv:2205.01903. Written from the authors' released code
(sung-yeon-kim/STML-CVPR22); of the paper only the abstract, the overview figure and the tables
reproduced by others were accessible. The figure and the code agree.

1. Every epoch the student's wide embeddings determine the q nearest neighbours of each image, and a
   batch consists of random query images with their neighbours
   (``gcudml.methods.stml.neighbour_batches``), each in two random views.
2. A teacher, the moving average of the student's backbone and wide head, sees the same views. Its
   embeddings give the similarity W of two rows: the mean of a Gaussian of their distance and of the
   overlap of their neighbourhoods in the batch (``gcudml.methods.stml.contextual``).
3. L = w1 (RC(compact, W) + RC(wide, W)) / 2 + w2 KL(wide || compact): a contrastive loss on both
   heads with W in place of labels, and distillation from the wide into the compact head
   (``gcudml.methods.stml.losses``).
4. After each step the teacher moves towards the student. The compact embedding is evaluated, not
   normalised, by Euclidean distance (normalised with ``student_norm``, which the code has but does
   not use).

Differences from the published code, and our additions:

- *Teacher at the start.* In the code the teacher has its own random wide head and, without
  pretrained weights, its own random backbone (``init_teacher: independent``). With a momentum of
  0.999 and 48 steps per epoch (CUB), that random head keeps 95 % of its weight after one epoch.
  Here the teacher starts as a copy of the student.
- *Moving average.* The code updates the teacher between the backward pass and the optimiser step
  (``update_teacher: before``); here it is updated after the step. Both average batch-norm
  statistics, too.
- *Ranking.* A batch can contain an image several times. The code then treats all its rows as tied,
  including the row itself; here a row is always its own first neighbour.
- *Neighbours* are searched on whole images, as in the code, although the network is trained on
  crops; the data settings decide whether images are squashed or cropped to a square. An image is
  always its own first neighbour.
- *Learning rate.* The code lowers it every epoch, our training loop every step.
- *Optimiser.* The code's is AdamP; here it is AdamW.
- *Choice of the epoch.* Published results are those of the best epoch on the test classes.
- *Momentum warm-up, temperature, the control with random batches*: ours.

The paper also has a semi-supervised variant, whose description was not accessible and whose code
was never released. In our interpretation, a multi-similarity loss on the labelled rows of the same
batches is added on the compact embedding, weighted by ``weights.supervised``.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import RunConfig, StmlConfig, TrainConfig
from gcudml.data.batches import repeat_views
from gcudml.losses.pairs import multi_similarity_loss
from gcudml.methods.interface import Batch, DataSizes, EpochPlan, Method, RunContext
from gcudml.methods.stml.contextual import semantic_similarity
from gcudml.methods.stml.losses import (
    distance_distillation_loss,
    relaxed_contrastive_loss,
    scaled_distances,
)
from gcudml.methods.stml.neighbour_batches import neighbour_batches, neighbour_table
from gcudml.models.backbones.build import takes_images_of
from gcudml.models.embedding import Embedder, Embeddings, TeacherNet
from gcudml.models.head_fit import fit_heads
from gcudml.models.inference import Head
from gcudml.models.momentum_teacher import momentum_at, teacher_distance, update_teacher
from gcudml.models.number_format import autocast
from gcudml.runtime import fused
from gcudml.runtime.seeding import derive, generator


class Stml(Method[StmlConfig]):
    """STML with its momentum teacher and the table of neighbours."""

    saved = ("teacher", "momentum", "table")

    @classmethod
    def check_data(cls, config: StmlConfig, run: RunConfig, sizes: DataSizes) -> None:
        """Reject more neighbours than there are images or rows in a batch."""
        check_stml(config, run.train, images=sizes.images["train"])

    @classmethod
    def check_network(cls, config: StmlConfig, run: RunConfig, *, channels: int) -> None:
        """Reject a neighbour search on whole images if the network cannot process their size."""
        whole, size = run.data.image_size, run.data.network_size
        if not config.searches_whole_images or whole == size:
            return
        if not takes_images_of(whole, run.model, channels=channels, image_size=size):
            raise ValueError(
                f"method.neighbours_on: {run.model.backbone} takes images of {size} pixels only, "
                f"but whole images have {whole}; set it to centre"
            )

    def __init__(self, context: RunContext, config: StmlConfig) -> None:
        check_stml(config, context.config.train, images=len(context.images))
        super().__init__(context, config)
        self.weights: Mapping[str, float] = config.weights.model_dump()
        self.teacher = _teacher(context, config)
        self.momentum = 0.0
        self.table: Int[Tensor, "n q"] | None = None
        self.has_labels = bool((context.labels >= 0).any())
        if not self.has_labels and not _is_self_taught(config):
            raise ValueError(
                "method.weights.supervised: the only term that trains the compact embedding needs "
                "labels, and no training image has one; set data.labelled_fraction above 0"
            )

    def begin_epoch(self, epoch: int) -> EpochPlan:
        """Find neighbours if due, and draw the epoch's batches."""
        context, config, train = self.context, self.config, self.context.config.train
        if config.batches == "random":
            return EpochPlan(repeat_views(context.random_batches(epoch), train.views))

        metrics = {}
        if self.table is None or epoch % config.refresh_every == 0:
            table = self._find_neighbours()
            has_classes = bool((context.hidden_labels >= 0).any())
            if config.neighbours > 1 and has_classes:
                metrics["neighbours/purity"] = _purity(table, context.hidden_labels)
            self.table = table.cpu()
        batches = neighbour_batches(
            self.table,
            batch_size=train.batch_size,
            steps=context.steps(train.batch_size),
            generator=generator(context.seed, "batches", epoch),
        )
        return EpochPlan(repeat_views(batches, train.views), metrics=metrics)

    def loss_terms(self, batch: Batch, embeddings: Embeddings) -> dict[str, Float[Tensor, ""]]:
        """Compute the terms with a weight above 0; the supervised one only with labels."""
        config, weights = self.config, self.config.weights
        by_name = {"compact": embeddings.compact, "wide": embeddings.wide}
        acted_on = ["compact", "wide"] if config.metric_on == "both" else [config.metric_on]
        needed = acted_on if weights.relaxed_contrastive > 0 else []
        if weights.distillation > 0:
            needed = ["compact", "wide"]
        scaled = {
            name: fused.loss(scaled_distances, by_name[name], normalize=config.student_norm)
            for name in needed
        }

        terms = {}
        if weights.relaxed_contrastive > 0:
            similarity = self._similarity(batch)
            losses = [
                fused.loss(relaxed_contrastive_loss, scaled[name], similarity, margin=config.margin)
                for name in acted_on
            ]
            terms["relaxed_contrastive"] = torch.stack(losses).mean()
        if weights.distillation > 0:
            terms["distillation"] = fused.loss(
                distance_distillation_loss,
                scaled["compact"],
                scaled["wide"],
                temperature=config.temperature,
            )
        if weights.supervised > 0 and self.has_labels:
            labels = self.context.labels[batch.indices]
            taught = ["compact", "wide"] if config.supervised_on == "both" else ["compact"]
            losses = [fused.loss(multi_similarity_loss, by_name[name], labels) for name in taught]
            terms["supervised"] = torch.stack(losses).mean()
        if config.update_teacher == "before":  # the optimiser has not changed the student yet
            self._follow(batch.step)
        return terms

    def after_step(self, step: int) -> None:
        """Move the teacher towards the student."""
        if self.config.update_teacher == "after":
            self._follow(step)

    def diagnostics(self) -> dict[str, float]:
        """Return the momentum of the last step and the teacher's distance from the student."""
        distance = teacher_distance(self.teacher, self.context.student.shared())
        return {"teacher_momentum": self.momentum, "teacher_distance": distance}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from ``state_dict``, with the table of neighbours on the CPU."""
        super().load_state_dict(state)
        self.table = None if self.table is None else self.table.cpu()

    @torch.no_grad()
    def _similarity(self, batch: Batch) -> Float[Tensor, "rows rows"]:
        """Compute the teacher's similarity of all rows, on the same views as the student's."""
        config, context = self.config, self.context
        with context.clock("teacher"), autocast(context.number_format, context.device):
            embeddings = fused.forward(self.teacher, batch.views).wide
        # Not fused across runs: vmap does not support its ranking.
        return semantic_similarity(
            embeddings,
            batch.indices,
            sigma=config.sigma,
            context=_context_rows(config, self.context.config.train),
            kind=config.similarity,
            query_expansion=config.query_expansion,
        )

    def _follow(self, step: int) -> None:
        self.momentum = momentum_at(
            step, self.config.teacher_momentum, warmup=self.config.momentum_warmup
        )
        update_teacher(self.teacher, self.context.student.shared(), self.momentum)

    def _find_neighbours(self) -> Int[Tensor, "n q"]:
        """Find the neighbours of all training images, (n, q)."""
        context, config = self.context, self.config
        network = context.student if config.neighbours_from == "student" else self.teacher
        head: Head = config.neighbours_by
        features = context.embed(network, [head], whole=config.neighbours_on == "whole")[head]
        if config.neighbours_distance == "cosine":
            features = F.normalize(features, dim=1)
        return neighbour_table(features, config.neighbours)


def check_stml(config: StmlConfig, train: TrainConfig, *, images: int) -> None:
    """Reject settings that need more training images or larger batches.

    Raises:
        ValueError: ``method.key: what; remedy``.
    """
    q = config.neighbours
    if config.batches == "neighbours" and q > images:
        raise ValueError(
            f"method.neighbours: {q} neighbours of {images} training images, the image itself "
            "included; needs neighbours <= images"
        )
    if config.batches == "neighbours" and q > train.batch_size:
        raise ValueError(
            f"method.neighbours: {q} neighbours of one image in a batch of train.batch_size = "
            f"{train.batch_size}; needs neighbours <= batch_size"
        )
    size = min(train.batch_size, images)
    if config.batches == "neighbours":
        size = min(train.batch_size // q, images) * q
    rows, near = size * train.views, _context_rows(config, train)
    if near > rows:
        raise ValueError(
            f"method.context: a neighbourhood of {near} in batches of {rows} rows (images * "
            "views); needs context (null: neighbours * views) <= rows"
        )


def _is_self_taught(config: StmlConfig) -> bool:
    """Whether an unsupervised term trains the compact embedding."""
    contrasted = config.weights.relaxed_contrastive > 0 and config.metric_on != "wide"
    return contrasted or config.weights.distillation > 0


def _context_rows(config: StmlConfig, train: TrainConfig) -> int:
    """Return the size of a neighbourhood in rows."""
    return config.neighbours * train.views if config.context is None else config.context


def _teacher(context: RunContext, config: StmlConfig) -> TeacherNet:
    """Create the teacher as it is before the first step."""
    if config.init_teacher == "copy":
        return TeacherNet(context.student)
    stranger = Embedder(
        context.config.model,
        channels=context.images.shape[1],
        image_size=context.config.data.network_size,
        seed=derive(context.seed, "teacher"),
    )
    number_format = context.number_format
    number_format.place(stranger, context.device)
    fit_heads(stranger, context.images, context.config, number_format=number_format)
    return TeacherNet(stranger)


def _purity(table: Int[Tensor, "n q"], hidden_labels: Int[Tensor, " n"]) -> float:
    """Return the share of neighbours with the class of their image, itself excluded."""
    same = hidden_labels[table[:, 1:]] == hidden_labels[:, None]
    return float(same.float().mean())
