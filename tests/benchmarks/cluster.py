"""Nodes of a Ray cluster killed at random moments, and whether studies end in the same tables.

    python tests/benchmarks/cluster.py [--kills 20] [--study studies/momentum.yaml] [--write]

Two nodes of two processors on this machine. First a study of formulas, so many times with a node
killed somewhere in it; then the study file with real training, a node killed when both have a
checkpoint, against the same study on processes of this machine. Needs the extra ``[ray]``.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from kept import ROOT, keep

sys.path[:0] = [str(ROOT / "tests" / "fixtures"), str(ROOT / "tests" / "fixtures" / "workloads")]

from subject import GRID, Subject  # noqa: E402  the line above finds it
from waiting import assert_soon  # noqa: E402

from harness.store.database import query  # noqa: E402

RECALL = (
    "SELECT label, seed, split, k, recall FROM recall JOIN member USING (run_id)"
    " JOIN trial USING (trial_id) ORDER BY ALL"
)
HOUR_S = 3600.0


class Nodes:
    """Two nodes that can be killed, beside a head that runs nothing."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address
        self._nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]

    def kill(self, which: int) -> None:
        """Kill every process of a node, then put another in its place."""
        self._cluster.remove_node(self._nodes[which])
        self._nodes[which] = self._cluster.add_node(num_cpus=2)


@contextmanager
def nodes() -> Iterator[Nodes]:
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    timing = {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 300,
        "health_check_failure_threshold": 3,
    }
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": timing}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield Nodes(cluster)
    cluster.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--study", default="studies/momentum.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, nodes() as cluster:
        figures = killed(Path(name), arguments.kills, cluster)
        study = ROOT / arguments.study
        figures |= trained(Path(name), study, arguments.overrides, cluster)
    for figure, value in figures.items():
        print(f"{figure:56} {value}")
    if arguments.write:
        keep("cluster", figures=figures, study=arguments.study, overrides=arguments.overrides)


def killed(folder: Path, kills: int, cluster: Nodes) -> dict[str, int | bool]:
    """How many studies of formulas lost a node in time, and how many ended in the same tables."""
    moments = random.Random("ray node")
    study = GRID.replace("held", "quadratic")  # the nodes get one module
    whole = Subject(folder / "whole", study)
    whole.finish()
    hit = same = calls = 0
    place = ("--executor", "ray", "--address", cluster.address)
    for number in range(kills):
        subject = Subject(folder / f"node{number}", study)
        at_line, process = moments.randrange(1, 7 * 32), subject.start(*place)
        assert_soon(partial(has_come_to, at_line, subject, process), timeout_s=HOUR_S)
        hit += process.poll() is None
        cluster.kill(moments.randrange(2))
        _, error = process.communicate()
        assert "Traceback" not in error, error
        calls = max(calls, subject.finish(*place))
        same += subject.tables() == whole.tables()
        print(f"node killed at line {at_line}: {same} of {number + 1} the same", flush=True)
    return {
        "ray node killed: times": hit,
        "ray node killed: same tables": same,
        "ray node killed: most calls until done": calls + 1,
    }


def has_come_to(at_line: int, subject: Subject, process: subprocess.Popen[str]) -> bool:
    """Whether the spools have so many lines, or the study has ended before."""
    return subject.lines() >= at_line or process.poll() is not None


def trained(
    folder: Path, study: Path, overrides: list[str], cluster: Nodes
) -> dict[str, int | bool]:
    """Whether real training on two nodes, one of them killed, ends in the same ``recall``."""
    alone, shared = folder / "alone", folder / "shared"
    given = [part for override in overrides for part in ("--set", override)]

    def start(results: Path, *more: str) -> subprocess.Popen[bytes]:
        options = ["--results", str(results), "--reports", str(folder), "--threads", "1", *more]
        command = [sys.executable, "-m", "harness", "run", str(study), *given, *options]
        return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})

    assert start(alone, "--workers", "2").wait() == 0
    # What the nodes have, they are sent.
    process = start(shared, "--executor", "ray", "--address", cluster.address)

    def checkpoints() -> int:
        return len(list(shared.glob("runs/*/work/checkpoint*")))

    assert_soon(lambda: checkpoints() >= 2 or process.poll() is not None, timeout_s=HOUR_S)
    hit = process.poll() is None
    cluster.kill(0)
    assert process.wait() == 0
    attempts = query(shared, "SELECT max(attempts) FROM run").rows
    recalls = [query(results, RECALL).rows for results in (alone, shared)]
    return {
        "training: a node killed": hit,
        "training: most attempts of a run": int(str(attempts[0][0])),
        "training: rows of recall": len(recalls[0]),
        "training: the same recall": recalls[0] == recalls[1],
    }


if __name__ == "__main__":
    main()
