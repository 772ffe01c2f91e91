"""Recall that is measured beside a run's own scores, when asked for, and that no choice reads.

``hindsight/...``: of the test classes after every epoch, to say what a choice of the epoch on them
would have claimed. ``student/...`` and ``teacher/...``: of both networks' wide embeddings on the
validation classes; the teacher has no other embedding.
"""

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor, nn

from gcudml.data.datasets import has_classes
from gcudml.evaluation.retrieval import retrieve
from gcudml.methods.interface import Method, Setup
from gcudml.models.inference import Head, embed_images

Part: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Images, their classes, and which of them are queries (None: all)."""


def score_beside(
    setup: Setup, method: Method, *, validation: Part, test: Part | None
) -> dict[str, float]:
    """What the configuration asks for, after an epoch; draws no random numbers.

    Args:
        setup: The run.
        method: Whose teacher may be compared with the student.
        validation: Validation images; may be none.
        test: Test images; None where they are closed or not asked for.
    """
    found: dict[str, float] = {}
    if not has_classes(setup.config.data):
        return found
    if test is not None:
        found |= _recall(setup, setup.student, test, head="compact", name="hindsight")
    teacher = getattr(method, "teacher", None)
    if setup.config.evaluate.teacher and isinstance(teacher, nn.Module) and len(validation[0]):
        for name, network in (("student", setup.student), ("teacher", teacher)):
            found |= _recall(setup, network, validation, head="wide", name=name)
    return found


def best_in_hindsight(
    best: Mapping[str, float], metrics: Mapping[str, float], *, k: int
) -> dict[str, float]:
    """The ``hindsight/...`` of the epoch with the highest Recall@k so far; ties: the earlier.

    Args:
        best: What this returned for the epoch before; empty at first.
        metrics: All of the epoch.
        k: Which of the Recall@K decides.
    """
    found = {name: value for name, value in metrics.items() if name.startswith("hindsight/")}
    by = f"hindsight/recall@{k}"
    return found if found and (not best or found[by] > best[by]) else dict(best)


def in_hindsight(best: Mapping[str, float]) -> dict[str, float]:
    """What ``best_in_hindsight`` gave at last, by the names of results."""
    return {f"test/{name.partition('/')[2]}_best_test_epoch": best[name] for name in best}


def _recall(
    setup: Setup, network: nn.Module, part: Part, *, head: Head, name: str
) -> dict[str, float]:
    images, labels, is_query = part
    embeddings = embed_images(
        network,
        images,
        heads=[head],
        number_format=setup.number_format,
        size=setup.config.data.network_size,
        clock=setup.clock,
    )[head]
    found = retrieve(
        embeddings,
        labels,
        k=setup.config.evaluate.k,
        map_at_r=False,
        distance=setup.config.distance,
        search=setup.config.evaluate.search,
        is_query=is_query,
    )
    return {f"{name}/recall@{k}": value for k, value in found.recall.items()}
