"""A workload without training: learning curves from a formula, failures on demand, no torch.

Every call of ``run`` leaves a line in ``$TOY_WORKLOAD_FOLDER/calls.jsonl``, where that variable is
set, so that a test can count what was really trained.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

FOLDER = "TOY_WORKLOAD_FOLDER"
CUTOFFS = (1, 2, 4, 8)
Failure = Literal[
    "diverge",
    "nan_result",
    "overflow",
    "crash",
    "exit",
    "kill",
    "memory",
    "allocation",
    "invalid",
    "quiet",
]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Method(Strict):
    name: Literal["toy", "pixels", "untrained"] = "toy"
    teacher_momentum: float = Field(default=0.9, ge=0, le=1)
    temperature: float = Field(default=0.1, gt=0)


class Params(Strict):
    quality: float = Field(default=0.5, ge=0, le=1)
    """Where Recall@1 ends up, but for momentum and noise."""
    clusters: int = Field(default=8, ge=1)
    epochs: int = Field(default=3, ge=0)
    data: str = "toy"
    """``missing`` raises in ``data_fingerprint``."""
    fail: Failure | None = None
    sleep_s: float = Field(default=0.0, ge=0)
    """Seconds that each epoch takes."""
    wait_for: str | None = None
    """Go on after the first epoch only when this file exists in the folder."""
    mended_by: str | None = None
    """Where this file exists in the folder, ``fail`` does not apply any more."""
    has_validation: bool = True
    """Without it nothing is scored on the validation split."""
    only_seeds: tuple[int, ...] | None = None
    """Seeds to which ``fail`` and ``wait_for`` apply; None is all."""
    checkpoints: bool = False
    """Go on after the last epoch of a call that was stopped."""
    says: str | None = None
    """Printed to stderr."""
    method: Method = Method()


def schema() -> Mapping[str, JsonValue]:
    return Params.model_json_schema()


def check(params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    try:
        return Params.model_validate(params).model_dump(mode="json")
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in detail['loc'])}: {detail['msg']}"
            for detail in error.errors(include_url=False)
        ]
        raise ValueError("\n".join(lines)) from None


def controls() -> Mapping[str, Mapping[str, JsonValue]]:
    return {
        "raw pixels": {"method": {"name": "pixels"}},
        "untrained": {"method": {"name": "untrained"}},
    }


def epochs(params: Mapping[str, JsonValue]) -> int:
    settings = Params.model_validate(params)
    return settings.epochs if settings.method.name == "toy" else 0


def data_fingerprint(params: Mapping[str, JsonValue]) -> str:
    if params["data"] == "missing":
        raise ValueError("data: no images there; name a folder with images")
    return f"fingerprint of {params['data']}"


def run(
    params: Mapping[str, JsonValue],
    *,
    seed: int,
    workdir: Path,
    report: Callable[[int, Mapping[str, float]], bool],
    test: bool,
) -> Mapping[str, float]:
    settings = Params.model_validate(params)
    _note_call(settings, seed)
    if settings.says:
        print(settings.says, file=sys.stderr)
    is_affected = settings.only_seeds is None or seed in settings.only_seeds
    if settings.mended_by:
        is_affected = is_affected and not (Path(os.environ[FOLDER]) / settings.mended_by).exists()
    final = _final_recall(settings, seed)
    checkpoint = workdir / "checkpoint"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(first, settings.epochs if settings.method.name == "toy" else 0):
        share = (epoch + 1) / settings.epochs
        loss = 2.0 - share
        if settings.fail == "diverge" and is_affected and epoch == 1:
            loss = math.nan
        if settings.sleep_s:
            time.sleep(settings.sleep_s)
        metrics = {"loss": loss, "val/recall@1": final * share, "val/nmi": share / 2}
        goes_on = report(epoch, metrics)
        if settings.checkpoints:
            part = checkpoint.with_suffix(".part")
            part.write_text(str(epoch + 1))
            part.replace(checkpoint)  # whole, whenever it is killed
        if not goes_on:
            break
        if settings.wait_for and is_affected:
            _wait_until_there(settings.wait_for)
    if is_affected and settings.fail:
        _fail(settings.fail)
    _write_tables(workdir, settings)
    results = _results("val", final) if settings.has_validation else {}
    if test:
        results |= _results("test", final - 0.02)
    if settings.fail == "nan_result" and is_affected:
        results["val/nmi"] = math.nan
    return results


def calls(folder: Path) -> list[dict[str, JsonValue]]:
    """What was trained so far, in order: quality, seed, pid."""
    path = folder / "calls.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _final_recall(settings: Params, seed: int) -> float:
    if settings.method.name == "pixels":
        return 0.3
    noise = random.Random(f"{settings.model_dump_json()} {seed}").uniform(-0.02, 0.02)
    if settings.method.name == "untrained":
        return 0.2 + noise
    return min(0.95, max(0.05, settings.quality + 0.1 * settings.method.teacher_momentum + noise))


def _results(split: str, recall: float) -> dict[str, float]:
    found = {f"{split}/recall@{k}": 1 - (1 - recall) ** k for k in CUTOFFS}
    found[f"{split}/recall@1"] = recall
    return found | {f"{split}/nmi": recall / 2, f"{split}/queries": 100.0, f"{split}/dropped": 2.0}


def _fail(how: Failure) -> None:
    if how == "crash":
        raise RuntimeError("this run was told to crash")
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "memory":
        raise MemoryError
    if how == "allocation":
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")
    if how == "overflow":
        raise FloatingPointError("a feature is immense")
    if how == "invalid":
        raise ValueError("clusters: more clusters than images")
    if how == "quiet":
        raise SystemExit(0)


def _write_tables(workdir: Path, settings: Params) -> None:
    tables = workdir / "tables"
    tables.mkdir(exist_ok=True)
    rows = [
        {"epoch": 0, "cluster": cluster, "size": 10 + cluster, "purity": 0.5, "group": cluster % 2}
        for cluster in range(settings.clusters)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tables / "clusters.jsonl").write_text(lines, encoding="utf-8")
    (workdir / "facts.json").write_text(json.dumps({"device": "toy"}), encoding="utf-8")


def _note_call(settings: Params, seed: int) -> None:
    if folder := os.environ.get(FOLDER):
        call = {"quality": settings.quality, "seed": seed, "pid": os.getpid()}
        with (Path(folder) / "calls.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(call) + "\n")


def _wait_until_there(name: str) -> None:
    path = Path(os.environ[FOLDER]) / name
    while not path.exists():
        time.sleep(0.005)
