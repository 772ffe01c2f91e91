"""Run a study in the background, by ``harness run`` in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from pydantic import ValidationError

from harness.answers.documents import Message, Ran
from harness.errors import InputError

_STOP_S = 70.0
"""A call of harness run saves within a minute of SIGTERM."""


class StudyProcess:
    """A call of ``harness run`` in a process of its own."""

    def __init__(self, study: str, command: Sequence[str]) -> None:
        self.study = study
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  '' is where we are
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
            text=True,
            start_new_session=True,
        )
        self._said: tuple[str, str] = ("", "")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self._said = self._process.communicate()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._reader.is_alive()

    def wait(self, wait_s: float) -> Ran | None:
        """Return what it answered; None if it has not ended within the time.

        Raises:
            InputError: it ended with an error.
        """
        self._reader.join(wait_s)
        if self._reader.is_alive():
            return None
        out, err = self._said
        with suppress(ValidationError):
            return Ran.model_validate_json(out)
        raise InputError(_error(err) or f"harness run ended with {self._process.returncode}")

    def stop(self) -> None:
        """Let the running epochs finish and be saved, then end it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._reader.join(_STOP_S)
        if self._process.poll() is None:
            self._process.kill()


def _error(err: str) -> str | None:
    """Return the error that ended a call; its notices may name test scores."""
    for line in reversed(err.splitlines()):
        with suppress(ValidationError):
            message = Message.model_validate_json(line)
            if message.kind == "error":
                return message.text
    return None
