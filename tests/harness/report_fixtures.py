"""Studies that never ran, for the tests of the report: synthetic events in a real store."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.records import folders, study_record
from harness.records.events import EpochReported, Finished, Started, to_json
from harness.records.trial import Run, Trial
from harness.store import rebuild
from harness.workload import JsonValue

TIME = "2025-01-02T03:04:05.000000+00:00"
EPOCHS = 6


@dataclass(frozen=True)
class Made:
    """One trial of a synthetic study."""

    label: str
    level: float
    """Recall@1 on test classes, before the seeds' noise."""
    varied: Mapping[str, JsonValue] = field(default_factory=dict)
    role: str = "trial"
    variant: str | None = None
    failed: Sequence[int] = ()
    """Seeds whose run diverged."""
    unstarted: Sequence[int] = ()
    running: Sequence[int] = ()
    beside: Mapping[str, float] = field(default_factory=dict)
    """Further results, as what each is above Recall@1 on test classes."""
    sentences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """``remarks`` and ``alarms`` of its runs."""
    torch: Mapping[int, str] = field(default_factory=dict)
    """Seed -> the version of torch that trained it, where it is another one."""
    facts: Mapping[int, Mapping[str, JsonValue]] = field(default_factory=dict)
    """Seed -> facts that are others; None for one that is not recorded."""


def momentum() -> list[Made]:
    """The study of the README: four values, the first is the baseline, two controls."""
    key = "method.teacher_momentum"
    levels = {0.0: 0.581, 0.9: 0.612, 0.99: 0.604, 0.999: 0.552}
    made = [
        Made(f"teacher_momentum={value:g}", level, {key: value}, "trial" if value else "baseline")
        for value, level in levels.items()
    ]
    return [*made, *controls()]


def controls() -> list[Made]:
    return [Made("raw pixels", 0.418, role="control"), Made("untrained", 0.461, role="control")]


def make_study(
    results: Path,
    made: Sequence[Made],
    *,
    study: str = "momentum",
    question: str = "How slowly should the teacher follow the student?",
    seeds: int = 5,
    sampler: str = "grid",
    spec: Mapping[str, JsonValue] | None = None,
    with_clusters: bool = True,
) -> Path:
    """Write spools and a study record, make the database of them, and return the folder."""
    trials = [_trial(study, number, one, sampler) for number, one in enumerate(made)]
    members = []
    for trial, one in zip(trials, made, strict=True):
        for seed in range(seeds):
            run = _run(trial, seed)
            members.append(study_record.Member(trial.trial_id, seed, run.run_id))
            if seed not in one.unstarted:
                _write_run(results, run, one, seed, with_clusters)
    study_record.write_study_record(
        results,
        study_record.StudyRecord(
            study=study,
            question=question,
            metric="recall@1",
            sampler=sampler,
            spec=spec or _spec(study, question, made, seeds),
            fingerprint="0123456789ab",
            created=TIME,
            updated=TIME,
            command=f"harness run studies/{study}.yaml",
            versions={"duckdb": "1.4.0", "torch": "2.11.0"},
            trials=tuple(trials),
            members=tuple(members),
        ),
    )
    rebuild.rebuild(results)
    return results


def value_of(one: Made, seed: int, split: str, k: int) -> float:
    """What a run of the synthetic study reaches; a seed lifts or lowers all trials alike."""
    shared = random.Random(f"seed {seed}").gauss(0, 0.012)
    own = random.Random(f"{one.label} {seed} {split}").gauss(0, 0.006)
    level = one.level + (0.03 if split == "val" else 0.0) + shared + own
    return 1 - (1 - level) ** (1 + 0.5 * math.log2(k))


def _trial(study: str, number: int, one: Made, sampler: str) -> Trial:
    return Trial(
        study=study,
        number=number,
        label=one.label,
        phase="confirm" if sampler == "grid" else "search",
        role=one.role,  # type: ignore[arg-type]  # one of the three
        variant=one.variant,
        varied=dict(one.varied),
        params={"label": one.label, **one.varied},
    )


def _run(trial: Trial, seed: int) -> Run:
    return Run(
        workload="toy_workload",
        params=dict(trial.params),
        seed=seed,
        test=trial.phase == "confirm",
        code="c0de" * 4,
        data="da7a" * 4,
    )


def _write_run(results: Path, run: Run, one: Made, seed: int, with_clusters: bool) -> None:
    directory = folders.run_dir(results, run.run_id)
    work = directory / "work"
    if work.exists():  # another study has this run too
        return
    work.mkdir(parents=True)
    facts = {"device": "cpu", "number_format": "bfloat16", **one.sentences}
    facts |= one.facts.get(seed, {})
    (work / "facts.json").write_text(json.dumps(facts))
    events: list[Started | EpochReported | Finished] = [
        Started(
            attempt=1,
            time=TIME,
            run=run,
            host="a-host",
            pid=1,
            threads=1,
            commit="f00d" * 10,
            dirty=True,
            versions={"duckdb": "1.4.0", "torch": one.torch.get(seed, "2.11.0")},
        )
    ]
    is_trained = one.role != "control"
    if is_trained:
        last = EPOCHS // 2 if seed in (*one.failed, *one.running) else EPOCHS
        events += [
            EpochReported(1, TIME, epoch, _metrics(one, seed, epoch)) for epoch in range(last)
        ]
    if seed in one.failed:
        message, stderr = "loss is nan at epoch 3", "Traceback\n<b>nan</b> & more"
        events.append(Finished(1, TIME, "failed", "diverged", message, 4.5, 300.0, stderr=stderr))
    elif seed not in one.running:
        if is_trained and with_clusters:
            _write_clusters(work / "tables", one, seed)
        results_of = _results(one, seed, run.test)
        seconds = 12.5 + seed if is_trained else 0.8
        events.append(
            Finished(1, TIME, "done", seconds=seconds, peak_mib=512.0 + seed, results=results_of)
        )
    # One write instead of spool.append's sync a line: nothing here has to survive a crash.
    lines = [json.dumps(to_json(event)) + "\n" for event in events]
    (directory / "spool.jsonl").write_text("".join(lines))


def _metrics(one: Made, seed: int, epoch: int) -> dict[str, float]:
    fade = math.exp(-epoch / 3)
    noise = random.Random(f"{one.label} {seed} {epoch}").gauss(0, 0.02)
    terms = {"loss/metric": 0.4 + fade + noise, "loss/group": 0.2 + 0.5 * fade - noise / 2}
    recall = value_of(one, seed, "val", 1) * (1 - 0.4 * fade) + noise / 4
    return {"loss": sum(terms.values()), **terms, "val/recall@1": recall, "learning_rate": 1e-3}


def _write_clusters(folder: Path, one: Made, seed: int) -> None:
    folder.mkdir()
    draw = random.Random(f"{one.label} {seed} clusters")
    rows = []
    for epoch in range(EPOCHS):
        steep = 0.4 + 0.12 * epoch
        for cluster in range(40):
            size = max(1, round(60 * (cluster + 1) ** -steep * draw.uniform(0.8, 1.2)))
            row = {"epoch": epoch, "cluster": cluster, "size": size, "group": cluster // 10}
            rows.append(json.dumps({**row, "purity": min(1.0, 0.4 + 0.05 * epoch)}))
    (folder / "clusters.jsonl").write_text("\n".join(rows) + "\n")


def _results(one: Made, seed: int, test: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    for split in ("val", "test") if test else ("val",):
        for k in (1, 2, 4, 8):
            found[f"{split}/recall@{k}"] = value_of(one, seed, split, k)
        found[f"{split}/nmi"] = value_of(one, seed, split, 1) - 0.1
        found[f"{split}/queries"], found[f"{split}/dropped"] = 480.0, 0.0
    for name, above in one.beside.items():
        found[name] = value_of(one, seed, "test", 1) + above
    return found


def _spec(study: str, question: str, made: Sequence[Made], seeds: int) -> dict[str, JsonValue]:
    grids: dict[str, list[JsonValue]] = {}
    for one in made:
        for key, value in one.varied.items():
            if key != "variant" and value not in grids.setdefault(key, []):
                grids[key].append(value)
    return {
        "study": study,
        "question": question,
        "workload": "toy_workload",
        "base": {"data": {"name": "strokes"}, "method": {"name": "gcudml", "clusters": 120}},
        "search": {key: {"grid": grid, "uniform": None} for key, grid in grids.items()},
        "variants": {one.variant: {} for one in made if one.variant},
        "seeds": seeds,
        "metric": "recall@1",
    }
