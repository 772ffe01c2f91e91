"""Watching a study: what is read, what is served to whom, and what the browser makes of it."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import TIME, Made, make_study, momentum
from roots import ROOT
from store_examples import held
from waiting import DEADLINE_S, PATIENCE, assert_soon

from harness.errors import InputError, StoreBusyError
from harness.records.event_log import append
from harness.records.events import EpochReported, Finished
from harness.records.folders import run_dir, spool_path
from harness.records.studies.study_record import read_study_records, write_study_record
from harness.store import rebuild
from harness.watch import live_page
from harness.watch.live_page import Watch, serve
from harness.watch.page_server import Answer, PageServer, is_loopback, is_own_name
from harness.watch.run_monitor import RunMonitor

NOW = datetime.fromisoformat(TIME) + timedelta(seconds=90)


def asked(answer: Answer) -> dict[str, Any]:
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


@contextmanager
def serving(results: Path) -> Iterator[tuple[Watch, str]]:
    watched = Watch(results, "momentum", every_s=0.2)
    with serve(watched, "127.0.0.1", 0) as server:
        yield watched, server.url


def get(url: str) -> tuple[bytes, dict[str, str]]:
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as response:
        return response.read(), dict(response.headers)


def request(url: str, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    host, port = url.removeprefix("http://").strip("/").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read()


def make_small(folder: Path) -> Path:
    made = [
        Made("<b>0</b>", 0.5, {"m": 0}, "baseline", running=(1,)),
        Made("m=1", 0.6, {"m": 1}, failed=(0,), unstarted=(1,)),
    ]
    return make_study(folder / "results", made, seeds=2, with_clusters=False)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return make_small(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watch, str]]:
    """One server for the tests that only ask it."""
    with serving(make_small(tmp_path_factory.mktemp("served"))) as watched_and_url:
        yield watched_and_url


def running_spool(results: Path) -> Path:
    (record,) = read_study_records(results)
    label = next(t.trial_id for t in record.trials if t.role == "baseline")
    (run_id,) = [m.run_id for m in record.members if (m.trial_id, m.seed) == (label, 1)]
    return spool_path(run_dir(results, run_id))


def test_running_runs_are_read_from_spools_with_what_they_reported(results: Path) -> None:
    sight = RunMonitor(results, "momentum").look(NOW)
    assert sight.counts == {"done": 1, "running": 1, "failed": 1, "queued": 1}
    (run,) = sight.running
    assert (run.trial, run.seed, run.attempt, run.epochs) == ("<b>0</b>", 1, 1, 3)
    assert run.metric == "val/recall@1"
    assert run.value is not None
    assert (run.seconds, run.silent_seconds) == (90.0, 90.0)


def test_what_a_run_reports_later_is_read_on(results: Path) -> None:
    observer = RunMonitor(results, "momentum")
    observer.look(NOW)
    path = running_spool(results)
    later = (NOW - timedelta(seconds=5)).isoformat()
    append(path, EpochReported(1, later, 3, {"loss": 0.25}))
    (run,) = observer.look(NOW).running
    assert (run.epochs, run.metric, run.value) == (4, "loss", 0.25)
    assert (run.seconds, run.silent_seconds) == (90.0, 5.0)
    append(path, Finished(1, later, "done", results={"test/recall@1": 0.5}))
    assert observer.look(NOW).counts == {"done": 2, "failed": 1, "queued": 1}


def test_a_run_that_is_tried_again_runs_from_its_new_start(results: Path) -> None:
    observer = RunMonitor(results, "momentum")
    observer.look(NOW)
    failed = next(
        path for path in results.glob("runs/*/spool.jsonl") if '"failed"' in path.read_text()
    )
    again = (NOW - timedelta(seconds=3)).isoformat()
    run = next(json.loads(line)["run"] for line in failed.read_text().splitlines())
    event = {"event": "started", "attempt": 2, "time": again, "run": run, "host": "h", "pid": 1}
    event |= {"threads": 1, "commit": None, "dirty": None, "versions": {}}
    with failed.open("a") as stream:
        stream.write(json.dumps(event) + "\n")
    sight = observer.look(NOW)
    assert sight.counts == {"done": 1, "running": 2, "queued": 1}
    (second,) = [each for each in sight.running if each.attempt == 2]
    assert second.seconds == 3.0


def test_nothing_to_look_at_is_no_error_and_leaves_no_trace(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    sight = RunMonitor(folder, "momentum").look(NOW)
    assert (sight.counts, sight.running) == ({}, ())
    watched = Watch(folder, "momentum", every_s=1.0)
    assert b"Nothing yet" in watched.page().body
    assert asked(watched.state())["counts"] == "nothing yet"
    assert not folder.exists()


def test_the_page_appears_when_there_is_a_first_result(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    watched = Watch(folder, "momentum", every_s=1.0)
    before = asked(watched.state())["page"]
    make_study(folder, momentum()[:2], seeds=1, with_clusters=False)
    assert watched.make_page()
    assert asked(watched.state())["page"] != before
    assert b"has the highest mean Recall@1" in watched.page().body
    assert not watched.make_page()


def test_a_database_without_the_study_is_nothing_yet(tmp_path: Path) -> None:
    make_study(tmp_path, momentum()[:2], study="other", seeds=1, with_clusters=False)
    watched = Watch(tmp_path, "momentum", every_s=1.0)
    assert b"Nothing yet" in watched.page().body
    assert asked(watched.state())["problem"] is None


def test_a_store_that_is_held_leaves_the_last_page(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watch(results, "momentum", every_s=1.0)
    page = watched.page()

    def busy(*_: object) -> str:
        raise StoreBusyError("results.duckdb: in use by python (process 7); try again")

    monkeypatch.setattr(live_page, "page_text", busy)
    rebuild.rebuild(results)
    assert not watched.make_page()
    assert watched.page() == page
    assert "in use by python" in asked(watched.state())["problem"]
    monkeypatch.undo()
    watched.make_page()
    assert asked(watched.state())["problem"] is None


def test_a_page_that_fails_leaves_the_last_one(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watch(results, "momentum", every_s=1.0)
    page = watched.page()

    def broken(*_: object) -> str:
        raise ZeroDivisionError("by\nnothing")

    monkeypatch.setattr(live_page, "page_text", broken)
    rebuild.rebuild(results)
    assert not watched.make_page()
    assert watched.page() == page
    assert asked(watched.state())["problem"] == "ZeroDivisionError: by nothing"


@pytest.mark.process
def test_while_nothing_is_asked_the_database_is_free(results: Path) -> None:
    with serving(results) as (watched, url):
        get(url)
        watched.look()
        with held(results):  # another process can open it for writing
            assert get(f"{url}state")[0]
            watched.look()


def test_page_and_state_are_served_and_say_the_same_version(served: tuple[Watch, str]) -> None:
    _, url = served
    page, headers = get(url)
    state = json.loads(get(f"{url}state")[0])
    assert url.startswith("http://127.0.0.1:")
    assert f'data-version="{state["page"]}"' in page.decode()
    assert page.count(b"connect-src 'self'") == 1
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    assert "Python" not in headers["Server"]
    assert state["counts"] == "1 running, 1 done, 1 failed, 1 queued"
    assert state["running"][0][:3] == ["<b>0</b>", "1", "3"]


def test_the_same_results_are_the_same_version(results: Path) -> None:
    first = asked(Watch(results, "momentum", every_s=1.0).state())["page"]
    assert asked(Watch(results, "momentum", every_s=1.0).state())["page"] == first


@pytest.mark.parametrize(
    "path",
    ["/index.html", "/reports/", "/../results.duckdb", "/.", "/state/", "/?a=1", "/%2e%2e/", "*"],
)
def test_other_paths_are_refused(served: tuple[Watch, str], path: str) -> None:
    assert request(served[1], "GET", path) == (404, b"no such page\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_are_refused(served: tuple[Watch, str], method: str) -> None:
    assert request(served[1], method, "/")[0] == 501


def test_a_head_request_has_no_body(served: tuple[Watch, str]) -> None:
    watched, url = served
    assert request(url, "HEAD", "/") == (200, b"")
    assert request(url, "GET", "/") == (200, watched.page().body)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", ""])
def test_a_request_for_another_host_is_refused(served: tuple[Watch, str], host: str) -> None:
    for path in ("/", "/state", "/none"):
        status, body = request(served[1], "GET", path, Host=host)
        assert (status, body) == (403, b"wrong Host header\n")


@pytest.mark.parametrize(
    ("header", "host", "is_own"),
    [
        ("127.0.0.1:8000", "127.0.0.1", True),
        ("localhost:9999", "127.0.0.1", True),
        ("LOCALHOST", "127.0.0.1", True),
        ("[::1]:80", "::1", True),
        ("::1", "::1", True),
        ("10.0.0.7:80", "127.0.0.1", False),
        ("10.0.0.7:80", "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        ("lab.example:80", "lab.example", True),
        (None, "127.0.0.1", False),
        (":80", "127.0.0.1", False),
    ],
)
def test_a_host_header_names_this_machine(header: str | None, host: str, is_own: bool) -> None:
    assert is_own_name(header, host) is is_own


def test_only_loopback_addresses_stay_on_this_machine() -> None:
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "lab")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_an_address_that_is_taken_is_one_line(served: tuple[Watch, str]) -> None:
    watched, url = served
    port = int(url.rpartition(":")[2].strip("/"))
    with pytest.raises(InputError, match=rf"^127.0.0.1:{port}: cannot listen there: [^\n]*$"):
        serve(watched, "127.0.0.1", port)


def test_a_browser_that_leaves_in_the_middle_disturbs_nobody(served: tuple[Watch, str]) -> None:
    host, port = served[1].removeprefix("http://").strip("/").split(":")
    for _ in range(3):
        connection = http.client.HTTPConnection(host, int(port), timeout=DEADLINE_S)
        connection.request("GET", "/")
        connection.close()
    assert request(served[1], "GET", "/state")[0] == 200


def test_the_server_is_gone_after_its_block() -> None:
    with PageServer("127.0.0.1", 0, {"/": lambda: Answer("text/plain", b"here")}) as server:
        assert get(server.url)[0] == b"here"
    with pytest.raises(urllib.error.URLError):
        get(server.url)


def test_the_threads_keep_page_and_state_up_to_date(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    watched = Watch(folder, "momentum", every_s=0.01)
    watched.start()
    try:
        make_study(folder, momentum()[:2], seeds=1, with_clusters=False)
        assert_soon(lambda: asked(watched.state())["counts"] == "2 done")
        assert_soon(lambda: b"has the highest mean" in watched.page().body)
    finally:
        watched.stop()


@pytest.mark.process
@pytest.mark.timeout(60)
def test_the_command_says_its_address_and_ctrl_c_ends_it_with_status_0(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "watch", "momentum", "--results", "none"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("watching momentum: http://127.0.0.1:")
    assert b"Nothing yet" in get(line.split()[2])[0]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=2 * DEADLINE_S)
    assert (process.returncode, out, err) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
@pytest.mark.timeout(120)
def test_a_browser_takes_up_new_results_and_keeps_place_and_choices(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    made = [
        Made("m=0", 0.5, {"m": 0}, "baseline"),
        Made("<i>1</i>", 0.6, {"m": 1}, running=(1,)),
    ]
    results = make_study(tmp_path, made, seeds=2, with_clusters=False)
    complaints: list[str] = []
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as running, serving(results) as (watched, url):
        browser = running.chromium.launch(executable_path=chromium, args=flags)
        tab = browser.new_page(viewport={"width": 1280, "height": 700})
        tab.set_default_timeout(30_000 * PATIENCE)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(url)
        row = tab.locator("#live-runs tbody tr")
        row.wait_for()
        assert row.locator("th").inner_text() == "<i>1</i>"
        tab.locator('.choice input[name="measure-plot"][value="recall@4"]').check()
        tab.locator("summary:visible", has_text="Every seed").click()
        tab.evaluate("scrollTo(0, document.querySelectorAll('h2')[3].offsetTop - 100)")
        place = "document.querySelectorAll('h2')[3].getBoundingClientRect().top"
        top = tab.evaluate(place)

        event = Finished(1, TIME, "done", results={"test/recall@1": 0.7, "test/recall@4": 0.9})
        path = next(
            path
            for path in results.glob("runs/*/spool.jsonl")
            if "finished" not in path.read_text()
        )
        append(path, event)
        rebuild.rebuild(results)
        watched.look()
        assert watched.make_page()
        version = asked(watched.state())["page"]
        tab.locator(f'#watch[data-version="{version}"]').wait_for(state="attached")
        tab.locator("body[data-asked]").wait_for()
        assert "4 done" in tab.locator("#live-counts").inner_text()
        assert not tab.locator("#live-runs").is_visible()
        assert tab.locator('.choice input[name="measure-plot"][value="recall@4"]').is_checked()
        assert tab.locator("details[open]").count() == 1
        assert abs(tab.evaluate(place) - top) < 3
        browser.close()
    assert complaints == []


def test_a_damaged_record_is_no_reason_to_stop(results: Path) -> None:
    watched = Watch(results, "momentum", every_s=1.0)
    (record,) = read_study_records(results)
    (results / "studies" / "momentum.json").write_text("{")
    watched.look()
    assert asked(watched.state())["counts"] == "1 running, 1 done, 1 failed, 1 queued"
    write_study_record(results, record)
    watched.look()
    assert asked(watched.state())["running"][0][0] == "<b>0</b>"
