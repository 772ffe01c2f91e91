"""Interface to an ablation harness: plain values in, plain values and files out.

Implements the functions of ``harness.workload.Workload``; neither package imports the other.
"""

from __future__ import annotations

import difflib
import errno
import functools
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gcudml.config import DataConfig, PixelsConfig, RunConfig, Source
from gcudml.config.methods import is_control
from gcudml.data.datasets import PARTS, appearance_of, glance, larger, load
from gcudml.data.datasets import data_fingerprint as fingerprint_of_data
from gcudml.data.datasets import test_fingerprint as fingerprint_of_test_set
from gcudml.methods import module_of as module_of_method
from gcudml.methods.checks import check_fits, check_network, check_settings, may_be_stacked
from gcudml.methods.interface import DataSizes
from gcudml.models.backbones.build import check_weights
from gcudml.models.backbones.build import module_of as module_of_backbone
from gcudml.models.backbones.weights import weights_digest
from gcudml.models.head_fit import check_heads
from gcudml.models.number_format import prepare_cache
from gcudml.runtime.allocator import keep_freed_memory
from gcudml.runtime.files import Stamp, cache_folder, digest, stamp_of
from gcudml.runtime.fused import train_together
from gcudml.training import run as run_module
from gcudml.training.fusion_speedup import most_together

if TYPE_CHECKING:
    from pydantic import JsonValue
else:
    JsonValue = object  # the tests' type checker cannot follow a type that contains itself


def schema() -> Mapping[str, JsonValue]:
    """Return the JSON Schema of the parameters."""
    return RunConfig.model_json_schema()


def check(params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Validate parameters and return them with all defaults filled in.

    Raises:
        ValueError: one line per unknown or invalid parameter, each ``dotted.key: rule``.
    """
    try:
        config = RunConfig.model_validate(params)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors(include_url=False)]
        raise ValueError("\n".join(dict.fromkeys(lines))) from None
    check_settings(config)
    _look_again_after.clear()  # planning follows a check, so examine the files again
    if config.evaluate.map == "umap" and importlib.util.find_spec("umap") is None:
        raise ValueError(
            "evaluate.map: umap needs the package umap-learn; "
            'install it with: pip install "gcudml-harness[umap]"'
        )
    return config.model_dump(mode="json")


def controls(params: Mapping[str, JsonValue]) -> Mapping[str, Mapping[str, JsonValue]]:
    """Return the free baselines of a trial: raw pixels, and its network without training.

    A pretrained network also gives ``untouched``, its pooled features, and ``untouched, best free``
    (see ``UntrainedConfig``). Whatever does not affect a control is set to its default.
    """
    config = RunConfig.model_validate(params)
    network = config.model.model_dump(mode="json", exclude={"freeze_batch_norm"})
    heads = {"wide_dim", "embedding_dim", "head_init"}
    trunk = {key: network[key] for key in network.keys() - heads}
    settings: dict[str, tuple[dict[str, JsonValue], dict[str, JsonValue]]] = {
        "raw pixels": ({}, {"name": "pixels"}),
        "untrained": (network, {"name": "untrained"}),
    }
    if config.model.is_pretrained:
        free = {key: network[key] for key in network.keys() - {"wide_dim", "head_init", "gem_p"}}
        if config.model.pooling != "token":
            del free["pooling"]
        settings |= {
            "untouched": (trunk, {"name": "untrained", "embedding": "pooled"}),
            "untouched, best free": (free, {"name": "untrained", "embedding": "best_free"}),
        }
    hardware: dict[str, JsonValue] = {"device": config.train.device}
    formats = config.train.model_dump(mode="json", include={"number_format", "memory_layout"})
    return {
        name: {
            "model": model,
            "method": method,
            "views": {},
            "train": hardware | formats if model else hardware,
            "randomness": {},
        }
        for name, (model, method) in settings.items()
    }


def epochs(params: Mapping[str, JsonValue]) -> int:
    """Return how often a run reports: once per epoch, or once for a control."""
    config = RunConfig.model_validate(params)
    return 1 if is_control(config.method) else config.train.epochs


def fold(params: Mapping[str, JsonValue], number: int, of: int) -> Mapping[str, JsonValue]:
    """Return the overrides that hold out one of ``of`` folds of the classes for training.

    The validation classes, too, are cut into folds; the test classes stay as they are.
    """
    return {"data.split.fold": {"number": number, "of": of}}


def data_fingerprint(params: Mapping[str, JsonValue]) -> str:
    """Digest the images, classes and pretrained weights that ``params`` name.

    Before anything is trained, this also decodes all images into the cache, or verifies the cached
    ones (once per process and after every change), and rejects weights and parameters that do not
    fit. Every call checks all files for changes, except in quick succession on very many files; see
    ``_prepare``.

    Raises:
        ValueError: images or weights are missing or unusable, or the parameters do not fit them,
            as ``dotted.key: what; remedy``.
    """
    config = RunConfig.model_validate(params)
    try:
        prepared = _prepare(config.data)
        prepare_cache(config.train)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ValueError(_explain_file(error)) from None
    check_fits(config, prepared.sizes)
    if isinstance(config.method, PixelsConfig):
        return prepared.fingerprint
    path = config.model.weights_path
    network = _check_network(
        config.model.model_dump_json(),
        prepared.channels,
        config.data.network_size,
        None if path is None else _state_of(path),
    )
    check_heads(config.model, features=network.features, images=prepared.sizes.images["train"])
    check_network(config, channels=prepared.channels)
    found = (prepared.fingerprint, network.weights)
    return "-".join(each for each in found if each)


def test_fingerprint(params: Mapping[str, JsonValue]) -> str:
    """Digest the test images that ``params`` name, and nothing else; empty if there are none.

    Raises:
        ValueError: images are missing or unusable.
    """
    try:
        return _prepare(RunConfig.model_validate(params).data).test_set
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ValueError(_explain_file(error)) from None


def code(params: Mapping[str, JsonValue]) -> list[str]:
    """List the modules that a run imports for its method and network, beyond this one's imports.

    The controls have no method, and ``pixels`` has no network either.
    """
    config = RunConfig.model_validate(params)
    if isinstance(config.method, PixelsConfig):
        return []
    modules = [module_of_backbone(config.model), module_of_method(config.method)]
    return [module for module in modules if module]


def random_sources(params: Mapping[str, JsonValue]) -> dict[str, str]:
    """Return the sources of a run's randomness, and the parameter that pins each of them."""
    return {source: f"randomness.{source}" for source in get_args(Source)}


def run(
    params: Mapping[str, JsonValue],
    *,
    seed: int,
    workdir: Path,
    report: Callable[[int, Mapping[str, float]], bool],
    test: bool,
) -> Mapping[str, float]:
    """Train and evaluate one run, or resume it; see ``gcudml.training.run.run``.

    Raises:
        ValueError: the parameters do not fit the data (more clusters than images).
    """
    keep_freed_memory()
    config = RunConfig.model_validate(params)
    return run_module.run(config, seed=seed, workdir=workdir, report=report, test=test)


def together(params: Mapping[str, JsonValue]) -> tuple[str, int] | None:
    """Tell which runs can be trained together with this one, and how many at a time pay off here.

    Data, network, batches and method must be equal; the method's settings, learning rate, optimiser
    and seed may differ.

    Returns:
        A key that is equal for such runs, and the number; None for a run that must be trained
        alone: a control, or a network that draws its own random numbers or is not a PyTorch one.
    """
    config = RunConfig.model_validate(params)
    if not may_be_stacked(config):
        return None
    free = {"learning_rate", "head_learning_rate", "momentum", "weight_decay", "optimizer"}
    alike = {
        "data": config.data.model_dump(mode="json"),
        "model": config.model.model_dump(mode="json"),
        "train": config.train.model_dump(mode="json", exclude=free | {"schedule", "clip_norm"}),
        "method": config.method.name,
    }
    channels = appearance_of(config.data).channels
    try:
        device = run_module.device_of(config.train)
    except ValueError:  # the run itself will report it
        return None
    return digest(alike), most_together(config, channels=channels, device=device)


def run_together(calls: Sequence[Callable[[], None]]) -> None:
    """Execute several calls of ``run`` in lock step; see ``gcudml.runtime.fused``."""
    keep_freed_memory()
    train_together(calls)


class _Prepared(NamedTuple):
    """Prepared data that the trials of a study share."""

    seen: str
    """Digest of the files' state, see ``glance``."""
    kept: Mapping[Path, Stamp | None]
    """Files in the cache, with their stamps."""
    fingerprint: str
    test_set: str
    sizes: DataSizes
    channels: int


# Shared by the trials of one process, until a file changes.
_prepared: dict[str, _Prepared] = {}
_look_again_after: dict[str, float] = {}
MANY_FILES, GOOD_FOR_S = 5000, 0.1


def _prepare(data: DataConfig) -> _Prepared:
    """Decode a data set, unless nothing has changed since it was decoded.

    With many files, the result of examining them is reused for a tenth of a second, or until
    parameters are next checked. So planning a thousand trials examines them only a few times, and
    two studies in a row never share a result.
    """
    key = json.dumps([data.model_dump(mode="json"), str(cache_folder())])
    known = _prepared.get(key)
    if known and time.monotonic() < _look_again_after.get(key, 0.0):
        return known
    seen = glance(data)
    kept = {} if known is None else {path: stamp_of(path) for path in known.kept}
    if known is None or (known.seen, known.kept) != (seen.digest, kept):
        known = _decode(data, seen.digest)
        stamps = [stamp for stamp in known.kept.values() if stamp]
        if seen.is_settled and all(stamp.is_settled for stamp in stamps):
            _prepared[key] = known
        else:
            _prepared.pop(key, None)
    elif seen.files > MANY_FILES:
        _look_again_after[key] = time.monotonic() + GOOD_FOR_S
    return known


def _decode(data: DataConfig, seen: str) -> _Prepared:
    """Create or verify the files in the cache."""
    fingerprint, test_set = fingerprint_of_data(data), fingerprint_of_test_set(data)
    parts = {part: load(data, part, verify=True) for part in PARTS}
    arrays = [part.images for part in parts.values()]
    if (source := larger(data)) is not None:
        arrays.append(load(source, "train", verify=True).images)
    files = [Path(str(each.filename)) for each in arrays if isinstance(each, np.memmap)]
    training = parts["train"]
    queries = parts["test"].is_query
    sizes = DataSizes(
        images={part: len(found.images) for part, found in parts.items()},
        training_classes=int((np.bincount(training.labels + 1)[1:] > 1).sum()),  # -1: no class
        gallery=None if queries is None else int((~queries).sum()),
    )
    kept = {path: stamp_of(path) for path in files}
    return _Prepared(seen, kept, fingerprint, test_set, sizes, training.images.shape[1])


def _state_of(path: Path) -> object:
    """Value that changes with a file; different at every call while the file may be changing."""
    stamp = stamp_of(path)
    is_settled = stamp is not None and stamp.is_settled
    return (path.resolve(), stamp, None if is_settled else time.monotonic_ns())


def _explain_file(error: OSError) -> str:
    """Describe in one line a file that cannot be read or a cache that cannot be written."""
    name, reason = str(error.filename or ""), error.strerror or str(error)
    if name.startswith(str(cache_folder())):
        return (
            f"data: cannot write {name}: {reason}; set GCUDML_CACHE to a folder that can be written"
        )
    return f"data.root: cannot read {name}: {reason}; allow reading it, or name another folder"


class _Network(NamedTuple):
    """A network that was built once."""

    features: int
    weights: str
    """Identifier of its weights; empty if there are none."""


@functools.lru_cache
def _check_network(model: str, channels: int, image_size: int, weights: object) -> _Network:
    """Build a network with its weights, once per configuration, to check that it works.

    Args:
        model: The configuration, as JSON.
        channels: Channels of the images.
        image_size: Side of the network's input images.
        weights: State of the weights file, so that a changed file is read again; None if there is
            no file.
    """
    config = RunConfig.model_validate({"model": json.loads(model)}).model
    features = check_weights(config, channels=channels, image_size=image_size)
    return _Network(features, weights_digest(config))


def _explain(detail: ErrorDetails) -> str:
    """Format one validation error as a line: ``dotted.key: rule, got VALUE``."""
    # Pydantic puts the tag of a discriminated union into the path, which is not a key of the file.
    location = [str(part) for part in detail["loc"]]
    section = RunConfig.model_fields.get(location[0])
    tags = {_tag_of(model) for model in _models_in(section.annotation)} if section else set()
    path = [part for position, part in enumerate(location) if position != 1 or part not in tags]
    where = ".".join(path)
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = sorted(set(_fields_beside(location)))
        close = difflib.get_close_matches(path[-1], known, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        return f"{where}: unknown parameter; {guess}known: {', '.join(known)}"
    if detail["type"] == "union_tag_invalid":
        tag, offered = detail["ctx"]["tag"], detail["ctx"]["expected_tags"].replace("'", "")
        close = difflib.get_close_matches(tag, offered.split(", "), n=1, cutoff=0.5)
        guess = f"did you mean {close[0]!r}? " if close else ""
        return f"{where}.name: unknown {where} {tag!r}; {guess}known: {offered}"
    if detail["type"] == "value_error":
        # Rules over several fields start each line with the field to change: 'groups: ...'.
        return "\n".join(f"{where}.{line}" if where else line for line in message.splitlines())
    value = detail["input"]
    shown = "" if isinstance(value, dict) else f", got {value!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{shown}"


def _fields_beside(location: list[str]) -> Iterator[str]:
    """Yield the names of the fields that are allowed where an unknown one was found."""
    models: list[type[BaseModel]] = [RunConfig]
    for part in location[:-1]:
        models = [
            inner
            for model in models
            for inner in (
                _models_in(model.model_fields[part].annotation)
                if part in model.model_fields
                else [m for m in [model] if _tag_of(m) == part]
            )
        ]
    for model in models:
        yield from model.model_fields


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models_in(inner)]


def _tag_of(model: type[BaseModel]) -> object:
    field = model.model_fields.get("name")
    return field.default if field else None
