"""Find the best model of a study, and copy it to a new folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError, StoreError, nearest
from harness.records.event_log import read_spool
from harness.records.folders import run_dir, spool_path, work_dir
from harness.records.run_files import Left, damage_of
from harness.records.run_state import replay
from harness.store import database
from harness.store.typed_rows import read_rows

RUN_FILE = "run.json"

_SCORED = """
WITH score AS (
    SELECT trial, trial_id, number, phase, seed, run_id, value
    FROM results JOIN study USING (study)
    WHERE study = $study AND split = 'val' AND role <> 'control'
        AND name = regexp_replace(metric, '^.*/', '')
        AND ($trial IS NULL OR trial = $trial)
),
mean AS (
    SELECT
        trial_id, phase, number, avg(value ORDER BY seed) AS mean,
        count(*) = (
            SELECT count(DISTINCT seed) FROM member WHERE member.trial_id = score.trial_id
        ) AS is_whole
    FROM score
    GROUP BY trial_id, phase, number
),
best AS (
    SELECT trial_id FROM mean
    ORDER BY phase <> 'confirm', NOT is_whole, mean DESC, number
    LIMIT 1
)
SELECT trial, seed, run_id, value
FROM score JOIN best USING (trial_id)
ORDER BY value DESC, seed
LIMIT 1
"""

_NAMED = """
SELECT trial.label, member.seed, run_id, NULL
FROM trial JOIN member USING (trial_id) JOIN run USING (run_id)
WHERE study = $study AND label = $trial AND state = 'done'
ORDER BY phase <> 'confirm', seed
LIMIT 1
"""

_WHOLE = """
SELECT
    study.study, trial.label AS trial, trial.phase, member.seed, run.run_id, run.workload,
    run.params, run.code, run.data, run.git_commit AS commit, run.versions
FROM member JOIN trial USING (trial_id) JOIN study USING (study) JOIN run USING (run_id)
WHERE study = $study AND run_id = $run
LIMIT 1
"""


_NUMBERS = """
SELECT concat_ws('/', nullif(split, ''), name), value
FROM folds WHERE study = $study AND run_id = $run
ORDER BY split, name
"""

_LABELS = "SELECT label FROM trial WHERE study = ? ORDER BY number"


class BestModel(NamedTuple):
    """The best run of the best trial."""

    trial: str
    seed: int
    run_id: str
    score: float | None
    """The study's metric on validation images, since test classes are never used for selection.
    None if there are none, and the trial was named."""
    path: Path
    """Its model file, or the work folder of its run if there is none."""


def best_model(results: Path, study: str, trial: str | None = None) -> BestModel | None:
    """Choose a study's best run: the best seed of the best trial, both by validation.

    Confirmed trials come before those of the search, whose best is partly luck, and complete trials
    before those that lack seeds. None if no run has a validation score yet.

    Args:
        results: Folder of spools and database.
        study: Its name.
        trial: Label of the trial; None for the best. Without a validation score, its lowest seed
            is taken.

    Raises:
        InputError: there are no results yet.
        StoreError: the database cannot be read.
    """
    wanted = {"study": study, "trial": trial}
    with database.reading(results) as con:
        rows = read_rows(con, _SCORED, wanted)
        if not rows and trial is not None:
            rows = read_rows(con, _NAMED, wanted)
    if not rows:
        return None
    label, seed, run_id, score = rows[0]
    work = work_dir(run_dir(results, run_id))
    return BestModel(label, seed, run_id, score, next(iter(model_files(work)), work))


def find_model(results: Path, study: str, trial: str | None = None) -> BestModel:
    """Return the best model, as ``best_model`` does, but raise if there is none.

    Raises:
        InputError: no such study, or trial, or no run that has finished.
        StoreError: the database cannot be read.
    """
    found = best_model(results, study, trial)
    if found is None:
        raise InputError(_nothing(results, study, trial))
    return found


def model_files(work: Path) -> list[Path]:
    """List the model files ``model.*`` in a run's work folder."""
    return sorted(path for path in work.glob("model.*") if path.is_file())


def take_model(results: Path, study: str, to: Path, trial: str | None = None) -> BestModel:
    """Copy a study's best model, and a description of it, into a new folder.

    The folder is created whole or not at all. Its ``run.json`` names the study, the trial, the
    seed, all parameters, the versions of code, data and libraries, and the results.

    Returns:
        The model, with the path of the copy.

    Raises:
        InputError: no such study, trial or model; or ``to`` holds something already.
        StoreError: the database cannot be read, or the model is no longer what its run wrote.
    """
    found = find_model(results, study, trial)
    work = work_dir(run_dir(results, found.run_id))
    files = model_files(work)
    if not files:
        raise InputError(
            f"{found.path}: its run left no model (a file model.*); the workload must write one, "
            "or take another trial with --trial"
        )
    left = Left(work, replay(read_spool(spool_path(run_dir(results, found.run_id)))).files)
    for path in files:
        if (damage := damage_of(left, path.name)) is not None:
            raise StoreError(
                f"{path}: {damage}; remove {run_dir(results, found.run_id)} and run the study "
                "again, or take another trial with --trial"
            )
    with _new_folder(to) as draft:
        for path in files:
            shutil.copyfile(path, draft / path.name)
        text = json.dumps(_describe(results, study, found), indent=2, sort_keys=False)
        (draft / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    return found._replace(path=to / files[0].name)


def _nothing(results: Path, study: str, trial: str | None) -> str:
    """Explain why there is no model, and what to do."""
    with database.reading(results) as con:
        known = [name for (name,) in read_rows(con, "SELECT study FROM study", [])]
        labels = [label for (label,) in read_rows(con, _LABELS, [study])]
    if study not in known:
        return f"{results}: unknown study {study!r}; {nearest(study, known)}"
    if trial is not None and trial not in labels:
        return f"{study}: unknown trial {trial!r}; {nearest(trial, labels)}"
    if trial is not None:
        return f"{study}: no run of {trial!r} has finished; run the study first"
    return (
        f"{study}: no run has a validation score to choose by; run the study first, or name a "
        "trial with --trial"
    )


def _describe(results: Path, study: str, model: BestModel) -> dict[str, object]:
    wanted = {"study": study, "run": model.run_id}
    with database.reading(results) as con:
        (row,) = read_rows(con, _WHOLE, wanted)
        names = [name for name, *_ in con.description or ()]
        numbers = dict(read_rows(con, _NUMBERS, wanted))
    return dict(zip(names, row, strict=True)) | {"results": numbers}


@contextmanager
def _new_folder(to: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``to`` on success."""
    if to.exists() and not (to.is_dir() and not any(to.iterdir())):
        raise InputError(f"{to}: already exists; name a new folder, or remove this one")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{to.name}-", dir=to.parent))
        try:
            yield draft
            draft.chmod(0o755)  # mkdtemp makes it readable by its owner only
            draft.replace(to)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(
            f"{to}: cannot write the model ({error.strerror or error}); free space, or choose "
            "another folder"
        ) from None
