"""The executor for a Ray cluster, either one started on this machine or an existing one.

Each run is an actor on a node (``harness.executors.ray.node``), which the driver polls for news. So
only the driver writes results, no shared disk is needed, and output of a node that was given up is
ignored. The code is sent to the nodes; data, weights and libraries must already be there.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InputError
from harness.executors.interface import GRACE_S, Ended, Job, Placement
from harness.executors.ray.folder_sync import changes, put
from harness.executors.ray.node import News, NodeRun, Order, Seen, is_end
from harness.executors.run_process import environment
from harness.executors.worker.environment import variables_set
from harness.executors.worker.run_attempt import STATUS_NOT_WRITABLE
from harness.executors.worker.run_log import open_log
from harness.records.event_log import append_lines
from harness.records.folders import spool_path, work_dir
from harness.records.provenance import GitState, git_state

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle


_ASK_EVERY_S = 1.0
"""A node answers a request after this time, even if it has no new event."""
_COUNT_EVERY_S = 5.0
_NO_ROOM_S = 60.0
_CONNECT_S = 5.0
_LOOPBACK_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Despite its name, setting it to 0 keeps Ray on the loopback address on every system."""


class RayExecutor:
    """Runs as many runs at once as the CPUs and GPUs of the nodes allow."""

    def __init__(
        self, workload: str, slots: int | None, threads: int, placement: Placement
    ) -> None:
        """Connect to the cluster, or start one.

        Raises:
            InputError: Ray is not installed, there is no cluster at the address, or no node has
                room for a run.
        """
        self._workload = workload
        self._most = slots
        self._threads = threads
        self._per_gpu = placement.runs_per_gpu
        self._git = _git_state(workload)
        self._active: dict[str, _Active] = {}
        self._given_up: list[Ended] = []
        self._ray, self._is_owner = _connect(workload, placement.address, threads, slots)
        try:
            self._remote = self._ray.remote(NodeRun)
            self._has_gpus = any(node.get("GPU") for node in self._nodes())
            self._room = self._count_room()
            self._counted = self._had_room = time.monotonic()
            if not self._room:
                raise InputError(
                    f"no node of the cluster has {threads} CPUs for a run; use fewer --threads"
                )
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """How many runs may be active at once; changes as nodes come and go."""
        self._keep_count()
        return max(1, min(self._room, self._most or self._room))

    def submit(self, job: Job) -> None:
        """Give ``job`` to the first node that has room for it."""
        spool = _content(spool_path(job.directory))
        work = changes(work_dir(job.directory), {})
        order = Order(job.to_json(), self._workload, self._git, spool, work)
        actor = self._remote.options(
            num_cpus=self._threads,
            num_gpus=1 / self._per_gpu if self._has_gpus else 0,
            max_restarts=0,
            max_concurrency=3,  # news, cancel and clear may run at the same time
        ).remote(order)
        seen = Seen(spool=len(spool), work=work.present)
        answer = actor.news.remote(seen, _ASK_EVERY_S)
        self._active[job.run_id] = _Active(job, actor, answer, seen)

    def poll(self, timeout_s: float) -> list[Ended]:
        """Wait up to ``timeout_s`` for news and save them; return the runs that ended.

        Raises:
            HarnessError: there is no node left, or the nodes cannot be set up.
            StoreError: this machine's disk is full.
        """
        self._keep_count()
        ended, self._given_up = self._given_up, []
        asked = {active.answer: active for active in self._active.values()}
        if not asked:
            return ended
        ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=0.0 if ended else timeout_s)
        if ready:
            ready, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=0.0)
        elif time.monotonic() - self._had_room > _NO_ROOM_S:
            raise HarnessError(
                "no node of the cluster has room for a run any more; finished runs are kept: run "
                "the same command again"
            )
        found = [self._hear(asked[answer]) for answer in ready]
        return ended + [each for each in found if each is not None]

    def cancel(self, run_id: str, *, grace_s: float | None = GRACE_S) -> None:
        """Send SIGTERM to a run, and after ``grace_s`` SIGKILL to it and all its processes."""
        active = self._active.get(run_id)
        if active is None:
            return
        if active.has_begun:
            active.actor.cancel.remote(grace_s)
        else:  # it may have no node yet, and has nothing to save
            del self._active[run_id]
            self._ray.kill(active.actor)
            self._given_up.append(Ended(run_id, None, signal.SIGTERM))

    def stop(self) -> None:
        """Kill all active runs at once, including every process that they have started."""
        cleared = [each.actor.clear.remote() for each in self._active.values() if each.has_begun]
        if cleared:
            self._ray.wait(cleared, num_returns=len(cleared), timeout=GRACE_S)
        for active in self._active.values():
            self._ray.kill(active.actor)
        self._active.clear()
        self._given_up.clear()

    def close(self) -> None:
        """Kill active runs and disconnect; shut down a cluster that was started here."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            self.stop()
        if self._is_owner:
            self._ray.shutdown()

    def _hear(self, active: _Active) -> Ended | None:
        """Save the answer of a run's node and ask again; return the run's end if it has ended."""
        errors = self._ray.exceptions
        try:
            news: News = self._ray.get(active.answer)
        except errors.OutOfMemoryError as error:
            return self._give_up(active, error, Ended(active.job.run_id, None, signal.SIGKILL))
        except errors.RuntimeEnvSetupError as error:
            raise HarnessError(
                f"the nodes cannot be set up for workload {self._workload!r}: {_one_line(error)}"
            ) from None
        except (errors.RayError, HarnessError, OSError) as error:
            lost = Ended(active.job.run_id, None, None, is_lost=True)
            return self._give_up(active, error, lost)
        _write_down(active.job, news)
        if news.ended is None:
            seen = active.seen
            active.seen = Seen(
                seen.spool + len(news.spool), seen.log + len(news.log), news.work.present
            )
            active.has_begun = True
            active.answer = active.actor.news.remote(active.seen, _ASK_EVERY_S)
            return None
        active.actor.clear.remote()  # the actor ends afterwards, as no reference to it remains
        del self._active[active.job.run_id]
        is_lost = news.ended.exit_code == STATUS_NOT_WRITABLE  # that node's disk; others may do
        return news.ended._replace(is_lost=is_lost)

    def _give_up(self, active: _Active, error: Exception, ended: Ended) -> Ended:
        """Stop following a run that will send no more news, and log the reason."""
        del self._active[active.job.run_id]
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(active.actor)
        _log(active.job, f"harness: no more news from its node: {_one_line(error)}\n".encode())
        return ended

    def _nodes(self) -> list[dict[str, float]]:
        """Return the resources of each living node."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _keep_count(self) -> None:
        """Count the room again where the last count is old; a call that ends asks for no slots."""
        now = time.monotonic()
        if now - self._counted > _COUNT_EVERY_S:
            self._counted = now
            self._room = self._count_room()
            if self._room:
                self._had_room = now

    def _count_room(self) -> int:
        """Count how many runs fit on the nodes."""
        room = 0
        for node in self._nodes():
            fits = int(node.get("CPU", 0) // self._threads)
            if self._has_gpus:
                fits = min(fits, int(node.get("GPU", 0) * self._per_gpu))
            room += fits
        return room


@dataclass
class _Active:
    """An active run, its actor and its pending answer."""

    job: Job
    actor: ActorHandle
    answer: ObjectRef
    seen: Seen
    has_begun: bool = False


def _write_down(job: Job, news: News) -> None:
    """Add news to the run's own folder, in an order that stays consistent if interrupted.

    An epoch is written before the checkpoint that includes it, and the end after all files.
    """
    _log(job, news.log)
    lines = news.spool.splitlines(keepends=True)
    ends = [number for number, line in enumerate(lines) if is_end(line)]
    before = b"".join(lines[: ends[0]] if ends else lines)
    if before:
        append_lines(spool_path(job.directory), before)
    put(work_dir(job.directory), news.work)
    if ends:
        append_lines(spool_path(job.directory), b"".join(lines[ends[0] :]))


def _log(job: Job, text: bytes) -> None:
    with os.fdopen(open_log(job), "wb") as stream:
        stream.write(text)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # usually there is none yet; any other fault will show when it is written
        return b""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _connect(
    workload: str, address: str | None, threads: int, slots: int | None
) -> tuple[Any, bool]:
    """Return the module ``ray``, connected, and whether this call made the connection.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    variables = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "error"}
    if address is not None:
        _check_address(address)
    else:
        variables |= {_LOOPBACK_ONLY: "0", "PYTHONPATH": environment(threads)["PYTHONPATH"]}
    # These are read when Ray is imported, and by the processes that it starts.
    with variables_set(variables):
        try:
            import ray
        except ModuleNotFoundError:
            raise InputError(
                '--executor ray needs Ray; install it with pip install "gcudml-harness[ray]"'
            ) from None
        if ray.is_initialized():
            return ray, False
        with _signal_handler_kept():
            _initialise(ray, workload, address, slots * threads if slots else None)
    if address is None and not ray.util.get_node_ip_address().startswith(("127.", "::1")):
        ray.shutdown()
        raise InputError(
            "Ray was already imported and would now listen on the network; give --address"
        )
    return ray, True


def _initialise(ray: ModuleType, workload: str, address: str | None, cpus: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    packages = [str(_source(name)) for name in ("harness", workload.partition(".")[0])]
    try:
        with tempfile.TemporaryDirectory() as empty:
            # With an empty working directory, Ray does not search our current folder for code
            # first, of which a node may have an older copy.
            code = {"py_modules": packages, "excludes": ["__pycache__"], "working_dir": empty}
            ray.init(address=address, runtime_env=code, **quiet)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise InputError(
            f"--address {address}: no connection to a Ray cluster there: {_one_line(error)}; "
            "give the address that `ray start` printed, and RAY_AUTH_MODE=token if it uses a token"
        ) from None


def _check_address(address: str) -> None:
    """Reject an address at which nothing listens, since Ray would wait for minutes.

    Raises:
        InputError: nothing listens there, or it is not an address.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--address {address}: nothing listens there ({_one_line(error)}); give HOST:PORT of a "
            "cluster, as `ray start --head` prints it"
        ) from None


def _source(package: str) -> Path:
    """Return the folder of a package, or the file of a module.

    Raises:
        InputError: there is no such module.
    """
    spec = importlib.util.find_spec(package)
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec is None or spec.origin is None:
        raise InputError(f"workload {package!r}: no such module; give an importable one")
    return Path(spec.origin)


def _git_state(workload: str) -> GitState:
    """Return the commit of the code that is sent to the nodes."""
    source = _source(workload.partition(".")[0])
    return git_state(source if source.is_dir() else source.parent)


@contextlib.contextmanager
def _signal_handler_kept() -> Iterator[None]:
    """Keep the driver's SIGTERM handler, which Ray would replace."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
