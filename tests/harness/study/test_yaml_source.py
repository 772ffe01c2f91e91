"""YAML as people mean it, and where each value stood."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.study.yaml_source import Source, parse_value, plain_source, read_yaml
from harness.workload import JsonValue


def test_aliases_of_aliases_are_no_hang_on_a_command_line_or_from_python() -> None:
    with pytest.raises(InputError, match=r"--set:1:5: more than 100,000 values"):
        parse_value(LAUGHS, name="--set")
    value: object = "x"
    for _ in range(9):
        value = [value] * 9
    with pytest.raises(InputError, match="study: more than 100,000 values"):
        plain_source({"base": value}, name="study")
    ring: dict[str, object] = {}
    ring["base"] = ring
    with pytest.raises(InputError, match=f"study: {TOO_DEEP}"):
        plain_source(ring, name="study")


def test_a_document_of_many_values_and_levels_is_read(tmp_path: Path) -> None:
    text = "a: &a " + "[x, " * 60 + "]" * 60 + "\nb: [" + "*a, " * 500 + "]"
    assert len(read(tmp_path, text).value["b"]) == 500  # type: ignore[arg-type]


def read(folder: Path, text: str | bytes) -> Source:
    path = folder / "s.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def problem(folder: Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text)
    return str(caught.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.5e+2", 150.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0.0", 0.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("off", "off"),
        ("on", "on"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-31", "2024-01-31"),
        ("0x10", "0x10"),
        ("1.2.3", "1.2.3"),
        ("'010'", "010"),
        ('"1e-3"', "1e-3"),
        ("=", "="),
        ("[1, off, 1e-3]", [1, "off", 0.001]),
        ("{a: {b: NO}}", {"a": {"b": "NO"}}),
    ],
)
def test_a_scalar_means_what_its_writer_meant(text: str, value: JsonValue) -> None:
    parsed = parse_value(text, name="--set")
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_key_is_the_text_that_stands_there(tmp_path: Path) -> None:
    assert read(tmp_path, "off: 1\ntrue: 2\nTrue: 3\n1: 4\n1.0: 5\n~: 6\n").value == {
        "off": 1,
        "true": 2,
        "True": 3,
        "1": 4,
        "1.0": 5,
        "~": 6,
    }


def test_every_key_and_item_has_its_place(tmp_path: Path) -> None:
    source = read(tmp_path, "a: 1\nb:\n  c: [x, {d: 2}]\n  e.f: 3\n")
    name = str(tmp_path / "s.yaml")
    assert source.where(("a",)) == f"{name}:1:1"
    assert source.where(("b", "c")) == f"{name}:3:3"
    assert source.where(("b", "c", 0)) == f"{name}:3:7"
    assert source.where(("b", "c", 1, "d")) == f"{name}:3:11"
    assert source.where(("b", "e.f")) == f"{name}:4:3"


def test_what_has_no_place_stands_at_the_nearest_thing_around_it(tmp_path: Path) -> None:
    source = read(tmp_path, "a: 1\nb:\n  c: 2\n")
    name = str(tmp_path / "s.yaml")
    assert source.where(("b", "c", "deeper", 3)) == f"{name}:3:3"
    assert source.where(("b", "other")) == f"{name}:2:1"
    assert source.where(("other",)) == f"{name}:1:1"
    assert Source({}, {}, "nothing").where(("a",)) == "nothing"


def test_anchors_and_windows_files_are_read(tmp_path: Path) -> None:
    text = "a: &x {b: 1}\r\nc: *x\r\n".encode("utf-8-sig")
    assert read(tmp_path, text).value == {"a": {"b": 1}, "c": {"b": 1}}


TOO_DEEP = "it is nested over 64 levels deep, or an alias contains itself; make it flatter"
# 441 bytes that stand for 9 ** 8 values.
LAUGHS = "\n".join(
    ["a0: &a0 x", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml:1:1: is empty; a study file is 'key: value' lines"),
        ("# only a comment\n", "s.yaml:1:1: is empty; a study file is 'key: value' lines"),
        (
            "- a\n",
            "s.yaml:1:1: has no mapping at its top level; a study file is 'key: value' lines",
        ),
        (b"a: \xe9\n", "s.yaml: is not UTF-8 text; save it as UTF-8"),
        ("a: 1\nb: 2\na: 3\n", "s.yaml:3:1: 'a' is given twice (first on line 1); remove one"),
        ("x: {1: 2, '1': 3}", "s.yaml:1:11: '1' is given twice (first on line 1); remove one"),
        (
            "a: 1\nb: 010\n",
            "s.yaml:2:1: 010 can be read as octal or decimal; "
            "write it without leading zeros or in quotes",
        ),
        (
            "a: [1, -007]",
            "s.yaml:1:8: -007 can be read as octal or decimal; "
            "write it without leading zeros or in quotes",
        ),
        ("a: 1\nb: .inf\n", "s.yaml:2:1: inf is not a usable number"),
        ("a: -.INF", "s.yaml:1:1: -inf is not a usable number"),
        ("a: .NAN", "s.yaml:1:1: nan is not a usable number"),
        ("a: 1e999", "s.yaml:1:1: inf is not a usable number"),
        (
            "a: [1234567890123456789]",
            "s.yaml:1:5: a whole number of 19 digits is too large; the most is 18 digits",
        ),
        ("? [a]\n: b\n", "s.yaml:1:3: a key must be plain text"),
        ("a: 1\nb: \x07\n", "s.yaml:2:4: not YAML: U+0007 is not a text character; remove it"),
        ("a: &x {b: *x}", f"s.yaml:1:8: {TOO_DEEP}"),
        ("a: " + "[" * 3000, f"s.yaml:1:68: {TOO_DEEP}"),
        ("a: " + "{" * 3000, f"s.yaml:1:68: {TOO_DEEP}"),
        ("\n".join(" " * level + "a:" for level in range(500)), f"s.yaml:65:65: {TOO_DEEP}"),
        (
            LAUGHS,
            "s.yaml:1:5: more than 100,000 values, counting each alias in full; write fewer",
        ),
        ("a: &x {b: 1}\nc: {<<: *x}", "s.yaml:2:5: merge keys ('<<') are not read; write them out"),
        ('a: "\\uD800"', "s.yaml:1:1: U+D800 is not a text character; remove it"),
        ('a: b\nc: "\\0"', "s.yaml:2:1: U+0000 is not a text character; remove it"),
        (
            "a:\n\tb: 1",
            "s.yaml:2:1: not YAML: while scanning for the next token found character "
            "'\\t' that cannot start any token; check indentation and quotes",
        ),
        ("x" * (1 << 20) + "x", "s.yaml: is larger than 1 MiB; give a study file"),
        ("x" * (1 << 20) + "é", "s.yaml: is larger than 1 MiB; give a study file"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    assert problem(tmp_path, text) == message


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1,\n", "s.yaml:2:1: not YAML: "),
        ("a:\n\t- b\n", "s.yaml:2:1: not YAML: "),
        ("a: 'open\n", "s.yaml:2:1: not YAML: "),
        ("a: 1\n---\nb: 2\n", "s.yaml:2:1: not YAML: "),
        ("a: *unknown\n", "s.yaml:1:4: not YAML: "),
        ("a: !!bool abc\n", "s.yaml:1:4: not YAML: the tag 'tag:yaml.org,2002:bool' "),
        ("a: !!timestamp abc\n", "s.yaml:1:4: not YAML: the tag "),
        ("a: !!python/name:os.system x\n", "s.yaml:1:4: not YAML: the tag "),
        ("a: !!set {b, c}\n", "s.yaml:1:4: not YAML: the tag "),
    ],
)
def test_broken_yaml_is_one_line_with_its_place(tmp_path: Path, text: str, start: str) -> None:
    message = problem(tmp_path, text)
    assert message.startswith(start)
    assert message.endswith("; check indentation and quotes")
    assert "\n" not in message


def test_a_missing_file_and_a_folder_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file; give the path"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InputError, match=r"is a folder; give the path of a study file$"):
        read_yaml(tmp_path)


def test_a_broken_value_of_the_command_line_names_the_option() -> None:
    with pytest.raises(InputError, match=r"^--set a=\[:1:2: not YAML: [^\n]*$"):
        parse_value("[", name="--set a=[")
