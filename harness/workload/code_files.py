"""Finds and reads the files that make up a workload's code.

Modules are searched for in folders as ``import`` would, whatever is already loaded, and nothing is
executed. All modules in the workload's package count; for a single-file workload, the modules
beside it that it imports.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError
from harness.workload.code_digest import Form, Module, absolute, compiled_form, form_of

SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
"""Suffixes of module files, in the order in which Python tries them."""
_NEVER_OURS = "harness"


class Source(NamedTuple):
    """A module's file as it was read."""

    path: Path
    digest: str
    """Digest of the file's bytes."""
    module: Module


class _Place(NamedTuple):
    """The location of a module."""

    file: Path | None
    """The module's file; None for a package folder without ``__init__``."""
    folders: tuple[Path, ...]
    """For a package: the folders of its modules."""


class CodeFiles:
    """The code files of one workload; each file is read once and its content kept."""

    def __init__(self, workload: str) -> None:
        """Set the workload to look at.

        Args:
            workload: Importable module name, which need not be imported.
        """
        self.workload = workload
        self.top = workload.partition(".")[0]
        self._places: dict[str, _Place | None] = {}
        self._sources: dict[str, Source] = {}
        self._is_ours: dict[str, bool] = {self.top: True, _NEVER_OURS: False}

    @property
    def is_one_file(self) -> bool:
        """Whether the workload is a single file rather than a package."""
        place = self._place(self.top)
        return place is not None and not place.folders

    def all(self) -> dict[str, Source]:
        """Return module name -> file, for everything below the workload's package.

        For a single-file workload: that file and the files beside it that it imports anywhere,
        directly or through others.

        Raises:
            InputError: there is no such file, or one cannot be read.
        """
        return self._reached([self.workload, *self._below(self.top)], with_late=True)

    def behind(self, names: Sequence[str]) -> dict[str, Source]:
        """Return module name -> file, for the workload's module and those in ``names``.

        A package includes everything below it. Modules of the same code that any of them imports at
        its top level are included.

        Raises:
            InputError: there is no such module, or a file cannot be read.
        """
        for name in names:
            if self._place(name) is None:
                raise InputError(
                    f"workload {self.workload!r}: its function code() names {name!r}, and there is "
                    "no such module; correct the name there"
                )
            self._is_ours[name.partition(".")[0]] = True
        wanted = [each for name in names for each in (name, *self._below(name))]
        return self._reached([self.workload, *wanted], with_late=False)

    def _reached(self, wanted: Sequence[str], *, with_late: bool) -> dict[str, Source]:
        place = self._place(self.workload)
        if place is None or place.file is None:
            raise InputError(
                f"workload {self.workload!r}: its file is not found; give the name of a module "
                "that is a file in a folder"
            )
        found: dict[str, Source] = {}
        seen: set[str] = set()
        waiting = list(wanted)
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if above := name.rpartition(".")[0]:
                waiting.append(above)
            source = self._read(name)
            if source is not None:
                found[name] = source
                waiting += self._imported_by(name, source.module, with_late=with_late)
        return found

    def _imported_by(self, name: str, module: Module, *, with_late: bool) -> Iterator[str]:
        for each in (each for block in module.form.blocks for each in block):
            if each.is_late and not with_late:
                continue
            source = absolute(
                name, is_package=module.is_package, level=each.level, module=each.module
            )
            if self._owns(source.partition(".")[0]):
                yield source
                if each.taken not in (None, "*"):
                    yield f"{source}.{each.taken}"

    def _owns(self, top: str) -> bool:
        """Return whether imports of ``top`` are part of this code."""
        if top not in self._is_ours:
            self._is_ours[top] = self._lies_beside(top)
        return self._is_ours[top]

    def _lies_beside(self, top: str) -> bool:
        """Return whether the workload is a single file and ``top`` a module in the same folder."""
        mine, other = self._place(self.top), self._place(top)
        if not self.is_one_file or mine is None or mine.file is None or other is None:
            return False
        where = other.folders[0] if other.folders else other.file
        return where is not None and where.parent == mine.file.parent not in _library_folders()

    def _read(self, name: str) -> Source | None:
        """Return the file of a module; None if it has none."""
        place = self._place(name)
        if place is None or place.file is None:
            return None
        if name not in self._sources:
            self._sources[name] = read(place.file, is_package=bool(place.folders))
        return self._sources[name]

    def _place(self, name: str) -> _Place | None:
        if name not in self._places:
            above, _, last = name.rpartition(".")
            if not above:
                self._places[name] = _found_by_import(name)
            else:
                package = self._place(above)
                self._places[name] = None if package is None else _place_in(package.folders, last)
        return self._places[name]

    def _below(self, name: str) -> Iterator[str]:
        """Yield all modules in a package and its subpackages; nothing for a plain module."""
        place = self._place(name)
        for folder in () if place is None else place.folders:
            for parts in _modules_in(folder, frozenset()):
                if parts[-1] != "__init__":  # that is the package itself
                    yield ".".join((name, *parts))


def read(file: Path, *, is_package: bool) -> Source:
    """Read a module's file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None
    return Source(file, digest_of(content), Module(form_in(file, content), is_package))


def form_in(file: Path, content: bytes) -> Form:
    """Return the ``Form`` of a module's content, by the kind of its file."""
    return form_of(content) if file.suffix in SOURCE_SUFFIXES else compiled_form(content)


def digest_of(content: bytes) -> str:
    """Compute a digest of a file's bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def _found_by_import(top: str) -> _Place | None:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):  # no spec, as for a module made by hand
        return None
    if spec is None:
        return None
    file = Path(spec.origin) if spec.has_location and spec.origin else None
    return _Place(file, tuple(map(Path, spec.submodule_search_locations or ())))


def _place_in(folders: Sequence[Path], name: str) -> _Place | None:
    without_init: list[Path] = []
    for folder in folders:
        inner = folder / name
        if inner.is_dir():
            if file := _file_of(inner / "__init__"):
                return _Place(file, (inner,))
            without_init.append(inner)
        if file := _file_of(inner):
            return _Place(file, ())
    return _Place(None, tuple(without_init)) if without_init else None


def _file_of(path: Path) -> Path | None:
    candidates = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return next((each for each in candidates if each.is_file()), None)


def _modules_in(folder: Path, above: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """Yield the names of the modules below a folder, each as its parts."""
    real = os.path.realpath(folder)
    if real in above:  # a link back to a folder above
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from None
    for entry in entries:
        if entry.is_dir():
            if entry.name.isidentifier() and entry.name != "__pycache__":
                yield (entry.name,)
                for parts in _modules_in(entry, above | {real}):
                    yield (entry.name, *parts)
        elif suffix := next((each for each in SUFFIXES if entry.name.endswith(each)), None):
            yield (entry.name.removesuffix(suffix),)


def _library_folders() -> set[Path]:
    """Return the folders of installed libraries, where neighbouring modules are unrelated."""
    return {Path(path) for path in sysconfig.get_paths().values()}


def _unreadable(path: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"{path}: cannot read the code: {reason}; allow reading it")
