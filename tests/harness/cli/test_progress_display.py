"""What a user sees of a running study."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from harness.cli.progress_display import (
    LiveDisplay,
    PlainDisplay,
    counts,
    describe_end,
    open_display,
    picture,
)
from harness.cli.terminal import show_data
from harness.engine.progress import RunLine, Snapshot
from harness.records.run_state import RunState
from harness.units import duration

RUNNING = RunLine(
    "0123456789abcdef",
    "momentum=[bold]0.9",
    3,
    RunState(
        "running",
        attempts=1,
        reported=(0, 1, 7),
        last_metrics={"loss": 1.23456, "val/recall@1": 0.6543},
    ),
)
DONE = RunLine(
    "a" * 16, "momentum=0", 1, RunState("done", results={"val/recall@1": 0.5}, seconds=4)
)
FAILED = RunLine(
    "b" * 16, "momentum=1", 2, RunState("failed", "diverged", "loss is nan in epoch 3", attempts=1)
)


def make_snapshot(**changes: object) -> Snapshot:
    values: dict[str, object] = {
        "study": "momentum",
        "question": "How slow?",
        "metric": "recall@1",
        "total": 20,
        "done": 4,
        "failed": 1,
        "reused": 2,
        "running": (RUNNING,),
        "seconds_left": 185.0,
    }
    return Snapshot(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_name_every_start_and_end() -> None:
    stream = io.StringIO()
    display = PlainDisplay(stream)
    for _ in range(3):
        display.tick(make_snapshot(done=0, failed=0, reused=0, running=(), seconds_left=None))
    display.started(RUNNING, make_snapshot())
    display.ended(DONE, make_snapshot())
    display.ended(FAILED, make_snapshot())
    display.say("a notice")
    assert stream.getvalue().splitlines() == [
        "study momentum: How slow?",
        "0/20 done",
        "start  momentum=[bold]0.9, seed 3  "
        "(4/20 done, 1 failed, 2 reused, 1 running, about 3 min 05 s left)",
        "done   momentum=0, seed 1  val/recall@1 0.5000  4.0 s  "
        "(4/20 done, 1 failed, 2 reused, 1 running, about 3 min 05 s left)",
        "failed momentum=1, seed 2  diverged: loss is nan in epoch 3  "
        "(4/20 done, 1 failed, 2 reused, 1 running, about 3 min 05 s left)",
        "a notice",
    ]


def test_the_picture_has_a_line_for_each_running_run(terminal: Console) -> None:
    terminal.print(picture(make_snapshot()))
    lines = shown(terminal).splitlines()
    assert lines[0].split() == ["momentum", "How", "slow?"]
    assert "4/20 done, 1 failed" in lines[2]
    assert "about 3 min 05 s left" in lines[2]
    assert lines[3].split() == ["trial", "seed", "epoch", "loss", "val/recall@1"]
    assert lines[4].split() == ["momentum=[bold]0.9", "3", "7", "1.2346", "0.6543"]


def test_what_a_terminal_would_obey_is_shown(terminal: Console) -> None:
    line = RunLine("d" * 16, "a\x1b[2Jb\u202e", 0, RunState())
    failed = RunLine("e" * 16, "x", 1, RunState("failed", "crash", "\x1b]0;title\x07\udc80"))
    snapshot = make_snapshot(question="Why\x1b[31m?", running=(line,))
    terminal.print(picture(snapshot))
    stream = io.StringIO()
    plain = PlainDisplay(stream)
    plain.tick(snapshot)
    plain.ended(failed, snapshot)
    with Live(console=terminal, auto_refresh=False) as live:
        LiveDisplay(live).ended(failed, snapshot)
    assert "failed x, seed 1  crash: \\x1b]0;title\\x07\\udc80" in stream.getvalue()
    assert "study momentum: Why\\x1b[31m?" in stream.getvalue()
    assert "a\\x1b[2Jb\\u202e" in shown(terminal)
    for text in (stream.getvalue(), shown(terminal)):
        for obeyed in ("\x1b[2J", "\x1b[31m", "\x1b]0", "\x07", "\u202e"):
            assert obeyed not in text


def test_data_keep_their_bytes_unless_a_terminal_reads_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_data("a\x1bb\tc")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_data("a\x1bb\tc")
    assert capsys.readouterr().out == "a\x1bb\tc\na\\x1bb\tc\n"


def test_a_run_without_an_epoch_has_empty_cells(terminal: Console) -> None:
    line = RunLine("c" * 16, "young", 0, RunState())
    terminal.print(picture(make_snapshot(running=(line,))))
    assert shown(terminal).splitlines()[-1].split() == ["young", "0"]


def test_failures_stay_above_the_picture_and_successes_are_counted(terminal: Console) -> None:
    with Live(console=terminal, auto_refresh=False) as live:
        display = LiveDisplay(live)
        display.started(RUNNING, make_snapshot())
        display.tick(make_snapshot())
        display.ended(DONE, make_snapshot())
        display.ended(FAILED, make_snapshot())
        display.say("notice [red]as it is")
    text = shown(terminal)
    assert "diverged: loss is nan in epoch 3" in text
    assert "notice [red]as it is" in text
    assert "momentum=0, seed 1" not in text


def test_the_stream_decides_on_the_display(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream, open_display(stream) as display:
        assert isinstance(display, PlainDisplay)

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    with open_display(Terminal()) as display:
        assert isinstance(display, LiveDisplay)


def test_nothing_is_foretold_of_a_study_that_is_over() -> None:
    over = make_snapshot(done=20, failed=0, reused=0, running=(), seconds_left=0.0)
    assert counts(over) == "20/20 done"


def test_an_end_without_the_metric_or_a_message_is_still_told() -> None:
    assert describe_end(DONE, "nmi") == "done   momentum=0, seed 1  4.0 s"
    mute = RunLine("d" * 16, "x", 0, RunState("failed", "crash"))
    assert describe_end(mute, "nmi") == "failed x, seed 0  crash: no message"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (10, "10 s"),
        (59.2, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.5, "1 h 00 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_reader_that_leaves_does_not_end_the_study() -> None:
    readable, writable = os.pipe()
    with os.fdopen(writable, "w") as stream:
        display = PlainDisplay(stream)
        display.say("seen")
        assert os.read(readable, 100) == b"seen\n"
        os.close(readable)
        with pytest.raises(BrokenPipeError):  # what a plain print would end the study with
            os.write(writable, b"nobody reads this")
        display.say("the first line that nobody reads")
        display.say("and the next")
        assert os.path.samestat(os.fstat(writable), os.stat(os.devnull))  # noqa: PTH116  a device


def test_pruned_runs_are_counted_apart_and_say_why() -> None:
    over = make_snapshot(total=20, done=11, failed=0, pruned=9, reused=0, running=())
    assert counts(over) == "11/20 done, 9 pruned"
    state = RunState("pruned", message="val/recall@1 0.1000 after 2 epochs, below 0.2000")
    line = RunLine("d" * 16, "momentum=1", 0, state)
    said = describe_end(line, "recall@1")
    assert said == "pruned momentum=1, seed 0  val/recall@1 0.1000 after 2 epochs, below 0.2000"
