"""The Python API: run a study, and read its results as pandas frames.

The command line is a thin layer over this. The module is imported on first use of ``harness.run``
or ``harness.load``, so that ``import harness`` alone is quick.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from harness.engine.progress import ProgressListener, RunLine, Snapshot
from harness.engine.run_options import RunOptions
from harness.engine.run_study import Outcome, run_study
from harness.errors import InputError
from harness.executors.interface import ExecutorName
from harness.export.best_model import BestModel, find_model, take_model
from harness.records.folders import folder
from harness.store.database import answered, database_path
from harness.study.spec import StudySpec
from harness.workload import JsonValue

if TYPE_CHECKING:
    import pandas

__all__ = ["BestModel", "Options", "Outcome", "Ran", "Results", "load", "run"]

_WAIT_S = 10.0


class Options(TypedDict, total=False):
    """Keyword options of ``run``; see ``harness.engine.run_options.RunOptions``."""

    executor: ExecutorName
    workers: int | None
    threads: int | None
    command: str
    extend: bool
    again: frozenset[str]
    reuse: bool
    runs_per_gpu: int
    address: str | None
    profile: bool


class Ran(NamedTuple):
    """Result of ``run``."""

    outcome: Outcome
    """How many runs are done, failed and newly trained."""
    results: Results
    """Everything in the results folder, including other studies."""


def run(
    spec: str | Path | Mapping[str, JsonValue] | StudySpec,
    *,
    results: str | Path = "results",
    overrides: Sequence[str] = (),
    watcher: ProgressListener | None = None,
    **options: Unpack[Options],
) -> Ran:
    """Train a study's missing runs, and bring the database up to date.

    The same call resumes an interrupted study. The first Ctrl-C stops it in an orderly way;
    ``outcome.signal`` then says so.

    Args:
        spec: A study file, its content as a mapping, or a loaded study.
        results: Folder of spools and database; created if missing.
        overrides: ``KEY=VALUE`` each: a field of the study, else a parameter of its base.
        watcher: Receives progress events; None for no listener.
        options: ``executor``, ``workers``, ``threads``, ``extend``, ``again``, ``reuse``,
            ``command``: as for the command line.

    Raises:
        InputError: the study, its data or an option is wrong, or a driver holds the results folder.
        StoreError: the results cannot be written or read.
        HarnessError: the workers were lost.
    """
    if isinstance(spec, StudySpec):
        spec = spec.model_dump(mode="json", exclude_unset=True)
    study = Path(spec) if isinstance(spec, str) else spec
    place = folder(results, "results")
    options.setdefault("command", "harness.run(...)")
    chosen = RunOptions(place, **options)
    outcome = run_study(study, tuple(overrides), chosen, watcher or _Nobody())
    return Ran(outcome, Results(place))


def load(results: str | Path = "results") -> Results:
    """Open the results of all studies in a folder, as pandas frames.

    Raises:
        InputError: there are no results yet, or pandas is not installed.
    """
    _need_pandas()
    place = folder(results, "results")
    if not database_path(place).exists():
        raise InputError(
            f"no results in {place} yet; run a study first, or rebuild the database with "
            "`harness rebuild`"
        )
    return Results(place)


@dataclass(frozen=True, slots=True)
class Results:
    """A results folder; every access reads its frame from the database again."""

    folder: Path

    def query(
        self, sql: str, params: Sequence[object] | Mapping[str, object] | None = None
    ) -> pandas.DataFrame:
        """Return the answer to ``sql``, which can read the database and nothing else.

        Null is NaN in a column of numbers and None elsewhere; a mapping is its JSON text.

        Args:
            sql: One or more statements; the last one's answer is returned.
            params: Values for ``?`` or ``$1`` (a sequence) or ``$name`` (a mapping).

        Raises:
            InputError: the SQL is wrong or tries to write, or pandas is not installed.
            StoreError: the database is damaged, or in use by a driver for more than ten seconds.
        """
        _need_pandas()
        with answered(self.folder, sql, params, wait_s=_WAIT_S) as con:
            return con.df()

    def frame(self, name: str) -> pandas.DataFrame:
        """Return a whole table or view, including those that a workload wrote."""
        return self.query(f'FROM "{name.replace(chr(34), chr(34) * 2)}"')

    @property
    def studies(self) -> pandas.DataFrame:
        """One row per study: its question, metric, spec and versions."""
        return self.frame("study")

    @property
    def trials(self) -> pandas.DataFrame:
        """One row per trial: its settings, and the primary metric with its interval."""
        return self.frame("trials")

    @property
    def leaderboard(self) -> pandas.DataFrame:
        """The trials of each study, best first."""
        return self.frame("leaderboard")

    @property
    def summary(self) -> pandas.DataFrame:
        """Recall@K of each trial: mean, standard deviation, interval, number of seeds."""
        return self.frame("summary")

    @property
    def comparisons(self) -> pandas.DataFrame:
        """Each trial against its baseline, paired by seed: difference, interval, p, Holm's p."""
        return self.frame("comparisons")

    @property
    def effects(self) -> pandas.DataFrame:
        """What each component of an ablation is worth, and each pair together, paired by seed."""
        return self.frame("effects")

    @property
    def control_comparisons(self) -> pandas.DataFrame:
        """Every trial against every control of its study, by the study's metric."""
        return self.frame("control_comparisons")

    @property
    def evidence(self) -> pandas.DataFrame:
        """Each look of a study with ``stop``: statistic, boundary, decision."""
        return self.frame("evidence")

    @property
    def runs(self) -> pandas.DataFrame:
        """One row per run: state, failure, seconds, memory, versions, parameters."""
        return self.frame("run")

    @property
    def results(self) -> pandas.DataFrame:
        """One row per finite result of each finished run, by study, trial and seed."""
        return self.frame("results")

    @property
    def recall(self) -> pandas.DataFrame:
        """Recall@K of finished runs, with the queries counted and dropped."""
        return self.frame("recall")

    @property
    def scores(self) -> pandas.DataFrame:
        """Every other result of finished runs."""
        return self.frame("score")

    @property
    def curves(self) -> pandas.DataFrame:
        """What finished runs reported, epoch by epoch."""
        return self.frame("curves")

    @property
    def failures(self) -> pandas.DataFrame:
        """Runs that failed, and why."""
        return self.frame("failures")

    @property
    def openings(self) -> pandas.DataFrame:
        """When a run was allowed to score the test classes, why, and by whom."""
        return self.frame("openings")

    @property
    def vault(self) -> pandas.DataFrame:
        """How often each test set has been read, over all studies."""
        return self.frame("vault")

    @property
    def claims(self) -> pandas.DataFrame:
        """What studies claim, whether that was registered before results, and the verdicts."""
        return self.frame("claims")

    @property
    def mixed(self) -> pandas.DataFrame:
        """Differences between the environments of a study's finished runs, such as in torch."""
        return self.frame("mixed")

    def best(self, study: str, to: str | Path | None = None, trial: str | None = None) -> BestModel:
        """Return the best model by validation, or a named trial's; copy it to ``to`` if given.

        Raises:
            InputError: no such study, trial or model, or ``to`` holds something already.
            StoreError: the database cannot be read.
        """
        if to is None:
            return find_model(self.folder, study, trial)
        return take_model(self.folder, study, Path(to), trial)

    def report(self, study: str, reports: str | Path = "reports") -> Path:
        """Write a study's page from what has finished, and return its path.

        Raises:
            InputError: no such study.
            StoreError: the database cannot be read, or the page cannot be written.
        """
        # Imported here: loading Plotly takes longer than a short study.
        from harness.report.study_page import write_report

        return write_report(self.folder, study, Path(reports))


class _Nobody:
    """A progress listener that does nothing."""

    def started(self, line: RunLine, snapshot: Snapshot) -> None:
        """Do nothing."""

    def ended(self, line: RunLine, snapshot: Snapshot) -> None:
        """Do nothing."""

    def tick(self, snapshot: Snapshot) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Do nothing."""


def _need_pandas() -> None:
    try:
        import pandas  # noqa: F401  DuckDB makes the frames with it
    except ImportError:
        raise InputError(
            "frames need pandas: pip install 'gcudml-harness[pandas]'; without it, query "
            "the database with `harness sql`"
        ) from None
