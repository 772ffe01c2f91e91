"""The interface between the harness and what it studies.

A workload is a module with the functions of ``Workload``. Only plain values pass between the two:
numbers, text, lists and dicts of them, a path and one callback. Tables and images pass as files.
"""

from __future__ import annotations

import functools
import importlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, TypeAlias, cast

from pydantic import JsonValue

from harness.errors import InputError
from harness.workload.loaded_code import watch

__all__ = ["JsonValue", "Params", "Report", "Workload", "load_workload"]

Params: TypeAlias = Mapping[str, JsonValue]


class Report(Protocol):
    """The callback through which a running workload reports the metrics of each epoch."""

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record the metrics of one epoch. False means: save, stop now, return what you have.

        Names are free text (``loss``, ``loss/metric``, ``learning_rate``); a metric of a data split
        is written ``val/recall@1``. A non-finite value ends the run as ``diverged``; a metric named
        ``collapsed`` above 0 ends it as ``collapsed``. False may also mean that the user interrupts
        the run: its return value is then ignored, and a later call of ``run`` resumes it.
        """
        ...


class Workload(Protocol):
    """A module to study; it must have ``schema``, ``check`` and ``run``, the rest is optional."""

    def schema(self) -> Mapping[str, JsonValue]:
        """Return the JSON Schema of the parameters, for editors and ``harness schema``."""
        ...

    def check(self, params: Params) -> dict[str, JsonValue]:
        """Validate the parameters and fill in every default; the result is part of a run's id.

        Must be fast: it uses no data and no GPU.

        Raises:
            ValueError: one line per unknown or impossible parameter, each ``dotted.key: rule``.
        """
        ...

    def controls(self, *params: Any, **none: Any) -> Mapping[str, Params]:  # noqa: ANN401 - accepts both signatures
        """Return control trials that every study includes: name -> overrides by dotted key.

        Defined as ``controls()``, it overrides the study's base. Defined as ``controls(params)``,
        it is asked for each trial, overrides that trial's parameters, and equal controls count
        once; so it must also set to its default whatever does not affect a control. The trials of a
        search are then its baseline and both ends or every choice of each axis. May be empty; a
        module without this function has no controls.
        """
        ...

    def fold(self, params: Params, number: int, of: int) -> Params | None:
        """Return the overrides that hold out one of ``of`` folds of the training data, by key.

        The folds are numbered from 1, do not overlap, and together cover everything that is not
        test data; they do not depend on ``number``. A run with these overrides is trained on the
        other folds and scored on this one as its split ``val``. None, or no such function, means
        that the workload has no folds.
        """
        ...

    def data_fingerprint(self, params: Params) -> str:
        """Return a digest of the data that ``params`` name; equal data give equal text.

        Called once per trial before anything is trained, so it is also the place to prepare the
        data and to reject parameters that do not fit them.

        Raises:
            ValueError: the data are missing or unusable, or the parameters do not fit them, as
                ``dotted.key: what, remedy``.

        Without this function, all data count as equal.
        """
        ...

    def test_fingerprint(self, params: Params) -> str:
        """Return a digest of the test set that ``params`` name; empty if there is none.

        It counts how often a test set has been read, over all studies of a results folder. So it
        covers what the test files hold and nothing else: neither the size at which they are read,
        nor the parameters of the split that selects them, nor training data or weights. Called
        after ``data_fingerprint``, once per trial that may be scored on test classes. It affects no
        run id.

        Without this function, test sets are told apart by ``data_fingerprint``.
        """
        ...

    def code(self, params: Params) -> Sequence[str] | None:
        """Return the dotted names of the modules that a run with ``params`` uses.

        Editing any other module does not cause retraining. A package stands for everything below
        it. Only late imports, inside functions, must be listed: this module always counts, and so
        does whatever a counted module imports at its top level. A run fails if it imports a module
        of the same packages that does not count.

        None, or no such function, means everything: all modules below this module's package. For a
        single-file workload it means this file and the files beside it that it imports, directly or
        through others.
        """
        ...

    def random_sources(self, params: Params) -> Mapping[str, str]:
        """Return the sources of a run's randomness: name -> dotted key that pins the source.

        Setting that key to a seed must make the source follow it instead of the run's seed. With
        all of them set, runs with different seeds must give the same results, up to what the
        machine itself does at random. A study with ``variance`` pins them in turn.

        Without this function there are none, and such a study is refused.
        """
        ...

    def epochs(self, params: Params) -> int | None:
        """Return how many epochs a run with ``params`` will report; None if unknown.

        Forecasts and pruners use it; a run may end earlier. Without this function it is unknown.
        """
        ...

    def together(self, params: Params) -> tuple[str, int] | None:
        """Return which runs, and how many, one process can train along with a run with ``params``.

        The result is a key and the largest number of runs worth training at once on this machine (1
        if it is not worthwhile). Runs with equal keys differ in numbers only, so ``run_together``
        can stack them. None, or no such function, means that such a run is always trained alone.

        The driver calls this once per trial, and for all trials known in advance before any starts.
        The workload may measure its answer, but the calling process must not keep hold of a GPU.
        """
        ...

    def run_together(self, calls: Sequence[Callable[[], None]]) -> None:
        """Train several runs with equal keys at once; return when all calls have returned.

        Make each call exactly once, in a thread of its own. It calls ``run`` for one of the runs,
        with that run's parameters, seed, folder and ``report``, and never raises: an exception in
        ``run`` fails that run alone. A run may return earlier than the others.

        Without this function, the calls are made one after another.
        """
        ...

    def run(
        self, params: Params, *, seed: int, workdir: Path, report: Report, test: bool
    ) -> Mapping[str, float]:
        """Train and evaluate once; score the test classes only if ``test`` is true.

        Results are named ``split/metric``: ``val/recall@1``, ``test/nmi``, and ``val/queries``
        and ``val/dropped``, the numbers of queries that Recall@K counts and leaves out. All files
        go below ``workdir``: rows for the store in ``tables/<name>.jsonl`` (one object per row) and
        a few facts worth recording (device, number format) in ``facts.json``. Two facts are lists
        of sentences that every report repeats: ``remarks``, what a reader must know about these
        parameters, and ``alarms``, what went wrong in this run although it finished. The fact
        ``criterion`` names a metric that needs no labels, which reports compare with Recall@1.

        If ``workdir`` holds a checkpoint of an earlier call that was stopped, the run resumes from
        it: it reports the remaining epochs and ends with the same numbers as if it had never
        stopped. An epoch that is reported again counts once. A workload without checkpoints starts
        over and replaces the files of the first call.

        Raises:
            ValueError: the parameters or the data are impossible; the run is ``invalid``.
            FloatingPointError: values became non-finite or unusable; the run has ``diverged``.
            MemoryError: out of memory, on the host or a GPU; the run is ``oom``. Any other
                exception is a ``crash``.
        """
        ...


def load_workload(name: str) -> Workload:
    """Import the module ``name`` and check that it has the functions that a workload needs.

    The functions that the driver calls are wrapped: an invalid answer, or any exception except the
    ``ValueError`` that rejects parameters, becomes a one-line error that names the function.

    Raises:
        InputError: there is no such module, it cannot be imported, or it lacks a function.
    """
    if not _is_dotted(name):
        raise InputError(f"workload {name!r}: not a module name; {_SUCH_AS}")
    watch(name)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise _broken(name, "the module cannot be imported", error) from error
        raise InputError(f"workload {name!r}: no such module; {_SUCH_AS}") from None
    except _WHATEVER as error:
        raise _broken(name, "the module cannot be imported", error) from error
    if missing := [name for name in _NEEDED if not callable(getattr(module, name, None))]:
        raise InputError(
            f"workload {name!r}: the module lacks {', '.join(missing)}; see harness.workload"
        )
    found = {each: getattr(module, each) for each in _NEEDED}
    found |= {each: getattr(module, each, default) for each, default in _DEFAULTS.items()}
    for each, (form, is_right) in _ANSWERS.items():
        found[each] = _guarded(name, each, found[each], form, is_right)
    return cast("Workload", SimpleNamespace(**found))  # mypy cannot know that it satisfies it


def _guarded(
    workload: str,
    name: str,
    function: Callable[..., object],
    form: str,
    is_right: Callable[[Any], bool],
) -> Callable[..., object]:
    """Wrap a workload's function so that failures become one-line errors."""

    @functools.wraps(function)
    def ask(*arguments: object) -> object:
        try:
            answer = function(*arguments)
        except ValueError as error:
            if name in _MAY_REFUSE and _text_of(error):
                raise  # the workload's own message about the parameters
            raise _broken(workload, f"{name} failed", error) from error
        except _WHATEVER as error:
            raise _broken(workload, f"{name} failed", error) from error
        if not is_right(answer):
            shown = f"{type(answer).__name__} {_shown(answer)}"
            raise InputError(f"workload {workload!r}: {name}: {form} is needed, got {shown}")
        return answer

    return ask


def _broken(workload: str, what: str, error: BaseException) -> InputError:
    """Make the one-line error for an exception in the workload's code, with its file and line."""
    frames = [
        (frame.filename, frame.lineno)
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ") and frame.filename != __file__
    ]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    place = f" ({frames[-1][0]}:{frames[-1][1]})" if frames else ""
    said = f": {text}" if (text := _text_of(error)) else ""
    return InputError(
        f"workload {workload!r}: {what}: {type(error).__name__}{said}{place}; fix it, "
        "HARNESS_TRACEBACK=1 shows the full traceback"
    )


def _text_of(error: BaseException) -> str:
    """Return an exception's message on one line."""
    text = error.msg if isinstance(error, SyntaxError) else _shown(error, str)
    return " ".join(text.split())[:_MOST_SHOWN]


def _shown(value: object, show: Callable[[object], str] = repr) -> str:
    """Format a value as text, even if its class fails to do so."""
    try:
        return show(value)[:_MOST_SHOWN]
    except Exception as error:
        return f"(without text: {type(error).__name__})"


def _is_plain(value: object, levels: int = 64) -> bool:
    """Return whether JSON can hold a value."""
    if isinstance(value, Mapping):
        return _are_named(value) and all(_is_plain(each, levels - 1) for each in value.values())
    if isinstance(value, list | tuple):
        return levels > 0 and all(_is_plain(each, levels - 1) for each in value)
    return value is None or isinstance(value, bool | int | float | str)


def _are_named(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_dotted(value: object) -> bool:
    """Return whether a value can be the dotted name of a module."""
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_offer(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and _is_whole(value[1])


def _one_after_another(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


_MOST_SHOWN = 200
_SUCH_AS = "give an importable one such as 'gcudml.workload'"
_WHATEVER = (Exception, SystemExit)
"""Exceptions to blame on the workload; ``KeyboardInterrupt`` comes from the user."""
_NEEDED = ("schema", "check", "run")
_DEFAULTS: Mapping[str, Callable[..., object]] = {
    "controls": lambda: {},
    "fold": lambda params, number, of: None,
    "data_fingerprint": lambda params: "",
    "test_fingerprint": lambda params: "",
    "code": lambda params: None,
    "random_sources": lambda params: {},
    "epochs": lambda params: None,
    "together": lambda params: None,
    "run_together": _one_after_another,
}
_MAY_REFUSE = ("check", "data_fingerprint", "test_fingerprint", "together")
_ANSWERS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "schema": ("a mapping of names to plain values", lambda a: _are_named(a) and _is_plain(a)),
    "check": ("a dict of plain values", lambda a: isinstance(a, dict) and _is_plain(a)),
    "controls": (
        "a mapping of names to overrides",
        lambda a: _are_named(a) and _is_plain(a) and all(map(_are_named, a.values())),
    ),
    "fold": (
        "a mapping of keys to plain values, or None,",
        lambda a: a is None or (_are_named(a) and _is_plain(a)),
    ),
    "data_fingerprint": ("a text", lambda a: isinstance(a, str)),
    "test_fingerprint": ("a text", lambda a: isinstance(a, str)),
    "code": (
        "a list of dotted names of modules, or None,",
        lambda a: a is None or (isinstance(a, list | tuple) and all(map(_is_dotted, a))),
    ),
    "random_sources": (
        "a mapping of names to dotted keys",
        lambda a: _are_named(a) and all(isinstance(key, str) and key for key in a.values()),
    ),
    "epochs": (
        "a whole number from 0, or None,",
        lambda a: a is None or (_is_whole(a) and a >= 0),
    ),
    "together": ("a key and a number of runs, or None,", lambda a: a is None or _is_offer(a)),
}
"""Function that the driver calls -> the answer it must give, in words and as a test."""
