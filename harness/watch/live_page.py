"""Keep the page of a running study up to date, and serve it to local browsers.

Everything is read-only. Active runs come from the spools; the page comes from the database, which
is opened only while the rows of a page are read, and only after it has changed, for a small part of
the time. While a driver holds it, the last page made is served.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError, InputError
from harness.records.plain_file import file_stamp
from harness.records.trial import seed_text
from harness.report.html.document import OFFLINE, Frame, asset, document
from harness.report.html.elements.escape import escaped
from harness.report.study_page import page_text
from harness.store.database import database_path
from harness.units import whole_duration
from harness.watch.page_server import Answer, PageServer
from harness.watch.run_monitor import RunMonitor, RunningRun, StudyProgress

_POLICY = f"{OFFLINE.policy}; connect-src 'self'"
_VERSION = "version-of-this-page"
"""Placeholder at the end of a page, which its version replaces."""
_REST = 20
"""Pages are made for at most one part in this many of the time: with two workers on two cores, the
runs lose what is computed here."""
_REST_WHILE_RUNNING_S = 10.0
_SILENT_S = 600.0


class Watch:
    """The newest page and state of a study; two threads keep them up to date."""

    def __init__(self, results: Path, study: str, *, every_s: float) -> None:
        """Make the first page from what is there, which may be nothing.

        Args:
            results: The results folder; it need not exist yet.
            study: The study's name.
            every_s: Seconds between two looks at the runs.
        """
        self._results, self._study, self._every_s = results, study, every_s
        self._observer = RunMonitor(results, study)
        self._sight = StudyProgress({}, ())
        self._problem: str | None = None
        self._stamp: tuple[int, int, int] | None = None
        self._rests_until = 0.0
        self._page, self._version = _versioned(_nothing_yet(study, self._frame))
        self._end = threading.Event()
        self.look()
        self.make_page()

    def look(self) -> None:
        """Update the state of the runs."""
        with suppress(HarnessError):  # the page reports a damaged record
            self._sight = self._observer.look()

    def make_page(self) -> bool:
        """Remake the page if the database has changed; return whether the page is different."""
        stamp = file_stamp(database_path(self._results))
        if stamp is None or stamp == self._stamp:
            return False
        began = time.thread_time()  # waiting for a driver uses no CPU time
        try:
            text = page_text(self._results, self._study, self._frame)
        except InputError as error:  # not in the database yet
            self._stamp, self._problem = stamp, None if self._is_unknown(error) else str(error)
            return False
        except Exception as error:  # whatever went wrong, keep serving the last page
            kind = "" if isinstance(error, HarnessError) else f"{type(error).__name__}: "
            self._problem = kind + " ".join(str(error).split())
            return False
        finally:
            self._rests_until = time.monotonic() + _REST * (time.thread_time() - began)
        self._stamp, self._problem = stamp, None
        before = self._version
        self._page, self._version = _versioned(text)
        return self._version != before

    def page(self) -> Answer:
        """Return the current page."""
        return Answer("text/html; charset=utf-8", self._page, _POLICY)

    def state(self) -> Answer:
        """Return the page's version and the state of the runs, as JSON."""
        sight = self._sight
        order = ("running", "done", "failed", "pruned", "queued")
        said = [f"{sight.counts[name]} {name}" for name in order if sight.counts.get(name)]
        document = {
            "page": self._version,
            "counts": ", ".join(said) if said else "nothing yet",
            "problem": self._problem,
            "running": [_in_words(run) for run in sight.running],
        }
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        return Answer("application/json; charset=utf-8", body)

    def start(self) -> None:
        """Start to keep the page up to date, until ``stop``."""
        for task in (self._keep_looking, self._keep_making):
            threading.Thread(target=task, daemon=True).start()

    def stop(self) -> None:
        """Stop keeping the page up to date."""
        self._end.set()

    @property
    def _frame(self) -> Frame:
        return Frame(
            _POLICY,
            top=_LIVE,
            end=f'<script id="watch" data-every="{self._every_s:g}" data-version="{_VERSION}">\n'
            f"{asset('watch.js', 'harness.watch')}</script>\n",
        )

    def _keep_looking(self) -> None:
        while not self._end.wait(self._every_s):
            self.look()

    def _keep_making(self) -> None:
        made = time.monotonic()
        while not self._end.wait(self._every_s):
            now = time.monotonic()
            rest_s = _REST_WHILE_RUNNING_S if self._sight.running else 0.0
            if now >= max(self._rests_until, made + rest_s) and self.make_page():
                made = now

    def _is_unknown(self, error: InputError) -> bool:
        """Whether the study is merely not in the database yet."""
        return "unknown study" in str(error) or "no results in" in str(error)


def serve(watch: Watch, host: str, port: int) -> PageServer:
    """Return the server of ``watch``, to be used in a ``with`` block.

    Raises:
        InputError: the address cannot be used.
    """
    return PageServer(host, port, {"/": watch.page, "/state": watch.state})


_LIVE = (
    '<section class="live" aria-label="Running now"><h2>Running now</h2>'
    '<p class="note" id="live-counts">…</p><p class="notice" id="live-problem" hidden></p>'
    '<div class="scroll" role="region" tabindex="0" aria-label="Running runs">'
    '<table class="results" id="live-runs" hidden><thead><tr>'
    '<th scope="col">trial</th><th scope="col">seed</th><th scope="col">epochs</th>'
    '<th scope="col">last value</th><th scope="col">running for</th><th scope="col">last heard</th>'
    "</tr></thead><tbody></tbody></table></div></section>\n"
)


def _nothing_yet(study: str, frame: Frame) -> str:
    """Return the page to show before the first run."""
    body = (
        f'<header><p class="kind">Ablation report</p><h1>{escaped(study)}</h1></header>\n'
        '<main><p class="note">Nothing yet: this study has no runs in this results folder. '
        "The page will appear here when its first results are in.</p></main>\n"
    )
    return document(f"{study}: nothing yet", body, frame=frame)


def _versioned(text: str) -> tuple[bytes, str]:
    """Insert the version, a digest of the rest, into a page; return both."""
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    head, _, tail = text.rpartition(_VERSION)
    return f"{head}{version}{tail}".encode(), version


def _in_words(run: RunningRun) -> list[str]:
    """Return the table cells of a running run."""
    value = "" if run.value is None else f"{run.metric} {run.value:.4f}"
    attempt = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    heard = f"{whole_duration(round(run.silent_seconds))} ago"
    if run.silent_seconds > _SILENT_S:
        heard += "; is its driver still running?"
    return [
        run.trial + attempt,
        seed_text(run.seed, run.fold),
        str(run.epochs),
        value,
        whole_duration(round(run.seconds)),
        heard,
    ]
