"""The code version for each setting of a study, which is part of a run's id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.workload import Params, code_digest
from harness.workload.code_files import CodeFiles, Source
from harness.workload.loaded_code import Table, refuse_changed_code, table_of


class CodeVersions:
    """Versions of a workload's code, from its files as this object first read them.

    Make one for each call: a file edited in the meantime keeps its old content here, and a run that
    loads the new content is rejected.
    """

    def __init__(self, workload: str, code: Callable[[Params], Sequence[str] | None]) -> None:
        """Set the workload; files are read when they are first needed.

        Args:
            workload: Importable module name.
            code: The workload's ``code`` function; see ``harness.workload``.
        """
        self._files = CodeFiles(workload)
        self._code = code
        self._versions: dict[tuple[str, ...] | None, str] = {}
        self._tables: dict[str, Table] = {}

    def of(self, params: Params) -> str:
        """Return the version of the code that a run with ``params`` uses: sixteen hex digits.

        Raises:
            InputError: the workload names a module that does not exist, a file cannot be read, or
                a file has changed since this process loaded it.
        """
        names = self._named(params)
        if names not in self._versions:
            sources = self._files.all() if names is None else self._files.behind(names)
            refuse_changed_code(sources)
            self._versions[names] = self._version(sources)
        return self._versions[names]

    def table(self, version: str) -> Table:
        """Return the file digests behind a version, for the process that trains with it."""
        return self._tables[version]

    def _version(self, sources: Mapping[str, Source]) -> str:
        modules = {name: source.module for name, source in sources.items()}
        version = code_digest.version(modules)[:16]
        self._tables[version] = table_of(sources)
        return version

    def _named(self, params: Params) -> tuple[str, ...] | None:
        """Return the modules that the workload declares for ``params``; None means all."""
        names = self._code(params)
        return None if names is None else tuple(sorted(set(names)))
