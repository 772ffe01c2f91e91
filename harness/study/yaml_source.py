"""Reads YAML by the rules of version 1.2, and records the place of each value in the file.

``1e-3`` is a number, and ``off`` and ``NO`` are text. ``010`` and duplicate keys are rejected.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

import yaml

from harness.errors import InputError
from harness.workload import JsonValue

Path_: TypeAlias = tuple[str | int, ...]
"""Keys and indices that lead from the top of a document to a value."""
MOST_DIGITS = 18
"""Digits of a whole number; this many always fit into a 64-bit database column."""
MOST_NODES = 100_000
"""Values in a document, with those behind an alias counted at every use: a few hundred bytes of
nested aliases could expand to more values than fit in memory."""
MOST_LEVELS = 64
_MOST_BYTES = 1 << 20
_TOO_DEEP = f"it is nested over {MOST_LEVELS} levels deep, or an alias contains itself"


class _Loader(yaml.SafeLoader):
    """Loader for the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  PyYAML's own mechanism

    _level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Reject deep nesting, and tags such as ``!!bool`` and ``!!set``, which nobody needs."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = cast("yaml.Mark", event.start_mark)
        if (tag := getattr(event, "tag", None)) is not None:
            raise yaml.MarkedYAMLError(problem=f"the tag {tag!r} is not allowed", problem_mark=mark)
        if self._level > MOST_LEVELS:
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


for _tag, _pattern, _first in [
    ("bool", r"true|false|True|False|TRUE|FALSE", "tfTF"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
]:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), [*_first, ""]
    )


@dataclass(frozen=True)
class Source:
    """A document's values, and the place of each of its keys."""

    value: dict[str, JsonValue]
    places: Mapping[Path_, str]
    """Path -> ``file:line:column``, or ``--set KEY=VALUE``."""
    name: str

    def where(self, path: Path_) -> str:
        """Return the place of ``path``, or of its nearest enclosing value."""
        for end in range(len(path), -1, -1):
            if (place := self.places.get(path[:end])) is not None:
                return place
        return self.name


def read_yaml(path: Path) -> Source:
    """Read one document whose top level is a mapping.

    Raises:
        InputError: the file cannot be read, is not YAML, is empty, or has a duplicate key.
    """
    try:
        with path.open("rb") as file:  # may be a pipe, or endless
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:  # before decoding: the cut may split a character
            raise InputError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB; give a study file")
        text = content.decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a study file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; give the path of a study file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL in the path
        raise InputError(f"{path}: no such file; give the path of a study file") from None
    places: dict[Path_, str] = {}
    value = _parse(text, str(path), places)
    if not isinstance(value, dict):
        what = "is empty" if value is None else "has no mapping at its top level"
        raise InputError(f"{path}:1:1: {what}; a study file is 'key: value' lines")
    return Source(value, places, str(path))


def plain_source(value: Mapping[str, object], *, name: str) -> Source:
    """Make a document from Python values; ``name`` is the place of all of them.

    Raises:
        InputError: a value cannot be represented in YAML.
    """
    document = _plain(value, (), name, {}, itertools.count(1))
    return Source(cast("dict[str, JsonValue]", document), {}, name)


def parse_value(text: str, *, name: str) -> JsonValue:
    """Parse a value from the command line as YAML.

    Raises:
        InputError: it is not YAML.
    """
    return _parse(text, name, {})


def extended(source: Source, folder: Path) -> Source:
    """Apply a study on top of the one it ``extends``: merge ``base`` deeply, replace other fields.

    Args:
        source: The study.
        folder: Folder that the path in ``extends`` is relative to.

    Raises:
        InputError: there is no such file, or it extends another study itself.
    """
    value = dict(source.value)
    if "extends" not in value:
        return source
    extends = value.pop("extends")
    where = source.where(("extends",))
    if not isinstance(extends, str):
        raise InputError(f"{where}: extends: give the path of a study file, got {extends!r}")
    parent_path = folder / extends
    if not parent_path.is_file():
        raise InputError(f"{where}: extends: no file {str(parent_path)!r}")
    parent = read_yaml(parent_path)
    if "extends" in parent.value:
        raise InputError(
            f"{parent.where(('extends',))}: extends: {parent_path} extends another study itself; "
            "only one level is allowed"
        )
    whole = parent.value | value
    below, above = parent.value.get("base"), value.get("base")
    if isinstance(below, dict) and isinstance(above, dict):
        whole["base"] = merged(below, above)
    replaced = {key for key in value if key != "base"}
    inherited = {p: place for p, place in parent.places.items() if p and p[0] not in replaced}
    return Source(whole, inherited | dict(source.places), source.name)


def merged(below: dict[str, JsonValue], above: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Merge ``above`` into a copy of ``below``, recursing into mappings."""
    whole = dict(below)
    for key, value in above.items():
        inner = whole.get(key)
        both = isinstance(inner, dict) and isinstance(value, dict)
        whole[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return whole


def _parse(text: str, name: str, places: dict[Path_, str]) -> JsonValue:
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _locate(node, (), name, places, itertools.count(1))
            document = loader.construct_document(node)
            return _plain(document, (), name, places, itertools.count(1))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        if error.problem == _TOO_DEEP:
            raise InputError(f"{place}: {_TOO_DEEP}; make it flatter") from None
        reason = " ".join(filter(None, [error.context, error.problem]))
        raise InputError(f"{place}: not YAML: {reason}; check indentation and quotes") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
        raise InputError(
            f"{place}: not YAML: U+{ord(text[error.position]):04X} is not a text character; "
            "remove it"
        ) from None


def _locate(
    node: yaml.Node, path: Path_, name: str, places: dict[Path_, str], numbers: Iterator[int]
) -> None:
    """Record the place of everything below ``node``, and reject duplicate keys."""
    mark = node.start_mark
    places.setdefault(path, f"{name}:{mark.line + 1}:{mark.column + 1}")
    _bound(next(numbers), path, places[path])
    if isinstance(node, yaml.ScalarNode):
        # YAML 1.1 reads 010 as 8, YAML 1.2 as 10; we cannot know which was meant.
        if node.style is None and re.fullmatch(r"[-+]?0[0-9]+", node.value):
            raise InputError(
                f"{places[path]}: {node.value} can be read as octal or decimal; "
                "write it without leading zeros or in quotes"
            )
        if node.tag.endswith(":int") and len(node.value.lstrip("+-")) > MOST_DIGITS:
            raise _too_long(places[path], len(node.value.lstrip("+-")))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _locate(item, (*path, index), name, places, numbers)
    elif isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line, column = key.start_mark.line + 1, key.start_mark.column + 1
            place = f"{name}:{line}:{column}"
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(f"{place}: a key must be plain text")
            if key.value == "<<" and key.style is None:
                raise InputError(f"{place}: merge keys ('<<') are not read; write them out")
            if key.value in seen:
                raise InputError(
                    f"{place}: {key.value!r} is given twice (first on line {seen[key.value]}); "
                    "remove one"
                )
            seen[key.value] = line
            key.tag = "tag:yaml.org,2002:str"  # keys are text, whatever they look like
            places[(*path, key.value)] = place
            _locate(value, (*path, key.value), name, places, numbers)


def _bound(number: int, path: Path_, place: str) -> None:
    """Reject a document that is too large or too deep, at its ``number``-th value."""
    if number > MOST_NODES:
        raise InputError(
            f"{place}: more than {MOST_NODES:,} values, counting each alias in full; write fewer"
        )
    if len(path) > MOST_LEVELS:
        raise InputError(f"{place}: {_TOO_DEEP}; make it flatter")


def _too_long(place: str, digits: int) -> InputError:
    return InputError(
        f"{place}: a whole number of {digits} digits is too large; the most is {MOST_DIGITS} digits"
    )


def _plain(
    value: object, path: Path_, name: str, places: Mapping[Path_, str], numbers: Iterator[int]
) -> JsonValue:
    """Convert a value to plain JSON: text keys, no dates, no infinities."""
    place = places.get(path, name)
    _bound(next(numbers), path, place)
    if isinstance(value, Mapping):
        return {
            _text(str(key), place): _plain(inner, (*path, str(key)), name, places, numbers)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(inner, (*path, i), name, places, numbers) for i, inner in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{place}: {value} is not a usable number")
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        raise _too_long(place, math.floor(math.log10(abs(value))) + 1)
    if isinstance(value, str):
        return _text(value, place)
    if value is None or isinstance(value, bool | int | float):
        return cast("JsonValue", value)
    raise InputError(f"{place}: {value!r} is not text, a number, true, false or null")


def _text(text: str, place: str) -> str:
    """Return the text, rejecting lone surrogates and NUL, which no text file can hold."""
    if found := re.search("[\ud800-\udfff\0]", text):
        raise InputError(f"{place}: U+{ord(found[0]):04X} is not a text character; remove it")
    return text
