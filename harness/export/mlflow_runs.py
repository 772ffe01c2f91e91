"""Export a study's runs to MLflow; the only module that imports it."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.errors import InputError
from harness.export.study_runs import ExportedRun, exported_runs
from harness.records.trial import flat, seed_text
from harness.units import shortened

if TYPE_CHECKING:
    from mlflow import MlflowClient


_Item = TypeVar("_Item")

RUN_ID = "harness.run_id"
"""Tag that identifies a run, so that repeated exports write it only once."""
_MOST_METRICS = 1000
_MOST_PARAMS = 100
_LONGEST_PARAM = 6000
_STATUS = {"done": "FINISHED", "failed": "FAILED", "pruned": "KILLED", "running": "RUNNING"}


def write_runs(results: Path, study: str, uri: str, artifacts: str | None = None) -> int:
    """Write the runs of ``study`` to an experiment of that name; return how many were new.

    Args:
        results: The results folder.
        study: Its name.
        uri: Tracking server or database, such as ``sqlite:///mlflow.db``. Runs that are already
            there are skipped.
        artifacts: Artifact location of a new experiment; None leaves it to the server.

    Raises:
        InputError: MLflow is not installed, or there are no results yet.
        StoreError: the database cannot be read.
        OSError: MLflow refuses, or the disk is full.
    """
    # MLflow would otherwise report to its makers how it is used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise InputError("this export needs MLflow: pip install 'gcudml-harness[mlflow]'") from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    with warnings.catch_warnings():  # libraries warn about each other
        warnings.simplefilter("ignore")
        try:
            client = MlflowClient(tracking_uri=uri)
            experiment = _experiment(client, study, artifacts)
            known = _known(client, experiment)
            new = [run for run in exported_runs(results, study) if run.run_id not in known]
            for run in new:
                _write(client, experiment, study, run)
        except MlflowException as error:
            reason = str(error).strip().splitlines()[0]
            raise OSError(errno.EIO, f"MLflow: {reason}") from None
    return len(new)


def metric_name(name: str) -> str:
    """Rename a metric for MLflow, which allows no @: ``recall@1`` -> ``recall_at_1``."""
    return re.sub(r"[^\w.: /-]", "_", name.replace("@", "_at_"))


def _experiment(client: MlflowClient, study: str, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(study)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(study, artifact_location=artifacts))


def _known(client: MlflowClient, experiment: str) -> set[str]:
    """Return the ids of our runs that are already there."""
    known: set[str] = set()
    token: str | None = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        known |= {run.data.tags[RUN_ID] for run in page if RUN_ID in run.data.tags}
        token = page.token
        if not token:
            return known


def _write(client: MlflowClient, experiment: str, study: str, run: ExportedRun) -> None:
    """Write one run: parameters, tags, metrics by epoch, and results at the last epoch."""
    from mlflow.entities import Metric, Param

    started = _milliseconds(run.started)
    created = client.create_run(
        experiment,
        start_time=started,
        tags=_tags(study, run),
        run_name=f"{run.label}, seed {seed_text(run.seed, run.fold)}",
    )
    new_id = created.info.run_id
    params = {metric_name(key): _param(value) for key, value in flat(run.params).items()}
    params["seed"] = str(run.seed)
    metrics = [Metric(metric_name(p.name), p.value, started, p.epoch) for p in run.points]
    for some in _batches([Param(key, value) for key, value in params.items()], _MOST_PARAMS):
        client.log_batch(new_id, params=some)
    for many in _batches(metrics, _MOST_METRICS):
        client.log_batch(new_id, metrics=many)
    status = _STATUS[run.state]
    if run.state != "running":
        client.set_terminated(new_id, status, _milliseconds(run.finished or run.started))


def _tags(study: str, run: ExportedRun) -> Mapping[str, str]:
    tags = {
        RUN_ID: run.run_id,
        "harness.study": study,
        "harness.trial": run.label,
        "harness.trial_id": run.trial_id,
        "harness.number": str(run.number),
        "harness.phase": run.phase,
        "harness.role": run.role,
        "harness.state": run.state,
        "harness.failure": run.failure,
        "harness.host": run.host,
        "mlflow.source.git.commit": run.commit,
    }
    return {key: value for key, value in tags.items() if value is not None}


def _param(value: object) -> str:
    return shortened(value if isinstance(value, str) else json.dumps(value), _LONGEST_PARAM)


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1000)
