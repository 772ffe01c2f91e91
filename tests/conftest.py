"""Time limits that a busy machine can lengthen, and marks that keep their word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import PATIENCE

ONE_WORKER = ("ray", "browser")
"""Marks whose tests share something dear, and so run in one process of pytest-xdist."""
MAY_START_PROCESSES = ("process", "ray", "browser", "data")
_started: list[str] = []


def _note_python(event: str, arguments: tuple[object, ...]) -> None:
    if event == "os.fork":
        _started.append("a fork")
    elif event == "subprocess.Popen":
        program, given = Path(str(arguments[0])), arguments[1]
        words = list(map(str, given)) if isinstance(given, (list, tuple)) else [str(given)]
        if program.name.startswith("python") or sys.executable in words:
            _started.append(" ".join(words)[:100])


sys.addaudithook(_note_python)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    usual = float(config.getoption("timeout", None) or config.getini("timeout") or 0)
    checks_shapes = config.getoption("jaxtyping_packages", None)
    for item in items:
        if item.get_closest_marker("shapes") and not checks_shapes:
            item.add_marker(pytest.mark.skip(reason="shapes are checked with --all"))
        shared = [name for name in ONE_WORKER if item.get_closest_marker(name)]
        # A file's tests stay together too: what they share is then made once, not once a process.
        item.add_marker(
            pytest.mark.xdist_group(shared[0] if shared else item.nodeid.split("::")[0])
        )
        if PATIENCE != 1:
            mark = item.get_closest_marker("timeout")
            limit = PATIENCE * (float(mark.args[0]) if mark else usual)
            item.add_marker(pytest.mark.timeout(limit), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _started.clear()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    result = yield
    if _started and not any(item.get_closest_marker(name) for name in MAY_START_PROCESSES):
        pytest.fail(f"starts a process without the mark 'process': {_started[0]}", pytrace=False)
    return result
