"""Pretrained weights: read safely (no code is run), checked name by name, and loaded."""

import contextlib
import hashlib
import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from gcudml.config import ModelConfig
from gcudml.models.backbones import bundled
from gcudml.models.backbones.trunk import StateDict, Trunk

WRAPPERS = ("state_dict", "model")  # keys under which training scripts store a state dict
IS_LEFT_OUT: ContextVar[bool] = ContextVar("IS_LEFT_OUT", default=False)


def load_weights(trunk: Trunk, config: ModelConfig) -> tuple[str, ...]:
    """Load the weights named by ``config.weights`` into a network, in place.

    A file may hold the state dict of a whole network, or of its features without their common
    prefix; it may be nested under ``state_dict`` or ``model``, and names may start with
    ``module.``.

    Returns:
        Names of the classifier's weights, which were left out.

    Raises:
        ValueError: the weights are missing, unreadable, not finite, or of another network.
    """
    if config.weights == "none" or IS_LEFT_OUT.get():
        return ()
    path = config.weights_path
    if path is not None:
        state: StateDict = read_state(path)
    elif config.weights == "bundled":
        state = _in_order(read_state(bundled.bundled_file()), trunk, config.backbone)
    else:
        state = _fetch(trunk, config)
    source = repr(str(path)) if path else config.weights
    wanted = trunk.holder.state_dict()
    named, left_out = _rename(state, wanted, trunk)
    _check_fit(trunk.adapt(named), wanted, source, config.backbone)
    trunk.holder.load_state_dict(trunk.adapt(named), strict=False)  # checked strictly above
    return left_out


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Build networks for pretrained weights in this block without loading the weights."""
    token = IS_LEFT_OUT.set(True)
    try:
        yield
    finally:
        IS_LEFT_OUT.reset(token)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a state-dict or safetensors file, by name.

    Raises:
        ValueError: no such file, or it is damaged or holds anything but tensors; code in it is
            never run.
    """
    _check_is_file(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _is_pickle(path) and "GLOBAL" not in str(error):
            raise ValueError(_broken(path, "it is not a PyTorch file")) from error
        raise ValueError(
            f"model.weights: {str(path)!r} is refused: it holds objects or code, not only tensors; "
            "convert it to safetensors if you trust it"
        ) from error
    except MemoryError:
        raise
    except SafetensorError as error:
        raise ValueError(_broken(path, str(error))) from error
    except PermissionError as error:
        raise ValueError(_broken(path, error.strerror or "not allowed")) from error
    except Exception as error:  # readers can raise any exception on a damaged file
        raise ValueError(_broken(path, "it is not a PyTorch file, or truncated")) from error
    return _unwrap(found, path)


def weights_digest(config: ModelConfig) -> str:
    """Identify a run's pretrained weights: the file's digest, or the published weights' name.

    Empty without pretrained weights.

    Raises:
        ValueError: the file is missing or cannot be read, or timm is missing.
    """
    if not config.is_pretrained:
        return ""
    if config.weights == "bundled":
        return bundled.SHA256[:32]
    path = config.weights_path
    if path is None:
        return _recipe(config)
    _check_is_file(path)
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
    except OSError as error:
        raise ValueError(_broken(path, error.strerror or "cannot be read")) from error


def _recipe(config: ModelConfig) -> str:
    if config.timm_name:
        from gcudml.models.backbones.timm import timm_recipe

        return timm_recipe(config.timm_name)
    from gcudml.models.backbones.torchvision import recipe

    return recipe(config.backbone)


def _check_is_file(path: Path) -> None:
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # no permission for the folder, or the name is too long
        raise ValueError(
            f"model.weights: {str(path)!r} cannot be read ({error.strerror}); allow reading it, or "
            "give another file"
        ) from None
    if is_folder:
        raise ValueError(f"model.weights: {str(path)!r} is a folder; give the file in it")
    if not is_file:
        raise ValueError(
            f"model.weights: no file {str(path)!r}; give a state dict or a .safetensors file, "
            "imagenet or none"
        )


def _fetch(trunk: Trunk, config: ModelConfig) -> StateDict:
    if trunk.fetch is None:
        raise ValueError(
            f"model.weights: there are no published weights of {config.backbone}; "
            "give none or a path"
        )
    try:
        return trunk.fetch()
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # URLError is an OSError
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ValueError(
            f"model.weights: the ImageNet weights of {config.backbone} could not be fetched "
            f"({reason}); give the path of a file with them, or put them into the cache at "
            f"{torch.hub.get_dir()}"
        ) from error


def _is_pickle(path: Path) -> bool:
    """Whether an unreadable file is at least a pickle or a zip archive."""
    with path.open("rb") as stream:
        start = stream.read(2)
    return start == b"PK" or (start[:1] == b"\x80" and start[1:] in {b"\2", b"\3", b"\4", b"\5"})


def _unwrap(found: object, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping):
        raise ValueError(
            f"model.weights: {str(path)!r} holds a {type(found).__name__}, not a state dict; save "
            "a network's state_dict()"
        )
    others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if others or not found:
        what = f"{others[0]!r} is not a tensor" if others else "it is empty"
        raise ValueError(
            f"model.weights: {str(path)!r} is not a state dict: {what}; "
            "save a network's state_dict()"
        )
    return {str(name): value for name, value in found.items()}


def _in_order(state: StateDict, trunk: Trunk, backbone: str) -> dict[str, Tensor]:
    """Give weights the names that the network and its classifier have in the same places.

    The kind of each (weight, bias, running mean ...) is checked here, its shape later.
    """
    classifier = [f"{end}{kind}" for end in trunk.classifier for kind in ("weight", "bias")]
    names = [*trunk.holder.state_dict(), *classifier]
    if [name.rpartition(".")[2] for name in state] != [name.rpartition(".")[2] for name in names]:
        raise ValueError(
            f"model.weights: the {len(state)} bundled weights do not match the {len(names)} of "
            f"{backbone} in order; install a version of timm that pyproject.toml allows"
        )
    return dict(zip(names, state.values(), strict=True))


def _rename(
    state: StateDict, wanted: StateDict, trunk: Trunk
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Rename the state to the network's own names; also return the names that were left out."""
    named = dict(state)
    while named and all(name.startswith("module.") for name in named):
        named = {name.removeprefix("module."): value for name, value in named.items()}
    if trunk.prefix and any(trunk.prefix + name in wanted for name in named):
        named = {trunk.prefix + name: value for name, value in named.items()}
    left_out = tuple(
        name for name in named if name not in wanted and name.startswith(trunk.classifier)
    )
    for name in left_out:
        del named[name]
    return named, left_out


def _check_fit(state: StateDict, wanted: StateDict, source: str, backbone: str) -> None:
    """Check that exactly the needed weights are there, with the right shapes and finite values."""
    missing = [
        name for name in wanted if name not in state and not name.endswith("num_batches_tracked")
    ]
    unknown = [name for name in state if name not in wanted]
    wrong = [
        f"shape of {name} is {tuple(state[name].shape)} where {tuple(needed.shape)} is needed"
        for name, needed in wanted.items()
        if name in state and state[name].shape != needed.shape
    ]
    faults = [*_counted(missing, "missing"), *_counted(unknown, "unknown"), *wrong[:1]]
    if faults:
        raise ValueError(
            f"model.weights: {source} does not fit {backbone}: {', '.join(faults)}; name the "
            "backbone it was made for"
        )
    for name, needed in wanted.items():
        if not needed.is_floating_point() or name not in state:
            continue
        if not state[name].is_floating_point():
            raise ValueError(
                f"model.weights: {name} of {source} holds {state[name].dtype}, not real numbers; "
                "convert it to float32"
            )
        if not state[name].float().isfinite().all():
            raise ValueError(
                f"model.weights: {name} of {source} holds NaN or infinity; give finite weights"
            )


def _counted(names: list[str], what: str) -> Iterable[str]:
    """Summarise, as in ``12 keys missing (first conv1.weight)``; empty without names."""
    if names:
        noun = "key" if len(names) == 1 else "keys"
        yield f"{len(names)} {noun} {what} (first {names[0]})"


def _broken(path: Path, reason: str) -> str:
    return (
        f"model.weights: {str(path)!r} cannot be read ({reason.splitlines()[0][:120]}); "
        "download or save it again"
    )
