"""What a page costs: to write, to hold, to open.

    python tests/benchmarks/report.py [--only thousand ten_thousand] [--stores DIR] [--write]

Synthetic stores of 1,000 and of 10,000 runs of 100 epochs, with eight losses and metrics an epoch,
nine measures on two splits, clusters in a tenth of the runs, and in each of 1,000 runs 100 queries, of which
48 have pictures, and a map of 600 images with pictures of the size of photographs. A page is written by a process of
its own, whose time and largest memory are told, imports included. ``interactive``: from opening the
file in Chromium to the first choice of another measure that is drawn. Prints a table; ``--write``
keeps it in ``tests/benchmarks/results/report.json``. ``--stores`` keeps the stores, which take longer
to make than to report, and takes up those that are there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np
from kept import ROOT, keep
from PIL import Image

from harness.records import folders
from harness.records.events import EpochReported, Finished, Started, to_json
from harness.records.studies import study_record
from harness.records.trial import Run, Trial
from harness.store import database, rebuild

EPOCHS = 100
TIME = "2025-01-02T03:04:05.000000+00:00"
CLUSTERS, CLUSTERED_EPOCHS = 100, 10
IMAGES, QUERIES, SHOWN_QUERIES = 600, 100, 48
WRITE = """
import re, sys
from pathlib import Path
from harness.report.study_page import write_report
print(write_report(Path(sys.argv[1]), "large", Path(sys.argv[2])).stat().st_size)
# Not getrusage: it starts with the memory of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--stores", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for section in arguments.only:
            figures |= SECTIONS[section](arguments.stores or Path(name))
    for figure, value in figures.items():
        print(f"{figure:48} {value:10}  {GOALS.get(figure, '')}")
    if arguments.write:
        keep("report", figures=figures, goals=GOALS)


def thousand_figures(folder: Path) -> dict[str, float]:
    """20 x 10 trials with 5 seeds: heat maps, dots and curves."""
    results = make_store(folder / "thousand", across=20, down=10, seeds=5, has_pictures=True)
    seconds, size, mib = write_page(results, folder / "pages")
    found = {
        "1,000 runs: s of the page": seconds,
        "1,000 runs: MiB of the process": mib,
        "1,000 runs: MB of the page": round(size / 1e6, 2),
    }
    opened = interactive_s(folder / "pages" / "large.html")
    return found if opened is None else found | {"1,000 runs: s until interactive": opened}


def ten_thousand_figures(folder: Path) -> dict[str, float]:
    """50 x 20 trials with 10 seeds."""
    results = make_store(folder / "ten_thousand", across=50, down=20, seeds=10)
    seconds, size, mib = write_page(results, folder / "pages")
    return {
        "10,000 runs: s of the page": seconds,
        "10,000 runs: MiB of the process": mib,
        "10,000 runs: MB of the page": round(size / 1e6, 2),
    }


def write_page(results: Path, pages: Path) -> tuple[float, int, int]:
    """Seconds, bytes and MiB of a whole process; the median of three by time."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    found = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", WRITE, str(results), str(pages)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        size, mib = done.stdout.split()
        found.append((round(time.perf_counter() - began, 2), int(size), int(mib)))
    return sorted(found)[1]


def interactive_s(page: Path) -> float | None:
    """Median of three openings; None without Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    times = []
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=flags)
        for _ in range(3):
            tab = browser.new_context(offline=True).new_page()
            began = time.perf_counter()
            tab.goto(page.as_uri(), assert_soon="commit")
            tab.locator('.choice input[name="measure-plot"][value="recall@4"]').check()
            tab.locator("#ablation-0", has_text="Recall@4, test classes").wait_for()
            times.append(time.perf_counter() - began)
            tab.context.close()
        browser.close()
    return round(median(times), 2)


def make_store(
    results: Path, *, across: int, down: int, seeds: int, has_pictures: bool = False
) -> Path:
    """Write spools and a study record, and make the database of them."""
    if database.database_path(results).exists():
        return results
    pictures = make_pictures(results / "pictures") if has_pictures else []
    trials, members = [], []
    for number in range(across * down):
        x, y = number % across, number // across
        trial = _trial(number, x, y)
        trials.append(trial)
        for seed in range(seeds):
            run = Run("large_workload", trial.params, seed, True, "c0de" * 4, "da7a" * 4)
            members.append(study_record.Member(trial.trial_id, seed, run.run_id))
            _write_run(results, run, 0.5 + x / 500 - (y - down / 2) ** 2 / 2000, seed, number)
            is_near_the_best = x > across - 4 and abs(y - down / 2) < 2
            write_seen(
                folders.run_dir(results, run.run_id) / "work",
                pictures,
                f"{number} {seed}",
                has_files=number == 0 or is_near_the_best,
            )
    grid = {"method.clusters": list(range(across)), "method.groups": list(range(down))}
    study_record.write_study_record(
        results,
        study_record.StudyRecord(
            study="large",
            question="Is it quick?",
            metric="recall@1",
            sampler="grid",
            spec={"study": "large", "search": {key: {"grid": at} for key, at in grid.items()}},
            fingerprint="0123456789ab",
            created=TIME,
            updated=TIME,
            command="harness run studies/large.yaml",
            versions={"torch": "2.11.0"},
            trials=tuple(trials),
            members=tuple(members),
        ),
    )
    rebuild.rebuild(results)
    return results


def make_pictures(folder: Path) -> list[Path]:
    """Pictures of 64 pixels, smooth like photographs and all different."""
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
        grain = draw.normal(0, 8, (64, 64, 3))
        pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.webp", quality=70)
    return sorted(folder.glob("*.webp"), key=lambda path: int(path.stem))


def write_seen(work: Path, pictures: list[Path], seed: str, *, has_files: bool) -> None:
    """What a run leaves for the gallery and the map.

    Picture files are shared, as a workload's are, and only there for runs that a page may show.
    """
    if not pictures:
        return
    draw = random.Random(seed)
    (work / "images").mkdir()
    for path in pictures if has_files else ():
        os.link(path, work / "images" / path.name)
    names = [f"images/{path.name}" for path in pictures]
    queries, points = [], []
    for image in range(QUERIES):
        found = draw.sample(range(IMAGES), 8)
        row = {
            "image": image,
            "label": f"class {image % 20}",
            "file": f"{image}.png",
            "dropped": False,
            "first_hit": draw.randint(1, 3),
            "neighbours": found,
            "neighbour_labels": [f"class {each % 20}" for each in found],
            "similarities": sorted((round(draw.random(), 4) for _ in found), reverse=True),
        }
        if image < SHOWN_QUERIES:
            row |= {"picture": names[image], "neighbour_pictures": [names[each] for each in found]}
        queries.append(json.dumps(row) + "\n")
    for image in range(IMAGES):
        place = {"x": draw.gauss(0, 1), "y": draw.gauss(0, 1)}
        own = {"image": image, "label": f"class {image % 20}", "file": f"{image}.png"}
        points.append(json.dumps(own | place | {"picture": names[image]}) + "\n")
    (work / "tables" / "queries.jsonl").write_text("".join(queries))
    (work / "tables" / "projection.jsonl").write_text("".join(points))


def _trial(number: int, x: int, y: int) -> Trial:
    return Trial(
        study="large",
        number=number,
        label=f"clusters={x}, groups={y}",
        phase="confirm",
        role="trial" if number else "baseline",
        variant=None,
        varied={"method.clusters": x, "method.groups": y},
        params={"method": {"clusters": x, "groups": y}},
    )


def _write_run(results: Path, run: Run, level: float, seed: int, number: int) -> None:
    draw = random.Random(f"{number} {seed}")
    directory = folders.run_dir(results, run.run_id)
    work = directory / "work"
    (work / "tables").mkdir(parents=True)
    facts = {"device": "cpu", "chosen_epoch": 90 + seed}
    (work / "facts.json").write_text(json.dumps(facts))
    if number < 10:  # the baseline is among them
        rows = [
            json.dumps(
                {"epoch": epoch, "cluster": c, "size": 99 - c, "purity": 0.5, "group": c // 25}
            )
            for epoch in range(CLUSTERED_EPOCHS)
            for c in range(CLUSTERS)
        ]
        (work / "tables" / "clusters.jsonl").write_text("\n".join(rows) + "\n")
    started = Started(
        attempt=1,
        time=TIME,
        run=run,
        host="a-host",
        pid=1,
        threads=1,
        commit="f00d" * 10,
        dirty=False,
        versions={"torch": "2.11.0"},
    )
    shift = random.Random(seed).gauss(0, 0.01) + draw.gauss(0, 0.005)
    found = {}
    for split, above in (("val", 0.03), ("test", 0.0)):
        for k in (1, 2, 4, 8):
            found[f"{split}/recall@{k}"] = 1 - (1 - level - above - shift) ** (1 + math.log2(k) / 2)
        for name in ("map@r", "r_precision", "nmi", "ami", "view_recall@1"):
            found[f"{split}/{name}"] = level + shift + draw.gauss(0, 0.01)
    for k in (1, 2, 4, 8):
        found[f"test/recall@{k}_last_epoch"] = found[f"test/recall@{k}"] - 0.01
    events: list[Started | EpochReported | Finished] = [started]
    for epoch in range(EPOCHS):
        loss = math.exp(-epoch / 30) + draw.gauss(0, 0.01)
        metrics = {"loss": 4 * loss, "learning_rate": 1e-3 * (1 - epoch / EPOCHS)}
        metrics |= {
            f"loss/{term}": loss for term in ("metric", "group", "collaborative", "distill")
        }
        metrics |= {"val/recall@1": level * (1 - loss / 4), "teacher_distance": loss / 10}
        events.append(EpochReported(1, TIME, epoch, metrics))
    events.append(Finished(1, TIME, "done", seconds=60.0, peak_mib=700.0, results=found))
    lines = [json.dumps(to_json(event)) + "\n" for event in events]
    (directory / "spool.jsonl").write_text("".join(lines))


SECTIONS: Mapping[str, Callable[[Path], dict[str, float]]] = {
    "thousand": thousand_figures,
    "ten_thousand": ten_thousand_figures,
}
GOALS = {
    "1,000 runs: s of the page": "under 10",
    "1,000 runs: MiB of the process": "under 1024",
    "1,000 runs: MB of the page": "under 8",
    "1,000 runs: s until interactive": "under 3",
    "10,000 runs: s of the page": "under 60",
}


if __name__ == "__main__":
    main()
