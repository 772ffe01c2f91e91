"""The code version of each setting of a study, which is part of a run's identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.workload import Params, code_digest
from harness.workload.code_files import CodeFiles, Source
from harness.workload.loaded_code import Table, refuse_changed_code, table_of


class CodeVersions:
    """The versions of a workload's code, as its files were when this object first read them.

    So one belongs to one call: a file that is edited meanwhile has its old content here, and what a
    run loads of the new is refused there.
    """

    def __init__(self, workload: str, code: Callable[[Params], Sequence[str] | None]) -> None:
        """Nothing is read yet.

        Args:
            workload: Importable module name.
            code: The workload's own function; see ``harness.workload``.
        """
        self._files = CodeFiles(workload)
        self._code = code
        self._versions: dict[tuple[str, ...] | None, str] = {}
        self._tables: dict[str, Table] = {}

    def of(self, params: Params) -> str:
        """The version of the code that a run with ``params`` uses: sixteen hex digits.

        Raises:
            InputError: the workload names a module that is none, a file cannot be read, or this
                process has loaded another code than stands there.
        """
        names = self._named(params)
        if names not in self._versions:
            sources = self._files.all() if names is None else self._files.behind(names)
            refuse_changed_code(sources)
            self._versions[names] = self._version(sources)
        return self._versions[names]

    def table(self, version: str) -> Table:
        """The files behind a version, for the process that trains with them."""
        return self._tables[version]

    def _version(self, sources: Mapping[str, Source]) -> str:
        modules = {name: source.module for name, source in sources.items()}
        version = code_digest.version(modules)[:16]
        self._tables[version] = table_of(sources)
        return version

    def _named(self, params: Params) -> tuple[str, ...] | None:
        """The modules that the workload declares for ``params``; None: all of them."""
        names = self._code(params)
        return None if names is None else tuple(sorted(set(names)))
