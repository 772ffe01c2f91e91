"""Execute runs in this process, in processes of their own or on a Ray cluster.

``local`` executes a run in this process; ``process`` and ``spawn`` in a process of its own, forked
from a warm one or started anew, which may be that of several runs; ``ray`` in a process on some
node of a cluster. None keeps anything but which runs are active: all that a run produces goes
through its spool.
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
    """The executor called ``name`` for runs of the module ``workload``.

    Args:
        name: Which. ``process`` is ``spawn`` where the system cannot fork.
        workload: Importable module name.
        slots: Runs at once, >= 1. ``local`` has one slot, whatever is asked; None gives ``ray`` as
            many as fit on the cluster.
        threads: Arithmetic threads of each run, >= 1.
        placement: Where runs may go.

    Raises:
        InputError: there is no such workload, no Ray, or no cluster at the address.
    """
    # Imported late: each of them imports this module.
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
