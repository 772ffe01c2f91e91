"""Which files a workload's code consists of, and what stood in them when it was asked.

Found as ``import`` finds them, from the folders, whatever is loaded; nothing is executed. What lies
in a package counts by its place, a workload of one file also by what it imports from beside it.
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
"""Of modules, in the order in which Python looks for them."""
_NEVER_OURS = "harness"


class Source(NamedTuple):
    """A module's file as it was read."""

    path: Path
    digest: str
    """Of its bytes."""
    module: Module


class _Place(NamedTuple):
    """Where a module lies."""

    file: Path | None
    """None for a folder without ``__init__``."""
    folders: tuple[Path, ...]
    """Of a package: where its modules are."""


class CodeFiles:
    """The code of one workload; each file as it was when it was first looked at."""

    def __init__(self, workload: str) -> None:
        """Nothing is read yet.

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
        """Whether the workload is a single file and not a package."""
        place = self._place(self.top)
        return place is not None and not place.folders

    def all(self) -> dict[str, Source]:
        """Module name -> file, of all below the workload's package.

        Of a workload of one file it is that file and, from file to file, those beside it that are
        imported anywhere in them.

        Raises:
            InputError: there is no such file, or one cannot be read.
        """
        return self._reached([self.workload, *self._below(self.top)], with_late=True)

    def behind(self, names: Sequence[str]) -> dict[str, Source]:
        """The same of the workload's module and those in ``names``, with all below a package.

        What the top level of one of them imports of the same code belongs to it.

        Raises:
            InputError: there is no such module, or a file cannot be read.
        """
        for name in names:
            if self._place(name) is None:
                raise InputError(
                    f"workload {self.workload!r}: its function code() names {name!r}, and there is "
                    "no such module; mend the name there"
                )
            self._is_ours[name.partition(".")[0]] = True
        wanted = [each for name in names for each in (name, *self._below(name))]
        return self._reached([self.workload, *wanted], with_late=False)

    def _reached(self, wanted: Sequence[str], *, with_late: bool) -> dict[str, Source]:
        place = self._place(self.workload)
        if place is None or place.file is None:
            raise InputError(
                f"workload {self.workload!r}: no file of it is found; give the name of a module "
                "that lies in a folder"
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
        """Whether imports of ``top`` are part of this code."""
        if top not in self._is_ours:
            self._is_ours[top] = self._lies_beside(top)
        return self._is_ours[top]

    def _lies_beside(self, top: str) -> bool:
        """Whether the workload is one file, and this a module in the same folder."""
        mine, other = self._place(self.top), self._place(top)
        if not self.is_one_file or mine is None or mine.file is None or other is None:
            return False
        where = other.folders[0] if other.folders else other.file
        return where is not None and where.parent == mine.file.parent not in _library_folders()

    def _read(self, name: str) -> Source | None:
        """The file of a module; None where it has none."""
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
        """All modules in a package and in those below it, or nothing."""
        place = self._place(name)
        for folder in () if place is None else place.folders:
            for parts in _modules_in(folder, frozenset()):
                if parts[-1] != "__init__":  # that is the package itself
                    yield ".".join((name, *parts))


def read(file: Path, *, is_package: bool) -> Source:
    """Read a module's file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error) from None
    return Source(file, digest_of(content), Module(form_in(file, content), is_package))


def form_in(file: Path, content: bytes) -> Form:
    """What the content of a module's file is digested as."""
    return form_of(content) if file.suffix in SOURCE_SUFFIXES else compiled_form(content)


def digest_of(content: bytes) -> str:
    """A digest of a file as it is."""
    return hashlib.sha256(content).hexdigest()[:32]


def _found_by_import(top: str) -> _Place | None:
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):  # none, or of a module made by hand
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
    """The names of the modules below a folder, each as its parts."""
    real = os.path.realpath(folder)
    if real in above:  # a link that leads back
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
    """Where modules lie beside each other that have nothing to do with each other."""
    return {Path(path) for path in sysconfig.get_paths().values()}


def _unreadable(path: Path, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"{path}: cannot read the code: {reason}; allow reading it")
