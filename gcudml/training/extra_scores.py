"""Recall that is measured beside a run's own scores, when asked for, and that no choice reads.

``hindsight/...``: of the test classes after every epoch, to say what a choice of the epoch on them
would have claimed. ``student/...`` and ``teacher/...``: of both networks' wide embeddings on the
validation classes; the teacher has no other embedding.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from gcudml.data.datasets import has_classes
from gcudml.evaluation.retrieval import retrieve
from gcudml.methods.interface import Method, RunContext
from gcudml.models.inference import Head

Part: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Images, their classes, and which of them are queries (None: all)."""


def score_beside(
    context: RunContext, method: Method[Any], *, validation: Part, test: Part | None
) -> dict[str, float]:
    """What the configuration asks for, after an epoch; draws no random numbers.

    Args:
        context: The run.
        method: Whose teacher may be compared with the student.
        validation: Validation images; may be none.
        test: Test images; None where they are closed or not asked for.
    """
    found: dict[str, float] = {}
    if not has_classes(context.config.data):
        return found
    if test is not None:
        found |= _recall(context, context.student, test, head="compact", name="hindsight")
    teacher = getattr(method, "teacher", None)
    if context.config.evaluate.teacher and isinstance(teacher, nn.Module) and len(validation[0]):
        for name, network in (("student", context.student), ("teacher", teacher)):
            found |= _recall(context, network, validation, head="wide", name=name)
    return found


def best_oracle_epoch(
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


def oracle_results(best: Mapping[str, float]) -> dict[str, float]:
    """What ``best_oracle_epoch`` gave at last, by the names of results."""
    return {f"test/{name.partition('/')[2]}_best_test_epoch": best[name] for name in best}


def _recall(
    context: RunContext, network: nn.Module, part: Part, *, head: Head, name: str
) -> dict[str, float]:
    images, labels, is_query = part
    embeddings = context.embed(network, [head], images=images)[head]
    found = retrieve(
        embeddings,
        labels,
        k=context.config.evaluate.k,
        map_at_r=False,
        distance=context.config.distance,
        search=context.config.evaluate.search,
        is_query=is_query,
    )
    return {f"{name}/recall@{k}": value for k, value in found.recall.items()}
