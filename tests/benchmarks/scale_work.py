"""The pieces of work that ``scale.py`` measures, each in a process of its own.

    python tests/benchmarks/scale_work.py WORK N [QUERIES]

Prints what it measured as JSON: seconds, and megabytes beyond what was there before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from metrics import peak_mib
from report import make_store
from torch import Tensor
from torch.nn import functional as F

from gcudml.config import StrokesData
from gcudml.config.fields import Search
from gcudml.data.datasets import ImageSet
from gcudml.evaluation import query_log
from gcudml.evaluation.retrieval import FEWEST_KEPT, Hits, retrieve
from gcudml.neighbours.kmeans import spherical_kmeans
from gcudml.neighbours.search import search_in_blocks
from harness.report.study_page import write_report
from harness.store import rebuild

DIM, LATENT = 128, 16
CLASS_SIZE = 50
NOISE = 0.75
"""Of points round their centres: some neighbours are of another class, as with trained networks."""
K = 8
ASKED = 2000
"""Queries by which an index is compared with exact search."""
BLOCK = 100
Measured = dict[str, float]


def main() -> None:
    name, size, *rest = sys.argv[1:]
    if name in PARTS:
        print(json.dumps(PARTS[name](Path(rest[0]))))
    else:
        print(json.dumps(WORK[name](int(size), int(rest[0]) if rest else None)))


def embeddings(size: int) -> tuple[Tensor, Tensor]:
    """Points round their classes' centres near a space of few dimensions, and the classes."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(size) // CLASS_SIZE  # in order, as data sets are
    centres = torch.randn(size // CLASS_SIZE + 1, LATENT, generator=generator)
    wide = torch.randn(LATENT, DIM, generator=generator)
    z = torch.empty(size, DIM)
    for start in range(0, size, 4096):  # no second copy of all, which memory would count
        part = labels[start : start + 4096]
        spread = NOISE * torch.randn(len(part), LATENT, generator=generator)
        beside = 0.3 * torch.randn(len(part), DIM, generator=generator)
        z[start : start + 4096] = F.normalize((centres[part] + spread) @ wide + beside, dim=1)
    return z, labels


def some(size: int, asked: int | None) -> Tensor | None:
    """Indices of ``asked`` rows that are spread over all; None for all."""
    return None if asked is None else torch.linspace(0, size - 1, asked).long()


@contextmanager
def costs(into: Measured, prefix: str = "") -> Iterator[None]:
    """Notes time and the largest memory of a block; Linux tells the latter."""
    Path("/proc/self/clear_refs").write_text("5")
    before, started = peak_mib(), time.perf_counter()
    yield
    into[f"{prefix}seconds"] = time.perf_counter() - started
    into[f"{prefix}mib"] = peak_mib() - before


def clustering(size: int, asked: int | None) -> Measured:
    """k-means with N/10 clusters."""
    z, _ = embeddings(size)
    spherical_kmeans(z[:200], 20, seed=0)  # libraries are loaded
    found: Measured = {}
    with costs(found):
        spherical_kmeans(z, size // 10, seed=0)
    return found


def neighbours(size: int, asked: int | None) -> Measured:
    """The table of K neighbours of all images, or of some."""
    z, _ = embeddings(size)
    list(search_in_blocks(z[:200], K))
    found: Measured = {}
    with costs(found):
        torch.cat([each.nearest for each in search_in_blocks(z, K, queries=some(size, asked))])
    return found


def evaluation(size: int, asked: int | None) -> Measured:
    """Recall@K, MAP@R and R-precision of all images, or of some against the rest."""
    z, labels = embeddings(size)
    retrieve(z[:200], labels[:200], k=[1, 2, 4, 8])
    is_query = None
    if asked is not None:
        is_query = torch.zeros(size, dtype=torch.bool)
        is_query[some(size, asked)] = True
    found: Measured = {}
    with costs(found):
        retrieve(z, labels, k=[1, 2, 4, 8], is_query=is_query)
    return found


def index(size: int, search: Search) -> Measured:
    """What an index costs, and what it misses, by the same queries as exact search."""
    z, labels = embeddings(size)
    rows = some(size, min(size, ASKED))
    found: Measured = {}
    with costs(found):
        approximate, build, ms = _searched(z, rows, search)
    exact, _, exact_ms = _searched(z, rows, "exact")
    same = (approximate[:, :, None] == exact[:, None]).any(dim=1).double().mean()
    found |= {"build_s": build, "ms_a_query": ms, "exact_ms_a_query": exact_ms}
    found["found_percent"] = 100 * float(same)
    for k in (1, K):
        ours, truth = (
            float((labels[near[:, :k]] == labels[rows][:, None]).any(dim=1).double().mean())
            for near in (approximate, exact)
        )
        found |= {f"exact_recall@{k}": truth, f"recall@{k}_difference": ours - truth}
    return found


def _searched(z: Tensor, rows: Tensor | None, search: Search) -> tuple[Tensor, float, float]:
    """Neighbours of some rows, seconds until the first block may begin, and ms a query."""
    marks = [time.perf_counter()]
    parts = []
    for block in search_in_blocks(z, K, queries=rows, search=search, block_rows=BLOCK):
        parts.append(block.nearest)
        marks.append(time.perf_counter())
    a_block = float(np.median(np.diff(marks)[1:]))
    return torch.cat(parts), max(0.0, marks[1] - marks[0] - a_block), 1000 * a_block / BLOCK


def report(size: int, asked: int | None) -> Measured:
    """Of runs with N queries: writing the tables, taking two runs' into the database, the page."""
    found: Measured = {}
    with tempfile.TemporaryDirectory() as name:
        os.environ["GCUDML_CACHE"] = f"{name}/cache"
        results = make_store(Path(name) / "results", across=2, down=1, seeds=1)
        first, second = sorted(results.glob("**/work"))
        log = _log_of_queries(first, size)
        source = _images(size)
        z, labels = embeddings(size)
        with patch.object(query_log, "load", lambda *_: source), costs(found, "tables "):
            log.write(z, labels, distance="cosine")
        del z, labels, log
        shutil.copytree(first / "images", second / "images")
        shutil.copy(first / "tables" / "queries.jsonl", second / "tables")
        shutil.copy(first / "tables" / "projection.jsonl", second / "tables")
        found["jsonl_mb"] = (first / "tables" / "queries.jsonl").stat().st_size / 1e6
        for part in ("ingest", "page"):  # what this process has freed would hide what they take
            command = [sys.executable, __file__, part, "0", str(results)]
            of_part = json.loads(subprocess.check_output(command, text=True))
            found |= {f"{part} {key}": value for key, value in of_part.items()}
    return found


def ingest(results: Path) -> Measured:
    """The database of a results folder, made anew."""
    found: Measured = {}
    with costs(found):
        rebuild.rebuild(results)
    return found


def page(results: Path) -> Measured:
    """The report of its study."""
    found: Measured = {}
    with costs(found):
        path = write_report(results, "large", results.parent)
    return found | {"mb": path.stat().st_size / 1e6}


def _log_of_queries(workdir: Path, size: int) -> query_log.QueryLog:
    """As if each row had found those behind it: all but the last of a class have a hit."""
    log = query_log.QueryLog(workdir, StrokesData())
    for rows in torch.arange(size).split(4096):
        nearest = (rows[:, None] + torch.arange(1, FEWEST_KEPT + 1)) % size
        hits = nearest // CLASS_SIZE == rows[:, None] // CLASS_SIZE
        log.keep(Hits(rows, nearest, hits, (~hits[:, 0]).long()))
    return log


def _images(size: int) -> ImageSet:
    """Small pictures that differ, with the names that files have."""
    images = np.zeros((size, 1, 8, 8), np.uint8)
    images[:, 0, 0] = np.arange(size)[:, None] >> np.arange(0, 64, 8) & 255
    labels = np.arange(size) // CLASS_SIZE
    names = tuple(f"class {each:06d}" for each in range(labels[-1] + 1))
    files = tuple(f"class {label:06d}/{image:07d}.jpg" for image, label in enumerate(labels))
    return ImageSet(images, labels, names, files=files)


WORK: dict[str, Callable[[int, int | None], Measured]] = {
    "clustering": clustering,
    "neighbours": neighbours,
    "evaluation": evaluation,
    "ivf": lambda size, _: index(size, "ivf"),
    "hnsw": lambda size, _: index(size, "hnsw"),
    "report": report,
}
PARTS: dict[str, Callable[[Path], Measured]] = {"ingest": ingest, "page": page}
"""Of the report, on a results folder."""


if __name__ == "__main__":
    main()
