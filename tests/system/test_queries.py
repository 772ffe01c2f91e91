"""Recall@K of a whole study follows from its queries by SQL, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from driver_place import Place
from published_layouts import write_inshop

from harness.report.study_page import write_report

AGREEMENT = """
SELECT
    k, recall.recall AS of_the_run,
    count(*) FILTER (first_hit <= k) / count(*) FILTER (NOT queries.dropped) AS of_its_queries,
    count(*) FILTER (NOT queries.dropped) = any_value(recall.queries)
        AND count(*) FILTER (queries.dropped) = any_value(recall.dropped)
FROM recall JOIN queries USING (run_id)
WHERE split = 'test'
GROUP BY run_id, k, recall.recall
"""
FEWER_CLASSES = """
SELECT split, recall.recall AS of_the_run, drawn.recall AS among_all_classes
FROM recall JOIN recall_by_classes AS drawn USING (run_id, split)
WHERE k = 1 AND drawn.classes = drawn.of_classes
"""
STUDY = """
study: small
question: Which one finds more?
workload: gcudml.workload
base:
  data: {data}
  model: {{width: 8, embedding_dim: 8, wide_dim: 12}}
  method: {method}
  train: {{epochs: 2, batch_size: 8, images_per_cluster: 2, number_format: fp32, memory_layout: contiguous}}
  evaluate: {{k: [1, 2, 3, 7], map_at_r: false}}
search:
  train.learning_rate: {{grid: [1e-3, 1e-2]}}
seeds: 1
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCUDML_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("data", ["strokes", "inshop"])
def test_recall_follows_from_the_queries_of_every_run(tmp_path: Path, data: str) -> None:
    place = Place(tmp_path)
    given, method = (
        "{name: strokes, classes: 16, images_per_class: 8}",
        "{name: gcudml, clusters: 4, groups: 2}",
    )
    if data == "inshop":
        write_inshop(tmp_path / "images")
        root = tmp_path / "images"
        given = f"{{name: inshop, root: '{root}', image_size: 16, protocol: published}}"
        method = "{name: instance}"
    place.run(STUDY.format(data=given, method=method))
    assert place.ask("SELECT DISTINCT state, message FROM run") == [("done", None)]
    rows = place.ask(AGREEMENT)
    assert len(rows) == 4 * place.ask("SELECT count(DISTINCT run_id) FROM member")[0][0]
    assert [row for row in rows if row[1] != row[2] or not row[3]] == []
    assert any(0 < float(str(recall)) < 1 for _, recall, _, _ in rows)
    among_all = place.ask(FEWER_CLASSES)
    assert [row for row in among_all if row[1] != row[2]] == []
    assert {split for split, *_ in among_all} == (
        {"val", "test"} if data == "strokes" else {"test"}
    )
    if data == "strokes":
        page = write_report(place.results, "small", tmp_path).read_text(encoding="utf-8")
        assert "<h2>Retrieval</h2>" in page
        assert "data:image/webp;base64,UklGR" in page
