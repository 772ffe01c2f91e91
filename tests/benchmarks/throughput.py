"""Runs an hour of ``harness run`` against those of the script that it replaces.

    GCUDML_DATA=FOLDER GCUDML_WEIGHTS=FOLDER python tests/benchmarks/throughput.py
        [--case omniglot --case birds-squeezenet ...] [--repeats 5] [--write]

(a) ``harness run`` of a study, as it comes; (b) ``handwritten.py`` in this folder: an Optuna loop with
SQLite, image files through a ``DataLoader`` with two workers and per-image transforms, fp32, the default
memory layout. The same files, splits, seeds, epochs, model, losses and k-means; each call is a process of its
own and trains anew, and the calls take turns (a b a b). The harness also runs its controls, which count as
no run. Its first call of all decodes the images into an empty cache, as a user's does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from kept import FOLDER, ROOT, keep

from gcudml.config import RunConfig
from gcudml.data.folder import class_folders, halves
from gcudml.data.splits import divide_classes
from harness.records.provenance import git_state
from harness.stats.paired import t_interval
from harness.store.database import query
from harness.workload import JsonValue

HERE = Path(__file__).resolve().parent
SEEDS_A_CALL = {"omniglot": 2, "birds-squeezenet": 1, "birds-resnet18": 1}  # birds take minutes
MOMENTA = (0.9, 0.99)
BIRDS_METHOD = {
    "name": "gcudml",
    "clusters": 50,
    "groups": 3,
    "momentum_warmup": False,
}
BIRDS_TRAIN = {
    "epochs": 2,
    "steps_per_epoch": 12,
    "batch_size": 60,
    "learning_rate": 1e-4,
    "head_learning_rate": 1e-3,
}
BIRDS_DATA = {
    "name": "folder",
    "root": "$GCUDML_DATA/cub100",
    "image_size": 96,
    "protocol": "published",
}
BIRDS_VIEWS = {"crop_scale": [0.3, 1.0], "aspect": 1.3333, "rotate_deg": 0, "flip": 0.5}


def omniglot() -> dict[str, Any]:
    """The base of ``studies/omniglot/momentum.yaml``, for 4 epochs."""
    text = (ROOT / "studies" / "omniglot" / "momentum.yaml").read_text(encoding="utf-8")
    base: dict[str, Any] = yaml.safe_load(text)["base"]
    base["train"] |= {"epochs": 4, "learning_rate": 3e-3}  # YAML 1.1 reads 3e-3 as a text
    return base


def birds(backbone: str, weights: str, **extra: str) -> dict[str, Any]:
    model = {"backbone": backbone, "weights": f"$GCUDML_WEIGHTS/{weights}"} | extra
    sizes = {"embedding_dim": 128, "wide_dim": 256}
    return {
        "data": dict(BIRDS_DATA),
        "views": BIRDS_VIEWS,
        "model": model | sizes,
        "method": dict(BIRDS_METHOD),
        "train": dict(BIRDS_TRAIN),
    }


def cases() -> dict[str, dict[str, Any]]:
    squeezed = birds("squeezenet1_1", "squeezenet1_1_features.pt", input_format="rgb_mean")
    plain = birds("resnet18", "none")
    plain["model"]["weights"] = "none"
    plain["train"] |= {"epochs": 1, "steps_per_epoch": 4}  # a call takes minutes as it is
    return {"omniglot": omniglot(), "birds-squeezenet": squeezed, "birds-resnet18": plain}


class Called(NamedTuple):
    """One call of either side."""

    seconds: float
    recalls: list[float]
    """Recall@1 on test classes: of each seed, the mean over the momenta."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=list(cases()), dest="names")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, JsonValue]] = {}
    for name, base in cases().items():
        if arguments.names is None or name in arguments.names:
            with tempfile.TemporaryDirectory() as folder:
                figures[name] = compare(name, base, Path(folder), arguments.repeats)
            print(json.dumps({name: figures[name]}, indent=1), flush=True)
            if arguments.write:  # after each: the next one takes long
                keep("throughput", figures=written_before() | figures)


def written_before() -> dict[str, Any]:
    path = FOLDER / "throughput.json"
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["figures"]
    return found


def device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def compare(name: str, base: dict[str, Any], folder: Path, repeats: int) -> dict[str, JsonValue]:
    """Both sides in turn; runs an hour of each, and what they reached."""
    sides: dict[str, list[Called]] = {"harness": [], "script": []}
    seeds_a_call = SEEDS_A_CALL[name]
    for number in range(repeats):
        seeds = range(number * seeds_a_call, (number + 1) * seeds_a_call)
        for side, calls in sides.items():
            call = call_harness if side == "harness" else call_script
            calls.append(call(name, base, folder, seeds))
            told = f"{calls[-1].seconds:.1f} s, {calls[-1].recalls}"
            print(f"{name} {side} {number}: {told}", flush=True)
    found: dict[str, JsonValue] = {
        "device": device(),
        "calls of each": repeats,
        "runs a call": seeds_a_call * len(MOMENTA),
        "commit": git_state(ROOT).commit,
    }
    recalls: dict[str, list[float]] = {}
    for side, calls in sides.items():
        hourly = [3600 * seeds_a_call * len(MOMENTA) / call.seconds for call in calls]
        found[f"{side}: runs an hour, median"] = round(statistics.median(hourly), 1)
        found[f"{side}: least"] = round(min(hourly), 1)
        found[f"{side}: most"] = round(max(hourly), 1)
        recalls[side] = [recall for call in calls for recall in call.recalls]
        found[f"{side}: recall@1"] = interval(recalls[side])
    pairs = zip(recalls["harness"], recalls["script"], strict=True)
    found["recall@1: ours less that of the script"] = interval(
        [ours - theirs for ours, theirs in pairs]
    )
    ratios = [
        by_hand.seconds / ours.seconds
        for ours, by_hand in zip(sides["harness"], sides["script"], strict=True)
    ]
    found["ratio, median"] = round(statistics.median(ratios), 2)
    found["ratio, least"] = round(min(ratios), 2)
    found["ratio, most"] = round(max(ratios), 2)
    return found


def interval(values: list[float]) -> list[JsonValue]:
    """Mean, standard deviation and 95 % interval over seeds."""
    return [round(x, 4) for x in t_interval(values) if x is not None]


def by_seed(seeds: range, recalls: list[float]) -> list[float]:
    """The mean over momenta of each seed; the seeds of the first momentum come first."""
    return [round(statistics.fmean(recalls[at :: len(seeds)]), 4) for at in range(len(seeds))]


def call_harness(name: str, base: dict[str, Any], folder: Path, seeds: range) -> Called:
    study = {
        "study": name,
        "question": "How many runs an hour?",
        "workload": "gcudml.workload",
        "base": base,
        "search": {"method.teacher_momentum": {"grid": list(MOMENTA)}},
        "seeds": list(seeds),
        "baseline": {"method.teacher_momentum": MOMENTA[0]},
        "metric": "recall@1",
    }
    path, results = folder / "study.yaml", folder / f"results{seeds[0]}"
    path.write_text(json.dumps(study), encoding="utf-8")  # JSON is YAML, and 1e-4 a number in it
    command = [sys.executable, "-m", "harness", "run", str(path), "--results", str(results)]
    seconds = timed([*command, "--reports", str(folder)], folder)
    sql = (
        "SELECT value FROM results WHERE role <> 'control' AND split = 'test'"
        " AND name = 'recall@1' ORDER BY trial, seed"
    )
    return Called(seconds, by_seed(seeds, [float(str(x)) for (x,) in query(results, sql).rows]))


def call_script(name: str, base: dict[str, Any], folder: Path, seeds: range) -> Called:
    config = json.loads(os.path.expandvars(json.dumps(base)))
    out = folder / f"script{seeds[0]}.json"
    job = {
        "base": config,
        "parts": parts_of(config),
        "momenta": MOMENTA,
        "seeds": list(seeds),
        "threads": os.cpu_count(),
        "out": str(out),
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    seconds = timed([sys.executable, str(HERE / "handwritten.py"), str(path)], folder)
    found = json.loads(out.read_text(encoding="utf-8"))
    return Called(seconds, by_seed(seeds, [row["test/recall@1"] for row in found]))


def parts_of(config: dict[str, Any]) -> dict[str, list[tuple[str, int]]]:
    """The files of each part, with the index of their class; as the harness divides them."""
    data: Any = RunConfig.model_validate(config).data
    files = class_folders(Path(data.root))
    if data.protocol == "published":
        train, test = halves(tuple(files))
        division: dict[str, tuple[str, ...]] = {"train": train, "val": (), "test": test}
    else:
        division = divide_classes(tuple(files), data.split)._asdict()
    return {
        part: [
            (f"{data.root}/{path}", label)
            for label, name in enumerate(names)
            for path in files[name]
        ]
        for part, names in division.items()
    }


def timed(command: list[str], folder: Path) -> float:
    """Seconds that a command takes, from the start of its process to its end."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "GCUDML_CACHE": str(folder / "cache"),
    }
    environment.pop("OMP_NUM_THREADS", None)
    log = folder / "said.log"
    started = time.perf_counter()
    with log.open("wb") as stream:
        done = subprocess.run(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{log.read_text()[-3000:]}")
    return seconds


if __name__ == "__main__":
    main()
