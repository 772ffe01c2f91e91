"""Trains several runs in one worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.executors.interface import PROFILE, Job
from harness.executors.worker.environment import variables_set
from harness.executors.worker.run_attempt import STATUS_INTERRUPTED, execute, warm_up
from harness.workload import Workload


def execute_all(job: Job, workload: Workload) -> int:
    """Execute ``job`` and the jobs beside it, each as ``execute`` does.

    Each run has its own spool and work folder, and ends on its own: a run that fails or ends early
    does not affect the others.

    Returns:
        The exit status of the process: ``STATUS_INTERRUPTED`` if a run was asked to end, else 0.

    Raises:
        KeyboardInterrupt: the runs were interrupted.
        StoreError: a spool cannot be written. Raised only after the other runs have ended.
    """
    if not job.beside:
        return execute(job, workload)
    warm_up(job.run.workload)  # once, before there are threads
    statuses: list[int] = []
    errors: list[BaseException] = []

    def call_for(member: Job) -> Callable[[], None]:
        def call() -> None:
            try:
                statuses.append(execute(member, workload))
            except BaseException as error:
                errors.append(error)

        return call

    members = (job, *(replace(each, device=job.device) for each in job.beside))
    with variables_set({PROFILE: "1"} if job.profile else {}):  # until the last run ends
        workload.run_together([call_for(member) for member in members])
    if errors:
        raise errors[0]
    return STATUS_INTERRUPTED if STATUS_INTERRUPTED in statuses else 0
