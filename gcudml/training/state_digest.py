"""Digests of the training state after each epoch, part by part, in the table ``states``.

Two runs with equal digests go on alike. Where a resumed run differs from an uninterrupted one, the
first epoch and the part that differ say where to look. Random numbers are no part of the state:
they derive from the seed and the epoch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from gcudml.runtime.checksum import digest_of

TABLE = "states"
_DIGITS = 16


def digest_rows(epoch: int, state: Mapping[str, Any]) -> Iterator[dict[str, int | str]]:
    """Yield a row for each part of the state that ``TrainingState.state_dict`` returns."""
    for part, content in _parts(state).items():
        tensors: dict[str, Tensor] = {}
        plain: list[str] = []
        for path, value in _leaves(content, ""):
            if isinstance(value, Tensor):
                tensors[path] = value
            else:
                plain.append(f"{path}={value!r}")
        digest = digest_of("\n".join(sorted(plain)), tensors)[:_DIGITS]
        yield {"epoch": epoch, "part": part, "digest": digest}


def _parts(state: Mapping[str, Any]) -> dict[str, Any]:
    """Divide the state: the student, each part of the method, each optimiser, and the rest."""
    best = dict(state["best"] or {})
    # The chosen student was the student of its epoch, which has a digest.
    best.pop("state", None)
    return {
        "student": state["student"],
        **{f"method.{name}": value for name, value in state["method"].items()},
        **{f"optimizer.{number}": each for number, each in enumerate(state["optimizers"])},
        "progress": {name: state[name] for name in ("epoch", "step", "alarms", "oracle_epoch")}
        | {"best": best},
    }


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    """Yield the tensors and plain values in nested mappings and sequences, with their paths."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}/{name}")
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{path}/{number}")
    else:
        yield path, value
