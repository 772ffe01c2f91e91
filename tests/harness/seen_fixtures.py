"""Queries, maps and pictures as a workload leaves them, for the tests of the gallery and the map."""

from __future__ import annotations

import json
import random
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from report_fixtures import Made, make_study

from harness.records import folders
from harness.report.data.load import load_tables
from harness.store import rebuild

CLASSES = 15
OF_A_CLASS = 4
IMAGES = CLASSES * OF_A_CLASS
WITH_PICTURES = range(0, IMAGES, 3)
"""Queries that have pictures."""


def png(shade: int) -> bytes:
    """A picture of 8 x 8 pixels of one grey."""
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    lines = zlib.compress((b"\0" + bytes([shade]) * 8) * 8)
    chunks = ((b"IHDR", header), (b"IDAT", lines), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def label_of(image: int, names: Mapping[int, str]) -> str:
    number = image // OF_A_CLASS
    return names.get(number, f"class {number:02d}")


def make_seen_study(
    results: Path, made: Sequence[Made], *, names: Mapping[int, str] | None = None, seeds: int = 2
) -> Path:
    """A study whose trained runs have written queries, a map, and pictures.

    A run gets a query right with a chance of its trial's level. ``names``: other names of classes.
    """
    make_study(results, made, seeds=seeds, with_clusters=False)
    tables = load_tables(results, "momentum")
    levels = {
        trial.trial_id: one.level
        for trial in tables.trials
        for one in made
        if one.label == trial.label
    }
    controls = {trial.trial_id for trial in tables.trials if trial.is_control}
    for run in tables.runs:
        if run.state == "done" and run.trial_id not in controls:
            work = folders.work_dir(folders.run_dir(results, run.run_id))
            _write(work, levels[run.trial_id], f"{run.trial_id} {run.seed}", names or {})
    rebuild.rebuild(results)
    return results


def _write(work: Path, level: float, key: str, names: Mapping[int, str]) -> None:
    draw = random.Random(key)
    rows = []
    for image in range(IMAGES):
        own, other = (image // OF_A_CLASS) * OF_A_CLASS, (image + OF_A_CLASS) % IMAGES
        same = [each for each in range(own, own + OF_A_CLASS) if each != image]
        strange = [(other + step) % IMAGES for step in range(8 - len(same))]
        is_right = draw.random() < level
        found = same + strange if is_right else strange[:2] + same + strange[2:]
        row = {
            "image": image,
            "label": label_of(image, names),
            "dropped": False,
            "first_hit": 1 if is_right else 3,
            "neighbours": found,
            "neighbour_labels": [label_of(each, names) for each in found],
            "similarities": [round(0.95 - 0.03 * place, 4) for place in range(8)],
        }
        if image in WITH_PICTURES:
            row["picture"] = f"images/{image}.png"
            row["neighbour_pictures"] = [f"images/{each}.png" for each in found]
        rows.append(row)
    points = [
        {"image": image, "label": label_of(image, names), "x": draw.gauss(image % 5, 1),
         "y": draw.gauss(0, 1), "picture": f"images/{image}.png"}
        for image in range(IMAGES)
    ]  # fmt: skip
    for table, content in (("queries", rows), ("projection", points)):
        path = work / "tables" / f"{table}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    (work / "images").mkdir()
    for image in range(IMAGES):
        (work / "images" / f"{image}.png").write_bytes(png(4 * image))
