"""The momentum teacher: an exponential moving average of what it shares with the student."""

import torch
from torch import Tensor, nn


def momentum_at(step: int, momentum: float, *, warmup: bool) -> float:
    """Share of the old teacher that update ``step`` (from 0) keeps.

    With ``warmup`` it is ``min(momentum, (1 + step) / (10 + step))``: a slow teacher would keep
    its random start for most of a short run. Without it is the published constant.
    """
    return min(momentum, (1 + step) / (10 + step)) if warmup else momentum


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """``teacher <- momentum * teacher + (1 - momentum) * student``, in place.

    Parameters and floating-point buffers (batch-norm statistics) are averaged, counters copied.
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
    """Whether the two are equal to the bit: before the first step, and after each with momentum 0.

    A GPU is waited for.
    """
    return all(map(torch.equal, _state(teacher), _state(student)))


@torch.no_grad()
def teacher_distance(teacher: nn.Module, student: nn.Module) -> float:
    """How far the weights are apart: norm of their difference over the norm of the student's.

    0 right after a copy, and where the student's are all 0. Statistics of batch norms are left out.
    """
    mine: list[Tensor] = list(teacher.parameters())
    theirs: list[Tensor] = list(student.parameters())
    difference = torch.stack(torch._foreach_norm(torch._foreach_sub(mine, theirs))).norm()
    scale = torch.stack(torch._foreach_norm(theirs)).norm()
    return float(difference / scale.clamp(min=torch.finfo(scale.dtype).tiny))


def _state(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]
