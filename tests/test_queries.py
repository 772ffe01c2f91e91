"""Recall@K of a whole study follows from its queries by SQL, bit by bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from driver_place import Place
from test_benchmarks import write_inshop

from harness import store

AGREEMENT = """
SELECT recall.k, recall.recall,
    count(*) FILTER (first_hit <= recall.k) / count(*) FILTER (NOT queries.dropped) AS by_query,
    count(*) FILTER (NOT queries.dropped) = any_value(recall.queries) AS counted,
    count(*) FILTER (queries.dropped) = any_value(recall.dropped) AS dropped
FROM recall JOIN queries USING (run_id)
WHERE split = 'test'
GROUP BY run_id, recall.k, recall.recall
"""
HEAD = """
study: small
question: Which one finds more?
workload: gcudml.workload
base:
  model: {width: 8, embedding_dim: 8, wide_dim: 12}
  method: {name: gcudml, clusters: 8, groups: 2}
  train: {epochs: 2, batch_size: 16, images_per_cluster: 4, number_format: fp32, memory_layout: contiguous}
"""


def run_study(tmp_path: Path, data: str, rest: str) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(f"{HEAD}  data: {data}\n{rest}", encoding="utf-8")
    return path
