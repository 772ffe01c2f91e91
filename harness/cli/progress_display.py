"""Show progress: a live view on a terminal, one line per event elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from harness.cli.terminal import visible
from harness.engine.progress import ProgressListener, RunLine, Snapshot

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live
from harness.records.trial import seed_text
from harness.units import duration


@contextmanager
def open_display(stream: TextIO) -> Iterator[ProgressListener]:
    """Open the display that suits ``stream``, for the length of a ``with`` block."""
    if not stream.isatty():
        yield PlainDisplay(stream)
        return
    # Imported here: plain lines need no Rich.
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield LiveDisplay(live)


class PlainDisplay:
    """Prints a line for every run that starts or ends."""

    def __init__(self, stream: TextIO, written: Callable[[str], str] = visible) -> None:
        self._stream = stream
        self._written = written
        self._has_begun = False

    def started(self, line: RunLine, snapshot: Snapshot) -> None:
        """Print which run starts."""
        self._begin(snapshot)
        self.say(f"start  {_name(line)}  ({counts(snapshot)})")

    def ended(self, line: RunLine, snapshot: Snapshot) -> None:
        """Print how the run ended, and how much is left."""
        self.say(f"{describe_end(line, snapshot.metric)}  ({counts(snapshot)})")

    def tick(self, snapshot: Snapshot) -> None:
        """Print the heading, once."""
        self._begin(snapshot)

    def say(self, text: str) -> None:
        """Print a line; fall silent once the reader has closed the pipe (``| head``)."""
        try:
            print(self._written(text), file=self._stream, flush=True)
        except BrokenPipeError:  # must not end a study that trains for hours
            with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123  a device
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def _begin(self, snapshot: Snapshot) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.say(f"study {snapshot.study}: {snapshot.question}")
            self.say(counts(snapshot))


class LiveDisplay:
    """Redraws a view in place; failures and notices scroll above it."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def started(self, line: RunLine, snapshot: Snapshot) -> None:
        """Do nothing: the next tick shows the run."""

    def ended(self, line: RunLine, snapshot: Snapshot) -> None:
        """Print a line for a failure; runs that are done or pruned are only counted."""
        if line.state.state not in ("done", "pruned"):
            self.say(describe_end(line, snapshot.metric))

    def tick(self, snapshot: Snapshot) -> None:
        """Redraw the view."""
        self._live.update(picture(snapshot), refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the view."""
        self._live.console.print(visible(text), markup=False, highlight=False)


def picture(snapshot: Snapshot) -> RenderableType:
    """Draw the whole view: the study, a progress bar, and a line per active run."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    over = snapshot.done + snapshot.failed + snapshot.pruned
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(total=max(1, snapshot.total), completed=over, width=30))
    runs = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    metric = f"val/{snapshot.metric}"
    runs.add_column("trial", no_wrap=True)
    for name in ("seed", "epoch", "loss", visible(metric)):
        runs.add_column(name, justify="right")
    for line in snapshot.running:
        state = line.state
        cells = [
            line.trial,
            seed_text(line.seed, line.fold),
            str(state.reported[-1]) if state.reported else "",
            _number(state.last_metrics.get("loss")),
            _number(state.last_metrics.get(metric)),
        ]
        runs.add_row(*(Text(visible(cell)) for cell in cells))
    heading = Text.assemble((snapshot.study, "bold"), "  ", visible(snapshot.question))
    return Group(heading, bar, Text(counts(snapshot)), *([runs] if snapshot.running else []))


def counts(snapshot: Snapshot) -> str:
    """Say how many runs are done, failed, pruned and running, and how much time is left."""
    parts = [f"{snapshot.done}/{snapshot.total} done"]
    others = {
        "failed": snapshot.failed,
        "pruned": snapshot.pruned,
        "reused": snapshot.reused,
        "running": len(snapshot.running),
    }
    parts += [f"{count} {name}" for name, count in others.items() if count]
    over = snapshot.done + snapshot.failed + snapshot.pruned
    if snapshot.seconds_left is not None and over < snapshot.total:
        parts.append(f"about {duration(snapshot.seconds_left)} left")
    return ", ".join(parts)


def describe_end(line: RunLine, metric: str) -> str:
    """Say how a run ended: its result, or why it failed or was pruned."""
    state = line.state
    if state.state == "pruned":
        return f"pruned {_name(line)}  {state.message}"
    if state.state != "done":
        return f"failed {_name(line)}  {state.failure}: {state.message or 'no message'}"
    name = next(
        (f"{split}/{metric}" for split in ("val", "test") if f"{split}/{metric}" in state.results),
        None,
    )
    result = f"  {name} {_number(state.results[name])}" if name else ""
    took = "" if state.seconds is None else f"  {duration(state.seconds)}"
    return f"done   {_name(line)}{result}{took}"


def _name(line: RunLine) -> str:
    return f"{line.trial}, seed {seed_text(line.seed, line.fold)}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
