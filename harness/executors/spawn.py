"""The executor that starts a fresh process for every run, for systems that cannot fork.

Each run imports everything itself. Otherwise it gives the same guarantees as the process executor.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time

from harness.executors.gpu_slots import LOOK_EVERY_S, Starts
from harness.executors.interface import GRACE_S, HERE, Ended, Job, Placement
from harness.executors.run_process import RunProcess


class SpawnExecutor:
    """Up to ``slots`` runs at once, each in its own process."""

    def __init__(
        self, workload: str, *, slots: int, threads: int, placement: Placement = HERE
    ) -> None:
        self._workload = workload
        self.slots = slots
        self._threads = threads
        self._starts = Starts(placement.gpus, placement.runs_per_gpu)
        self._active: dict[str, RunProcess] = {}
        self._kill_at: dict[str, float] = {}
        self._ends: queue.SimpleQueue[Ended] = queue.SimpleQueue()

    def submit(self, job: Job) -> None:
        """Start ``job``; on a machine with GPUs, wait until one is free for it."""
        self._starts.add(job)
        self._start_due()

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait up to ``timeout_s`` for a run to end; return the runs that ended since last time."""
        self._start_due()
        now = time.monotonic()
        for run_id, at in self._kill_at.items():
            if at <= now and run_id in self._active:
                self._active[run_id].kill()
        deadlines = [at - now for at in self._kill_at.values() if at > now]
        if self._starts.is_holding:
            deadlines.append(LOOK_EVERY_S)
        ended: list[Ended] = []
        with contextlib.suppress(queue.Empty):
            ended.append(self._ends.get(timeout=min([timeout_s, *deadlines])))
            while True:
                ended.append(self._ends.get_nowait())
        for each in ended:
            self._active.pop(each.run_id, None)
            self._kill_at.pop(each.run_id, None)
            self._starts.note_end(each.run_id)
        return ended

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Send SIGTERM to a run, and after ``grace_s`` SIGKILL to it and all its processes."""
        if self._starts.drop(run_id):
            self._ends.put(Ended(run_id, None, signal.SIGTERM))
        elif run_id in self._active:
            self._active[run_id].terminate()
            if grace_s is not None:
                at = time.monotonic() + grace_s
                self._kill_at[run_id] = min(at, self._kill_at.get(run_id, at))

    def stop(self) -> None:
        """Kill all active runs at once, including every process that they have started."""
        self._starts.clear()
        for run in self._active.values():
            run.kill()
        deadline = time.monotonic() + GRACE_S
        while self._active and (left := deadline - time.monotonic()) > 0:
            self.poll(left)
        self._active.clear()
        self._kill_at.clear()
        with contextlib.suppress(queue.Empty):  # runs that were cancelled before they started
            while True:
                self._ends.get_nowait()

    def close(self) -> None:
        """Kill all active runs."""
        self.stop()

    def _start_due(self) -> None:
        for job in self._starts.due():
            run = RunProcess(job, workload=self._workload, threads=self._threads)
            self._active[job.run_id] = run
            threading.Thread(target=self._await, args=(run,), daemon=True).start()

    def _await(self, run: RunProcess) -> None:
        self._ends.put(run.wait())
