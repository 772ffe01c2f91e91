"""A run's folder on another machine: what travels, and in which order."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import toy_workload

from harness.errors import StoreError
from harness.executors.interface import Job
from harness.executors.ray.folder_sync import changes, put, stamps
from harness.executors.ray.node import NodeRun, Order, Seen, is_end
from harness.records.folders import work_dir
from harness.records.provenance import GitState
from harness.records.trial import Run


def write(path: Path, text: str, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (at, at))


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in stamps(folder)}


def test_only_what_has_changed_travels_the_newest_first(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here / "tables" / "clusters.jsonl", "1", at=10)
    write(here / "checkpoint", "a", at=20)
    write(here / "draft", "x", at=5)
    first = changes(here, {})
    assert list(first.contents) == ["checkpoint", "tables/clusters.jsonl", "draft"]
    put(there, first)
    assert texts(there) == texts(here)
    assert stamps(there) == stamps(here)
    write(here / "checkpoint", "b", at=30)
    (here / "draft").unlink()
    second = changes(here, stamps(there))
    assert list(second.contents) == ["checkpoint"]
    put(there, second)
    assert texts(there) == {"tables/clusters.jsonl": "1", "checkpoint": "b"}
    assert changes(here, stamps(there)).contents == {}


def test_the_checkpoint_is_put_in_place_last(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    write(here / "rows", "1", at=10)
    write(here / "checkpoint", "a", at=20)
    (there / "rows" / "folder").mkdir(parents=True)  # the rows cannot be put there
    with pytest.raises(StoreError, match="rows: cannot write"):
        put(there, changes(here, {}))
    assert not (there / "checkpoint").exists()


@pytest.mark.process
def test_the_end_of_an_attempt_comes_with_the_last_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = Run("toy_workload", toy_workload.check({}), 0, True, "code", "data")
    job = Job(run, run.run_id, Path("elsewhere"), attempt=1, threads=1)
    order = Order(job.to_json(), "toy_workload", GitState("abc", False), b"", changes(tmp_path, {}))
    node = NodeRun(order)
    seen, spool = Seen(spool=0), b""
    deadline = time.monotonic() + 15.0
    while (news := node.news(seen, 0.1)).ended is None and time.monotonic() < deadline:
        assert not any(is_end(line) for line in news.spool.splitlines())
        spool += news.spool
        seen = Seen(len(spool), 0, news.work.present)
    lines = (spool + news.spool).splitlines()
    assert [is_end(line) for line in lines] == [False, False, False, False, True]
    assert b'"commit":"abc"' in lines[0]
    assert news.work.present.keys() == {"facts.json", "tables/clusters.jsonl"}
    assert node.news(seen, 0.0).spool == news.spool  # asked twice, told twice
    (folder,) = tmp_path.iterdir()
    assert work_dir(folder).is_dir()
    node.clear()
    assert list(tmp_path.iterdir()) == []
