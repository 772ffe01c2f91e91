"""Export a study's runs as TensorBoard event files; the only module that imports it.

Records are written here rather than by TensorBoard's own writer, which works in a thread, where a
full disk goes unnoticed, and names its files after the time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import InputError
from harness.export.study_runs import ExportedRun, exported_runs
from harness.records.trial import digest, flat

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


FILE = "events.out.tfevents.0.harness"


def write_event_files(results: Path, study: str, folder: Path) -> None:
    """Write one folder ``<trial>/seed-<n>`` per run: its curves, results and parameters.

    Results are scalars at the last epoch. A run that is not done has its state in its folder's
    name.

    Raises:
        InputError: TensorBoard is not installed, or there are no results yet.
        StoreError: the database cannot be read.
        OSError: the disk is full.
    """
    try:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter
    except ImportError:
        raise InputError(
            "event files need TensorBoard: pip install 'gcudml-harness[tensorboard]'"
        ) from None
    for run in exported_runs(results, study):
        place = folder / trial_folder(run) / _seed_folder(run)
        place.mkdir(parents=True)
        time = run.started.timestamp()
        with (place / FILE).open("wb") as stream:
            writer = RecordWriter(stream)
            writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
            for step, summary in [_start(run), *_scalars(run), _end(run)]:
                event = Event(wall_time=time, step=step, summary=summary)
                writer.write(event.SerializeToString())


def trial_folder(run: ExportedRun) -> str:
    """Return a trial's folder: its number, for sorting, and as much of its label as possible."""
    plain = re.sub(r"[^\w.=,+-]+", "_", run.label)
    if len(plain) > 80:
        plain = f"{plain[:80]}-{digest(run.label)[:8]}"
    return f"{run.number:03}-{plain}"


def _seed_folder(run: ExportedRun) -> str:
    fold = f"-fold-{run.fold}" if run.fold else ""
    return f"seed-{run.seed}{fold}" + ("" if run.state == "done" else f"-{run.state}")


def _scalars(run: ExportedRun) -> Iterator[tuple[int, Summary]]:
    """Yield epoch and summary of each number."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    for epoch, name, value in run.points:
        yield epoch, Summary(value=[Summary.Value(tag=name, simple_value=value)])


def _start(run: ExportedRun) -> tuple[int, Summary]:
    """Return the parameters, for TensorBoard's HParams table."""
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(
        start_time_secs=run.started.timestamp(), group_name=f"{run.number:03} {run.label}"
    )
    hparams = {**flat(run.params), "trial": run.label, "seed": run.seed}
    for name, value in hparams.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = value if isinstance(value, str) else json.dumps(value)
    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, session_start_info=info)
    return 0, _plugin_summary(metadata.SESSION_START_INFO_TAG, data.SerializeToString())


def _end(run: ExportedRun) -> tuple[int, Summary]:
    """Return how the run ended."""
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = {"done": api_pb2.STATUS_SUCCESS, "failed": api_pb2.STATUS_FAILURE}
    info = SessionEndInfo(
        status=status.get(run.state, api_pb2.STATUS_UNKNOWN),
        end_time_secs=(run.finished or run.started).timestamp(),
    )
    data = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, session_end_info=info)
    return 0, _plugin_summary(metadata.SESSION_END_INFO_TAG, data.SerializeToString())


def _plugin_summary(tag: str, content: bytes) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata

    plugin = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=content)
    value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))
    return Summary(value=[value])
