"""The page of a study while it runs: kept up to date, and served to a browser of this machine.

Everything is read-only. The running runs come from the spools; the page comes from the database,
which is opened for one question at a time and read again only when it has changed, for at most a
small part of the time. While a driver holds it, the last page that could be made is served.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import HarnessError, InputError
from harness.report.html.document import OFFLINE, Frame, asset, document
from harness.report.html.escape import escaped
from harness.report.study_page import page_text
from harness.store.database import database_path
from harness.units import whole_duration
from harness.watch.page_server import Answer, PageServer
from harness.watch.run_monitor import RunMonitor, RunningRun, StudyProgress, file_stamp

_POLICY = f"{OFFLINE.policy}; connect-src 'self'"
_VERSION = "version-of-this-page"
"""Stands at the end of a page, where its version goes."""
_REST = 20
"""Pages are made for at most one part in so many of the time: two workers on two cores lack what is
computed here."""
_REST_WHILE_RUNNING_S = 10.0
_SILENT_S = 600.0


class Watch:
    """The newest page and state of a study; two threads keep them up to date."""

    def __init__(self, results: Path, study: str, *, every_s: float) -> None:
        """Make a first page from what is there, which may be nothing.

        Args:
            results: The results folder; it need not exist yet.
            study: The study's name.
            every_s: How often the runs are looked at.
        """
        self._results, self._study, self._every_s = results, study, every_s
        self._observer = RunMonitor(results, study)
        self._sight = StudyProgress({}, ())
        self._problem: str | None = None
        self._stamp: tuple[int, int] | None = None
        self._rests_until = 0.0
        self._page, self._version = _versioned(_nothing_yet(study, self._frame))
        self._end = threading.Event()
        self.look()
        self.make_page()

    def look(self) -> None:
        """Look at the runs."""
        with suppress(HarnessError):  # a damaged record is what the page has to say
            self._sight = self._observer.look()

    def make_page(self) -> bool:
        """Make the page anew where the database has changed; whether it is another one now."""
        stamp = file_stamp(database_path(self._results))
        if stamp is None or stamp == self._stamp:
            return False
        began = time.thread_time()  # waiting for a driver costs it nothing
        try:
            text = page_text(self._results, self._study, self._frame)
        except InputError as error:  # not in there yet
            self._stamp, self._problem = stamp, None if self._is_unknown(error) else str(error)
            return False
        except Exception as error:  # whatever it is, the last page is worth more than none
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
        """The page."""
        return Answer("text/html; charset=utf-8", self._page, _POLICY)

    def state(self) -> Answer:
        """Which page is the newest, and how the runs stand, as JSON."""
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
        """Keep up to date until ``stop``."""
        for task in (self._keep_looking, self._keep_making):
            threading.Thread(target=task, daemon=True).start()

    def stop(self) -> None:
        """No longer."""
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
        """Whether a driver has only not come to write the study down yet."""
        return "unknown study" in str(error) or "no results in" in str(error)


def serve(watch: Watch, host: str, port: int) -> PageServer:
    """The server of what is watched, to be used in a ``with`` block.

    Raises:
        InputError: nobody can listen there.
    """
    return PageServer(host, port, {"/": watch.page, "/state": watch.state})


_LIVE = (
    '<section class="live" aria-label="Running now"><h2>Running now</h2>'
    '<p class="note" id="live-counts">…</p><p class="notice" id="live-problem" hidden></p>'
    '<div class="scroll" role="region" tabindex="0" aria-label="Running runs">'
    '<table class="results" id="live-runs" hidden><thead><tr>'
    '<th scope="col">trial</th><th scope="col">seed</th><th scope="col">epochs</th>'
    '<th scope="col">last value</th><th scope="col">running for</th><th scope="col">heard</th>'
    "</tr></thead><tbody></tbody></table></div></section>\n"
)


def _nothing_yet(study: str, frame: Frame) -> str:
    """The page before the first run."""
    body = (
        f'<header><p class="kind">Ablation report</p><h1>{escaped(study)}</h1></header>\n'
        '<main><p class="note">Nothing yet: this study has not been run into this results folder. '
        "The page appears here by itself when its first results are in.</p></main>\n"
    )
    return document(f"{study}: nothing yet", body, frame=frame)


def _versioned(text: str) -> tuple[bytes, str]:
    """The page with its version in it, and the version: a digest of the rest."""
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    head, _, tail = text.rpartition(_VERSION)
    return f"{head}{version}{tail}".encode(), version


def _in_words(run: RunningRun) -> list[str]:
    """The cells of a run."""
    value = "" if run.value is None else f"{run.metric} {run.value:.4f}"
    attempt = f" (attempt {run.attempt})" if run.attempt > 1 else ""
    heard = f"{whole_duration(round(run.silent_seconds))} ago"
    if run.silent_seconds > _SILENT_S:
        heard += "; does its driver still run?"
    return [
        run.trial + attempt,
        str(run.seed),
        str(run.epochs),
        value,
        whole_duration(round(run.seconds)),
        heard,
    ]
