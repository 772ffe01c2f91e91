"""Optional extra Recall@K scores, which never influence training or the choice of an epoch.

``hindsight/...`` is measured on the test classes after every epoch; it shows what choosing the
epoch on the test classes would have reported. ``student/...`` and ``teacher/...`` compare the wide
embeddings of both networks on the validation classes; the teacher has no compact embedding.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from gcudml.data.datasets import has_classes
from gcudml.evaluation.retrieval import retrieve
from gcudml.methods.interface import Method, RunContext
from gcudml.models.inference import Head

Part: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
"""Images, their classes, and a mask of the queries (None: every image is a query)."""


def score_beside(
    context: RunContext, method: Method[Any], *, validation: Part, test: Part | None
) -> dict[str, float]:
    """Compute the extra scores that the configuration requests; draws no random numbers.

    Args:
        context: The run.
        method: If it has a teacher, the teacher can be compared with the student.
        validation: Validation images; may be empty.
        test: Test images; None if the run may not use them or they were not requested.
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
    """Return the ``hindsight/...`` scores of the epoch with the highest Recall@k so far.

    A tie goes to the earlier epoch.

    Args:
        best: Return value for the previous epoch; empty for the first one.
        metrics: All metrics of the current epoch.
        k: The K whose Recall@K decides.
    """
    found = {name: value for name, value in metrics.items() if name.startswith("hindsight/")}
    by = f"hindsight/recall@{k}"
    return found if found and (not best or found[by] > best[by]) else dict(best)


def oracle_results(best: Mapping[str, float]) -> dict[str, float]:
    """Rename the final scores from ``best_oracle_epoch`` to ``test/..._best_test_epoch``."""
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
