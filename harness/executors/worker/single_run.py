"""A fresh process for one run: ``python -m harness.executors.worker.single_run WORKLOAD``.

It reads its order as one JSON line from standard input, which then stays open. When the input ends,
the parent process is gone, and the run exits; it also exits when its guard is killed.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import signal
import sys
import threading
import traceback
from typing import NoReturn

from harness.errors import HarnessError
from harness.executors.guard import stay_without_guard
from harness.executors.interface import Job
from harness.executors.run_process import IS_GUARDED
from harness.executors.worker import stop_request
from harness.executors.worker.packed_runs import execute_all
from harness.executors.worker.run_attempt import failed_status, know_git
from harness.records.provenance import GitState
from harness.workload import load_workload

_LOOK_EVERY_S = 0.5


def main() -> int:
    """Execute the run; return the exit status, which is 0 if the run's end is in its spool."""
    parent = os.getppid()
    if IS_GUARDED:
        os.setsid()  # a group of its own, without the guard
    orders = _take_input()
    with os.fdopen(orders, "rb", buffering=0, closefd=False) as stream:
        order = json.loads(stream.readline())
    threading.Thread(target=_die_with_parent, args=(orders, parent), daemon=True).start()
    if IS_GUARDED:
        stay_without_guard()  # from here on the thread ends us, along with our whole group
    faulthandler.enable()
    job = Job.from_json(order["job"])
    if job.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = job.device
    name = sys.argv[1]
    try:
        workload = load_workload(name)
    except Exception:
        traceback.print_exc()
        return 1
    if order["git"] is not None:
        know_git(name, GitState(*order["git"]))
    stop_request.listen()
    try:
        return execute_all(job, workload)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return failed_status(error)


def _take_input() -> int:
    """Return a descriptor of standard input, and give the workload an empty one instead."""
    orders = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return orders


def _die_with_parent(orders: int, parent: int) -> NoReturn:
    is_over = False
    while not is_over and os.getppid() == parent:
        readable, _, _ = select.select([orders], [], [], _LOOK_EVERY_S)
        is_over = bool(readable) and not os.read(orders, 4096)
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)  # including every process that the run has started
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
