"""A run is followed from where it was last read, and from the start where its spool is another."""

from __future__ import annotations

from pathlib import Path

from store_examples import ID, RUN, done, reported, start

from harness.records.event_log import append
from harness.records.folders import run_dir, spool_path
from harness.records.run_state import RunReader, RunState


def test_each_read_gives_what_is_new_and_the_state_of_all(tmp_path: Path) -> None:
    run = RunReader(tmp_path, ID, watched="loss")
    assert run.read().entries == ()
    assert (run.state, run.offset) == (RunState(), 0)
    path = spool_path(run_dir(tmp_path, ID))
    append(path, start(RUN))
    append(path, reported(0, loss=0.5))
    assert len(run.read().entries) == 2
    append(path, done(test__recall_at_1=0.5))
    assert run.read().entries == (done(test__recall_at_1=0.5),)
    assert (run.state.state, run.state.curve) == ("done", {0: 0.5})
    assert run.offset == path.stat().st_size


def test_a_spool_that_was_replaced_is_read_from_its_start(tmp_path: Path) -> None:
    run = RunReader(tmp_path, ID)
    path = spool_path(run_dir(tmp_path, ID))
    append(path, start(RUN))
    append(path, done(test__recall_at_1=0.5))
    run.read()
    path.unlink()
    append(path, start(RUN))
    assert run.read().is_from_start
    assert run.state.state == "running"
