"""The momentum teacher: an exponential moving average of the student's shared modules."""

import torch
from torch import Tensor, nn


def momentum_at(step: int, momentum: float, *, warmup: bool) -> float:
    """Momentum of update ``step`` (from 0): the fraction of the old teacher that it keeps.

    With ``warmup`` it is ``min(momentum, (1 + step) / (10 + step))``: in a short run, a slow
    teacher would stay near its random initialisation. Without, it is the published constant.
    """
    return min(momentum, (1 + step) / (10 + step)) if warmup else momentum


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Update in place: ``teacher <- momentum * teacher + (1 - momentum) * student``.

    Parameters and floating-point buffers (batch-norm statistics) are averaged; counters are copied.
    The two modules must have the same state names and shapes.
    """
    averaged: tuple[list[Tensor], list[Tensor]] = ([], [])
    for mine, theirs in zip(_state(teacher), _state(student), strict=True):
        if mine.is_floating_point():
            averaged[0].append(mine)
            averaged[1].append(theirs)
        else:
            mine.copy_(theirs)
    torch._foreach_lerp_(averaged[0], averaged[1], 1.0 - momentum)


def is_copy(teacher: nn.Module, student: nn.Module) -> bool:
    """Whether the two are bit-identical, as before the first step, or after any with momentum 0.

    Synchronises with a GPU.
    """
    return all(map(torch.equal, _state(teacher), _state(student)))


@torch.no_grad()
def teacher_distance(teacher: nn.Module, student: nn.Module) -> float:
    """Relative distance of the weights: norm of their difference over the norm of the student's.

    0 right after a copy. Batch-norm statistics are left out.
    """
    mine: list[Tensor] = list(teacher.parameters())
    theirs: list[Tensor] = list(student.parameters())
    difference = torch.stack(torch._foreach_norm(torch._foreach_sub(mine, theirs))).norm()
    scale = torch.stack(torch._foreach_norm(theirs)).norm()
    return float(difference / scale.clamp(min=torch.finfo(scale.dtype).tiny))


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
