"""Checks that the code this process has loaded is the code that was hashed.

A finder on ``sys.meta_path`` delegates to the others and records the bytes from which each module
is made. It always loads from source: Python accepts a cached ``.pyc`` as current if the source has
the same size and was modified in the same second.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from harness.errors import InputError
from harness.workload.code_files import CodeFiles, Source, digest_of, form_in

Table = Mapping[str, Sequence[str]]
"""Module -> two digests of its file, literal and by meaning, to be sent to another process."""


class _Loaded(NamedTuple):
    """The source that a loaded module was made from."""

    path: Path
    digest: str
    content: bytes

    def is_as(self, expected: Sequence[str]) -> bool:
        """Return whether the source matches these digests, literally or by meaning."""
        as_it_is, by_meaning = expected
        return self.digest == as_it_is or form_in(self.path, self.content).by_name == by_meaning


@dataclass(eq=False)
class Expectation:
    """The code that a run is allowed to use."""

    table: Table
    violation: str | None = None
    """A sentence on the first mismatch; None if there is none so far."""


_loaded: dict[str, _Loaded] = {}
_active: list[Expectation] = []


def watch(workload: str) -> None:
    """Start recording the source of every module of ``workload`` as it is imported.

    For modules already loaded, the current content of their files is recorded.

    Raises:
        InputError: a file of the workload cannot be read.
    """
    code = CodeFiles(workload)
    tops = {code.top}
    with suppress(InputError):  # the import will report it
        if code.is_one_file:
            tops |= _tops_of(code.all())
    _watch_tops(tops)


def table_of(sources: Mapping[str, Source]) -> dict[str, list[str]]:
    """Return the digests of files, by module."""
    return {name: [source.digest, source.module.form.by_name] for name, source in sources.items()}


def refuse_changed_code(sources: Mapping[str, Source]) -> None:
    """Raise an error if files have changed since this process loaded them.

    A notebook stays open while its workload is edited. Separate worker processes would train the
    new code, while this process completes and checks parameters with the old.

    Raises:
        InputError: a file has changed; the message names it.
    """
    _watch_tops(_tops_of(sources))
    if (changed := _first_other(table_of(sources))) is not None:
        raise InputError(f"{changed}: has changed since it was imported; restart Python")


@contextmanager
def expecting(table: Table) -> Iterator[Expectation]:
    """Restrict this process to the code in ``table`` while the block runs.

    A loaded module that differs is a violation from the start. A module of the same code that is
    imported later and differs, or is missing from the table, is also a violation and is not
    executed.

    Args:
        table: The digests by module; empty if any code may be used.
    """
    expectation = Expectation(table)
    _watch_tops(_tops_of(table))
    if (changed := _first_other(table)) is not None:
        expectation.violation = _has_changed(changed)
    _active.append(expectation)
    try:
        yield expectation
    finally:
        _active.remove(expectation)


def _first_other(table: Table) -> Path | None:
    """Return the file of a loaded module that differs from the table; None if there is none."""
    for name, expected in table.items():
        if name in sys.modules and name in _loaded and not _loaded[name].is_as(expected):
            return _loaded[name].path
    return None


def _note(name: str, path: Path, content: bytes) -> None:
    """Record the source of a module before it is executed.

    Raises:
        ImportError: an active expectation does not allow this module.
    """
    loaded = _loaded[name] = _Loaded(path, digest_of(content), content)
    faults = []
    for expectation in _active:
        expected = expectation.table.get(name)
        if name.partition(".")[0] not in _tops_of(expectation.table):
            continue
        if expected is None:
            fault = (
                f"{path}: this run imports it, but the run's code version does not cover it; "
                f"name {name!r} in the workload's code(), or run the same command again if the "
                "file is new"
            )
        elif not loaded.is_as(expected):
            fault = _has_changed(path)
        else:
            continue
        expectation.violation = expectation.violation or fault
        faults.append(fault)
    if faults:
        raise ImportError(faults[0], name=name, path=str(path))


def _tops_of(names: Iterable[str]) -> set[str]:
    """Return the top-level packages of modules."""
    return {name.partition(".")[0] for name in names}


def _has_changed(path: Path) -> str:
    return (
        f"{path}: has changed since this call read it, so this run would not match its code "
        "version; run the same command again"
    )


def _watch_tops(tops: set[str]) -> None:
    """Watch imports from these packages, and record their modules that are already loaded."""
    new = tops - _WATCHER.tops
    if not new:
        return
    _WATCHER.tops |= new
    if _WATCHER not in sys.meta_path:
        sys.meta_path.insert(0, _WATCHER)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in new and file:
            with suppress(OSError):
                path = Path(file)
                content = path.read_bytes()
                _loaded[name] = _Loaded(path, digest_of(content), content)


class _Watcher(importlib.abc.MetaPathFinder):
    """Finder that delegates to the other finders and records what their loaders read."""

    def __init__(self) -> None:
        self.tops: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec found by another finder, with a loader that records the source."""
        if fullname.partition(".")[0] not in self.tops:
            return None
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(fullname, path, target)
            if spec is not None:
                _look_on(spec)
                return spec
        return None


_WATCHER = _Watcher()
_SOURCELESS = importlib.machinery.SourcelessFileLoader


def _look_on(spec: importlib.machinery.ModuleSpec) -> None:
    """Make a loader record the source that it loads."""
    loader = spec.loader
    if loader is None or not spec.has_location or not spec.origin:
        return
    name, path = spec.name, Path(spec.origin)
    if isinstance(loader, importlib.machinery.SourceFileLoader):
        compile_ = loader.source_to_code

        def source_to_code(data: bytes, *args: object, **options: object) -> object:
            _note(name, path, data)
            return compile_(data, *args, **options)  # type: ignore[arg-type]

        loader.path_stats = _without_cache  # type: ignore[method-assign]
        loader.source_to_code = source_to_code  # type: ignore[method-assign, assignment]
        return
    if not isinstance(loader, importlib.machinery.ExtensionFileLoader | _SOURCELESS):
        return
    execute: Callable[[ModuleType], None] = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        _note(name, path, path.read_bytes())
        execute(module)

    loader.exec_module = exec_module  # type: ignore[method-assign]


def _without_cache(path: str) -> Mapping[str, float]:
    """Keep a source loader from reading or writing a ``.pyc``."""
    raise OSError(f"{path}: bytecode cache disabled")
