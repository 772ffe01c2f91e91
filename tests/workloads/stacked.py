"""Curves from a formula whose runs can be trained together where they have the same width; no torch.

What goes wrong on demand does so in company only, but for ``raise`` and ``diverge``.
"""

import functools
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from harness.executors.worker import stop_request

HOLD = "STACKED_HOLD"
"""Where this names a file that exists, a run that begins reports an epoch and waits to be ended."""
DEFAULTS = {
    "rate": 0.1,
    "width": 1,
    "epochs": 3,
    "worth": 4,
    "fail": "",
    "fails": [0],
    "epoch_seconds": 0.0,
}


def schema():
    return {"type": "object", "properties": {name: {} for name in DEFAULTS}}


def check(params):
    if unknown := params.keys() - DEFAULTS.keys():
        raise ValueError(f"{unknown.pop()}: unknown")
    return DEFAULTS | dict(params)


def epochs(params):
    return params["epochs"]


def together(params):
    return (f"width {params['width']}", params["worth"])


def run_together(calls):
    threads = [threading.Thread(target=call, name="stacked") for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def run(params, *, seed, workdir, report, test):
    is_told = seed in params["fails"]
    has_company = threading.current_thread().name == "stacked"
    print(f"seed {seed} says this", file=sys.stderr)
    checkpoint, part = workdir / "checkpoint", workdir / "checkpoint.part"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    final = params["rate"] + random.Random(f"{params['width']} {seed}").random() / 10
    for epoch in range(first, params["epochs"]):
        value = final * (epoch + 1) / params["epochs"]
        if is_told and params["fail"] == "diverge" and epoch == 1:
            value = float("nan")
        time.sleep(params["epoch_seconds"])
        goes_on = report(epoch, {"val/recall@1": value})
        part.write_text(str(epoch + 1))
        part.replace(checkpoint)
        if not goes_on:
            break
        is_stalled = has_company and params["fail"] == "stall"
        if epoch == 0 and (_is_held() or (is_stalled and is_told)):
            _wait_to_be_asked()
        elif epoch == 0 and is_stalled:  # for the one that is silent
            _wait_to_be_asked(functools.partial(report, 0, {"val/recall@1": value}))
        if is_told and params["fail"] == "early" and epoch == 1:
            break
    if is_told and params["fail"] == "raise":
        raise RuntimeError("this run was told to raise")
    if is_told and has_company:
        _fail(params["fail"])
    results = {f"val/recall@{k}": min(1.0, k * final) for k in (1, 2)}
    results |= {"val/queries": 9.0, "val/dropped": 1.0}
    return results | ({"test/recall@1": final} if test else {})


def _is_held():
    return bool(os.environ.get(HOLD)) and Path(os.environ[HOLD]).exists()


def _wait_to_be_asked(meanwhile=lambda: None):
    while not stop_request.is_asked():
        meanwhile()
        time.sleep(0.02)


def _fail(how):
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "memory":
        raise MemoryError
    if how == "disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from here on every write fails
