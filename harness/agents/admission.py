"""Which studies an agent may run: those that are confirmed, of named workloads, on one test set.

Scores of test classes come only from a confirmation, so an agent that searches cannot choose by
them. All studies of the results folder must have the same test set: classes that one study keeps
for its test could otherwise be another one's validation classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.engine.study_state import plan_of
from harness.errors import InputError, nearest
from harness.store.database import database_path, query
from harness.study.loading import Loaded, load_study
from harness.study.trials.plan import Plan
from harness.study.yaml_source import read_yaml
from harness.workload import JsonValue, Params

_BASELINES = """
SELECT study, params FROM trial JOIN study USING (study)
WHERE is_baseline AND spec ->> '$.workload' = $1
ORDER BY created, number LIMIT 1
"""


@dataclass(frozen=True)
class Admission:
    """What the server was started with."""

    results: Path
    studies: Path
    """Folder of study files."""
    workloads: tuple[str, ...]
    data: tuple[Path, ...] = ()
    """Other folders that parameters of a study may name."""

    def admit(self, name: str, overrides: Sequence[str]) -> Loaded:
        """Load a study that may be run.

        Raises:
            InputError: there is no such file in the folder, the study is wrong, or the rules of the
                module's description do not allow it.
        """
        loaded = load_study(self.file(name), overrides)
        spec = loaded.spec
        if spec.workload not in self.workloads:
            raise InputError(
                f"{name}: workload: {spec.workload!r} was not named when the server was started; "
                f"{nearest(spec.workload, self.workloads)}"
            )
        if spec.confirm is None:
            raise InputError(
                f"{name}: confirm: missing: agents run only studies whose test classes stay shut "
                "until their winners are confirmed; add confirm: {top: 1, seeds: 10}"
            )
        for key, text in _texts(spec.model_dump(mode="json", exclude={"question"}), ""):
            self._check_path(name, key, text)
        self._check_test_set(name, plan_of(loaded))
        return loaded

    def file(self, name: str) -> Path:
        """Return a study file by its name in the folder.

        Raises:
            InputError: it, or the file that it extends, is not in the folder.
        """
        path = self._inside(name, name)
        extends = read_yaml(path).value.get("extends")
        if isinstance(extends, str):
            self._inside(f"{name}: extends", str(path.parent / extends))
        return path

    def _inside(self, where: str, given: str) -> Path:
        path = (self.studies / given).resolve()
        if not path.is_relative_to(self.studies.resolve()) or not path.is_file():
            known = sorted(each.name for each in self.studies.glob("*.y*ml"))
            raise InputError(
                f"{where}: no study file {given!r} in {self.studies}; {nearest(given, known)}"
            )
        return path

    def _check_path(self, name: str, key: str, text: str) -> None:
        """Refuse a value that names a file outside the folders of the server."""
        given = Path(text)
        is_path = given.is_absolute() or text.startswith("~") or ".." in given.parts
        if not (is_path or _exists(given)):
            return
        path = given.expanduser().resolve()
        folders = (self.results, self.studies, *self.data)
        if not any(path.is_relative_to(folder.resolve()) for folder in folders):
            raise InputError(
                f"{name}: {key}: {text!r} is outside the folders of this server; start it with "
                "--data for folders that studies may read"
            )

    def _check_test_set(self, name: str, plan: Plan) -> None:
        """Refuse a study that has another test set than the first one in the results folder."""
        first = self._first_study(plan)
        for trial in (*plan.fixed, *plan.ends):
            if first is not None and _test_set(plan, trial.params) != _test_set(plan, first[1]):
                raise InputError(
                    f"{name}: {trial.label}: another test set than that of study {first[0]!r}; "
                    "agents may use one test set for each results folder"
                )
            first = first or (plan.spec.study, trial.params)

    def _first_study(self, plan: Plan) -> tuple[str, Params] | None:
        if not database_path(self.results).exists():
            return None
        found = query(self.results, _BASELINES, [plan.spec.workload]).rows
        return (found[0][0], json.loads(found[0][1])) if found else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a character that no path has
        return False


def _test_set(plan: Plan, params: Params) -> str:
    """Return the digest of the test files, or of all data where the workload tells no more."""
    try:
        return plan.workload.test_fingerprint(params) or plan.workload.data_fingerprint(params)
    except ValueError as error:
        raise InputError(f"the test set is not known: {' '.join(str(error).split())}") from None


def _texts(value: JsonValue, key: str) -> Iterator[tuple[str, str]]:
    """Yield every text in a study, keys included, with the dotted key of where it is."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)
