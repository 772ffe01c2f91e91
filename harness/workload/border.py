"""The border: all that the harness knows of what it studies.

A workload is a module with the functions of ``Workload``. Only plain values cross: numbers,
text, lists and dicts of them, a path and one callback. Tables and pictures cross as files.
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
    """How a running workload hands the numbers of one epoch to the harness."""

    def __call__(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Record the metrics of one epoch. False means: save, stop now, return what you have.

        A name is free text (``loss``, ``loss/metric``, ``learning_rate``); a metric of a data
        split is written ``val/recall@1``. A non-finite value ends the run as diverged, a metric
        named ``collapsed`` that is above 0 as collapsed. False may also mean that the user
        interrupts: what is returned then is not used, and a later call of ``run`` goes on.
        """
        ...


class Workload(Protocol):
    """What is studied: a module with ``schema``, ``check`` and ``run``; the rest is optional."""

    def schema(self) -> Mapping[str, JsonValue]:
        """JSON Schema of the parameters, for editors and ``harness schema``."""
        ...

    def check(self, params: Params) -> dict[str, JsonValue]:
        """The parameters with every default filled in; what it returns is fingerprinted.

        Fast: no data, no GPU.

        Raises:
            ValueError: one line per unknown or impossible parameter, each ``dotted.key: rule``.
        """
        ...

    def controls(self) -> Mapping[str, Params]:
        """Trials that every study gets for free: name -> overrides by dotted key.

        May be empty, and is where the module lacks it.
        """
        ...

    def data_fingerprint(self, params: Params) -> str:
        """A digest of the data that ``params`` name: equal data, equal text.

        Asked once a trial before anything is trained, so that it is also the place to make the
        data ready and to refuse parameters that do not fit them.

        Raises:
            ValueError: the data are missing or unusable, or the parameters do not fit them, as
                ``dotted.key: what, remedy``.

        Where the module lacks it, all data count as equal.
        """
        ...

    def code(self, params: Params) -> Sequence[str] | None:
        """The modules that a run with ``params`` uses, by their dotted names.

        An edit of any other trains nothing anew. A package stands for all below it. Listed need be
        only what is imported late, inside functions: this module itself always belongs to it, and
        so does what is imported at the top of a module that does. A run that imports a module of
        the same packages that is not part of it fails.

        None, or no such function, is everything: all modules below this one's package or, where it
        is one file, this file and, from file to file, those beside it that are imported in them.
        """
        ...

    def epochs(self, params: Params) -> int | None:
        """How often a run with ``params`` will report; None, or no such function, is not known.

        What forecasts and stopping rules go by; a run may end earlier.
        """
        ...

    def together(self, params: Params) -> tuple[str, int] | None:
        """With which runs, and with how many, one process can train a run with ``params``.

        A key, and the most runs that are worth training at once on this machine (1: it is not worth
        it). Runs of equal keys differ in numbers only, so that ``run_together`` can stack them.
        None, or no such function: such a run is always trained alone.

        Asked by the driver, once a trial, and for all trials that are known before any starts: a
        workload may measure what it says, but the process that asks must not hold a GPU for it.
        """
        ...

    def run_together(self, calls: Sequence[Callable[[], None]]) -> None:
        """Train several runs of equal keys at once; returns when all calls have returned.

        Each call is to be made once, in a thread of its own. It calls ``run`` for one of the runs,
        with its own parameters, seed, folder and ``report``, and never raises: what ``run`` raises
        is the failure of that run alone, and a run may return earlier than the others.

        Where the module lacks it, the calls are made one after another.
        """
        ...

    def run(
        self, params: Params, *, seed: int, workdir: Path, report: Report, test: bool
    ) -> Mapping[str, float]:
        """Train and evaluate once; ``test`` opens the test classes.

        Results are named ``split/metric``: ``val/recall@1``, ``test/nmi``, and ``val/queries``
        and ``val/dropped``, the number of queries that Recall@K counts and leaves out. Every
        file goes below ``workdir``: rows for the store in ``tables/<name>.jsonl`` (one object a
        row) and a few facts worth recording (device, number format) in ``facts.json``. Two facts
        are lists of sentences that every report repeats: ``remarks``, what a reader must know of
        these parameters, and ``alarms``, what went wrong in this run though it finished. The fact
        ``criterion`` names a metric that needs no labels, which reports compare with Recall@1.

        A call with the folder of a call that was stopped goes on from its last checkpoint there,
        if there is one: it reports the epochs that are left and ends with the same numbers as if
        it had never stopped. An epoch that is reported again counts once. A workload without
        checkpoints starts over, and replaces the files of the first call.

        Raises:
            ValueError: the parameters or the data are impossible; the run is ``invalid``.
            FloatingPointError: numbers have left what can be computed with; it has ``diverged``.
            MemoryError: there is not enough of it, here or on a GPU; the run is ``oom``. Any other
                exception is a ``crash``.
        """
        ...


def load_workload(name: str) -> Workload:
    """Import the module ``name`` and check that it offers what a workload must.

    What the driver asks of it is guarded: whatever it raises but the ``ValueError`` of a refusal,
    and whatever it answers that is none, becomes a line that names the function.

    Raises:
        InputError: no such module, it cannot be imported, or a function is missing.
    """
    if not _is_dotted(name):
        raise InputError(f"workload {name!r}: no name of a module; {_SUCH_AS}")
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
    """The function, with a line in place of a traceback where it goes wrong."""

    @functools.wraps(function)
    def ask(*arguments: object) -> object:
        try:
            answer = function(*arguments)
        except ValueError as error:
            if name in _MAY_REFUSE and _text_of(error):
                raise  # its own words for what is wrong with the parameters
            raise _broken(workload, f"{name} failed", error) from error
        except _WHATEVER as error:
            raise _broken(workload, f"{name} failed", error) from error
        if not is_right(answer):
            shown = f"{type(answer).__name__} {_shown(answer)}"
            raise InputError(f"workload {workload!r}: {name}: {form} is needed, got {shown}")
        return answer

    return ask


def _broken(workload: str, what: str, error: BaseException) -> InputError:
    """The line for an error that is one of the workload's code, and where it was raised."""
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
        f"workload {workload!r}: {what}: {type(error).__name__}{said}{place}; mend it, "
        "HARNESS_TRACEBACK=1 shows all of the error"
    )


def _text_of(error: BaseException) -> str:
    """What an error says, in a line."""
    text = error.msg if isinstance(error, SyntaxError) else _shown(error, str)
    return " ".join(text.split())[:_MOST_SHOWN]


def _shown(value: object, show: Callable[[object], str] = repr) -> str:
    """A value as text, be it of a class that cannot say it."""
    try:
        return show(value)[:_MOST_SHOWN]
    except Exception as error:
        return f"(without text: {type(error).__name__})"


def _is_plain(value: object, levels: int = 64) -> bool:
    """Whether JSON can hold a value."""
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
    """Whether it can be the name of a module."""
    return isinstance(value, str) and all(part.isidentifier() for part in value.split("."))


def _is_offer(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and _is_whole(value[1])


def _one_after_another(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()


_MOST_SHOWN = 200
_SUCH_AS = "give an importable one such as 'gcudml.workload'"
_WHATEVER = (Exception, SystemExit)
"""What code may end with; an interruption by the user is not its own."""
_NEEDED = ("schema", "check", "run")
_DEFAULTS: Mapping[str, Callable[..., object]] = {
    "controls": dict,
    "data_fingerprint": lambda params: "",
    "code": lambda params: None,
    "epochs": lambda params: None,
    "together": lambda params: None,
    "run_together": _one_after_another,
}
_MAY_REFUSE = ("check", "data_fingerprint", "together")
_ANSWERS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "schema": ("a mapping of names to plain values", lambda a: _are_named(a) and _is_plain(a)),
    "check": ("a dict of plain values", lambda a: isinstance(a, dict) and _is_plain(a)),
    "controls": (
        "a mapping of names to overrides",
        lambda a: _are_named(a) and _is_plain(a) and all(map(_are_named, a.values())),
    ),
    "data_fingerprint": ("a text", lambda a: isinstance(a, str)),
    "code": (
        "a list of dotted names of modules, or None,",
        lambda a: a is None or (isinstance(a, list | tuple) and all(map(_is_dotted, a))),
    ),
    "epochs": (
        "a whole number from 0, or None,",
        lambda a: a is None or (_is_whole(a) and a >= 0),
    ),
    "together": ("a key and a number of runs, or None,", lambda a: a is None or _is_offer(a)),
}
"""Function that the driver asks -> what it must answer, in words and as a test."""
