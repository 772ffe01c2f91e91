"""What runs of all shipped studies load of gcudml, and what they declare: JSON lines.

``python declared_code.py STUDIES FOLDER`` plans every study and trains each kind of setting in it,
cut down to seconds, in a process forked from one that has only imported the workload.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torchvision  # noqa: F401 -- once for all, since it is slow and none of ours

from harness.study.loading import load_study
from harness.study.plan import make_plan
from harness.workload import Workload, load_workload
from harness.workload.code_files import CodeFiles
from harness.workload.code_version import CodeVersions

WORKLOAD = "gcudml.workload"
QUICK = dict.fromkeys(("googlenet", "resnet18", "resnet50", "squeezenet1_1"), "squeezenet1_1")
"""Networks in whose place another of the same library may be trained."""


def main() -> None:
    studies, folder = map(Path, sys.argv[1:])
    workload = load_workload(WORKLOAD)
    CodeFiles(WORKLOAD).all()  # read once for all
    gc.freeze()  # as the fork server does
    plans = in_a_fork(lambda: kinds_of(studies, workload))
    for number, (params, found_in) in enumerate(plans):
        answer = in_a_fork(lambda p=params, n=number: loads_of(p, folder / str(n), workload))
        print(json.dumps({"studies": found_in, "params": params, **answer}), flush=True)


def kinds_of(studies: Path, workload: Workload) -> list[tuple[dict[str, Any], list[str]]]:
    """Settings that differ in a switch of their method or in their network, and where they are."""
    kinds: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for path in sorted(studies.rglob("*.yaml")):
        plan = make_plan(load_study(path), workload)
        for trial in (*plan.fixed, *plan.ends, *plan.controls):
            method, model = trial.params["method"], trial.params["model"]
            # All networks of a library come from one module: each is built once, the fastest often.
            for network in dict.fromkeys(
                [model["backbone"], QUICK.get(model["backbone"], "conv4")]
            ):
                is_quick = network == QUICK.get(network, network)
                key = json.dumps([network, without_numbers(method) if is_quick else None])
                if key not in kinds:
                    kinds[key] = (workload.check(shrunk(trial.params, network)), [])
                kinds[key][1].append(path.stem)
    return list(kinds.values())


def shrunk(params: Mapping[str, Any], network: str) -> dict[str, Any]:
    """The same kind of setting on a few drawings, for one epoch, without published weights."""
    method, train = dict(params["method"]), dict(params["train"])
    size = 64 if network in ("googlenet", "resnet50") else 28
    for key, most in {
        "clusters": 6,
        "groups": 2,
        "learners": 2,
        "neighbours": 2,
        "context": 3,
    }.items():
        if isinstance(method.get(key), int | float):
            method[key] = min(method[key], most)
    train |= {"epochs": 1, "batch_size": 12, "number_format": "fp32", "memory_layout": "contiguous"}
    train |= {
        "steps_per_epoch": 2,
        "images_per_cluster": 2,
        "views": min(train["views"], 2),
        "device": "cpu",
    }
    return {
        "data": {"name": "strokes", "classes": 8, "images_per_class": 4, "image_size": size}
        | {"labelled_fraction": params["data"].get("labelled_fraction", 0.0)},
        "model": {"backbone": network, "embedding_dim": 12, "wide_dim": 12, "width": 8},
        "method": method,
        "train": train,
        "views": params["views"],
        "evaluate": dict(params["evaluate"]) | {"k": [1], "map": "pca"},
    }


def without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_numbers(inner) for key, inner in value.items()}
    return None if isinstance(value, int | float) and not isinstance(value, bool) else value


def loads_of(params: dict[str, Any], folder: Path, workload: Workload) -> dict[str, list[str]]:
    """What a run has loaded in the end and does not declare, and the reverse."""
    versions = CodeVersions(WORKLOAD, workload.code)
    declared = set(versions.table(versions.of(params)))
    folder.mkdir()
    workload.run(params, seed=0, workdir=folder, report=lambda *_: True, test=True)
    loaded = {
        name
        for name, module in sys.modules.items()
        if name.partition(".")[0] == "gcudml" and getattr(module, "__file__", None)
    }
    return {"undeclared": sorted(loaded - declared), "unused": sorted(declared - loaded)}


def in_a_fork(work: Callable[[], Any]) -> Any:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            with os.fdopen(writing, "w") as stream:
                json.dump(work(), stream)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("a run has failed")
    return json.loads(text)


if __name__ == "__main__":
    main()
