"""Execute runs in this process, in processes of their own or on a Ray cluster.

``local`` executes a run in this process. ``process`` and ``spawn`` use child processes, forked from
a warm server or started afresh; several runs may share one. ``ray`` uses a process on a node of a
cluster. An executor keeps track only of active runs; all output of a run goes through its spool.
"""

from __future__ import annotations

import os

from harness.executors.interface import HERE, Executor, ExecutorName, Placement


def make_executor(
    name: ExecutorName,
    workload: str,
    *,
    slots: int | None,
    threads: int,
    placement: Placement = HERE,
) -> Executor:
    """Create the executor called ``name`` for runs of the module ``workload``.

    Args:
        name: Kind of executor. ``process`` means ``spawn`` on systems that cannot fork.
        workload: Importable module name.
        slots: Maximum number of runs at once, >= 1. ``local`` always has one slot; with None,
            ``ray`` has as many as fit on the cluster.
        threads: Arithmetic threads of each run, >= 1.
        placement: Where runs may be placed.

    Raises:
        InputError: the workload does not exist, Ray is not installed, or there is no cluster at
            the address.
    """
    # Late imports, because each executor imports this package.
    if name == "local":
        from harness.executors.local import LocalExecutor
        from harness.workload import load_workload

        return LocalExecutor(load_workload(workload))
    if name == "ray":
        from harness.executors.ray.executor import RayExecutor

        return RayExecutor(workload, slots=slots, threads=threads, placement=placement)
    if name == "spawn" or not hasattr(os, "fork"):
        from harness.executors.spawn import SpawnExecutor

        return SpawnExecutor(workload, slots=slots or 1, threads=threads, placement=placement)
    from harness.executors.process import ProcessExecutor

    return ProcessExecutor(workload, slots=slots or 1, threads=threads, placement=placement)
