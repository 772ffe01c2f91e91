"""Batch norm that stays as its weights were trained."""

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def freeze_batch_norm(network: nn.Module) -> None:
    """Batch norms keep their statistics, scale and shift from now on, in place.

    Survives ``train()`` and copying. A pre-hook rather than another layer, because libraries have
    batch norms of their own that also activate.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.requires_grad_(False)
            module.register_forward_pre_hook(_stay_in_eval)


def _stay_in_eval(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    module.training = False  # train() has set it at the start of the epoch
