"""Words on the command line, study files, workloads and places that cannot be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from hostile_row import HostileRow
from store_examples import TRIAL, damage_rows, write

from harness.store import database

Prepare = Callable[[Path], Sequence[str]]

STUDY = {
    "study": "quality",
    "question": "Does quality matter?",
    "workload": "toy_workload",
    "base": {"epochs": 1, "clusters": 2},
    "search": {"quality": {"grid": [0.2, 0.5]}},
    "seeds": 1,
}
LAUGHS = "\n".join(
    ["a0: &a0 x", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9))]
)
WORKLOAD = """
def schema(): return {}
def check(params): return dict(params)
def controls(): return {}
def data_fingerprint(params): return ""
def code(params): return None
def epochs(params): return 1
def together(params): return None
def run(params, *, seed, workdir, report, test): return {"val/recall@1": 0.5}
"""
BROKEN = {
    "fails": ("raise KeyError('data')", r"KeyError: 'data' \(.*\.py:\d+\)"),
    "exits": ("import sys; sys.exit('no data')", r"SystemExit: no data \(.*\.py:\d+\)"),
}
NONSENSE = {
    "schema": ("7", "a mapping of names to plain values is needed, got int 7"),
    "check": ("{'a': {1, 2}}", r"a dict of plain values is needed, got dict \{'a': \{1, 2\}\}"),
    "controls": ("{'untrained': 3}", "a mapping of names to overrides is needed, got dict"),
    "data_fingerprint": ("None", "a text is needed, got NoneType None"),
    "code": ("'a.b'", "a list of dotted names of modules, or None, is needed, got str 'a.b'"),
    "epochs": ("True", "a whole number from 0, or None, is needed, got bool True"),
    "together": ("('key', 'many')", "a key and a number of runs, or None, is needed, got tuple"),
}


def words(*arguments: str) -> Prepare:
    """Nothing is prepared."""
    return lambda folder: arguments


def study(*arguments: str, **fields: object) -> Prepare:
    """A study with other fields; None leaves one out."""

    def prepare(folder: Path) -> Sequence[str]:
        content = {name: value for name, value in (STUDY | fields).items() if value is not None}
        (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        return arguments or ("run", "study.yaml", "--executor", "local")

    return prepare


def text(content: str | bytes, *arguments: str) -> Prepare:
    """A study file with this in it."""

    def prepare(folder: Path) -> Sequence[str]:
        data = content.encode() if isinstance(content, str) else content
        (folder / "study.yaml").write_bytes(data)
        return arguments or ("check", "study.yaml")

    return prepare


def workload(name: str, content: str, *arguments: str, **fields: object) -> Prepare:
    """A study of a workload with this content."""

    def prepare(folder: Path) -> Sequence[str]:
        sys.modules.pop(name, None)
        (folder / f"{name}.py").write_text(content)
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        study(workload=name, base={}, search={"a": {"grid": [1, 2]}}, **fields)(folder)
        return arguments or ("run", "study.yaml", "--executor", "local")

    return prepare


def replaced(function: str, body: str) -> str:
    """The workload with another body of a function."""
    lines = [line for line in WORKLOAD.splitlines() if not line.startswith(f"def {function}(")]
    parameters = "" if function in ("schema", "controls") else "params"
    return "\n".join([*lines, f"def {function}({parameters}):", f"    {body}", ""])


def results(spoil: Callable[[Path], object], *arguments: str) -> Prepare:
    """A results folder with something wrong in it."""

    def prepare(folder: Path) -> Sequence[str]:
        write(folder / "results", [TRIAL], {0: [0.5, 0.6]})
        spoil(folder / "results")
        return arguments

    return prepare


def cut(place: Path) -> None:
    path = database.database_path(place)
    path.write_bytes(path.read_bytes()[:50_000])


def folder_for_database(place: Path) -> None:
    database.database_path(place).unlink()
    database.database_path(place).mkdir()


def folder_for_log(place: Path) -> None:
    (place / "results.duckdb.wal").mkdir()


def file_at(name: str, *arguments: str) -> Prepare:
    """A file where a folder should be."""

    def prepare(folder: Path) -> Sequence[str]:
        study()(folder)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("in the way")
        return arguments or ("run", "study.yaml", "--executor", "local")

    return prepare


DAMAGED = r"results/results\.duckdb: the database is damaged: .*; `harness rebuild` makes it anew"
COMMANDS: dict[str, tuple[str, ...]] = {
    "ls": ("ls",),
    "sql": ("sql", "FROM run"),
    "best": ("best", "s"),
    "report": ("report", "s"),
    "compare": ("compare", "s", "t"),
    "export": ("export", "s", "--format", "csv"),
}
RUN = ("run", "study.yaml", "--executor", "local")

ROWS = [
    # Workloads and their names
    *(
        HostileRow(
            f"schema of the workload {name!r}",
            words("schema", "--workload", name),
            [r"workload '.*': no name of a module; give an importable one such as"],
        )
        for name in (".x", "", "a..b", "a b", "a.", "a/b", "7")
    ),
    *(
        HostileRow(
            f"a study of the workload {name!r}",
            study(workload=name),
            [r"study\.yaml:3:1: workload: "],
        )
        for name in (".x", "", "a..b", "a\tb")
    ),
    HostileRow(
        "a workload with a syntax error",
        workload("syntax_workload", "def check(params:\n"),
        [r"workload 'syntax_workload': the module cannot be imported: SyntaxError: .*\.py:1\)"],
    ),
    HostileRow(
        "a workload with a NUL in it",
        workload("nul_workload", "x = 1\n\0"),
        [r"workload 'nul_workload': the module cannot be imported: "],
    ),
    *(
        HostileRow(
            f"a workload whose import raises {name}",
            workload(f"{name.lower()}_workload", f"x = 1\n{statement}\n{WORKLOAD}"),
            [rf"_workload': the module cannot be imported: {name}: .*\(.*_workload\.py:2\)"],
        )
        for name, statement in {
            "ImportError": "from os import nonsense",
            "ModuleNotFoundError": "import not_installed",
            "ValueError": "int('x')",
            "SystemExit": "raise SystemExit('no')",
        }.items()
    ),
    *(
        HostileRow(
            f"a workload whose {function} {how}",
            workload(
                f"{function}_{how}_workload",
                replaced(function, body),
                *(("schema", "--workload", f"{function}_{how}_workload") * (function == "schema")),
                **(
                    {"sampler": "tpe", "trials": 4, "pruner": "hyperband"}
                    if function == "epochs"
                    else {}
                ),
            ),
            [rf"workload '{function}_{how}_workload': {function} failed: {says}"],
        )
        for function in NONSENSE
        for how, (body, says) in BROKEN.items()
        if function != "together"
    ),
    *(
        HostileRow(
            f"a workload whose {function} answers nonsense",
            workload(
                f"{function}_nonsense_workload",
                replaced(function, f"return {answer}"),
                *(
                    ("schema", "--workload", f"{function}_nonsense_workload")
                    * (function == "schema")
                ),
                **(
                    {"sampler": "tpe", "trials": 4, "pruner": "hyperband"}
                    if function == "epochs"
                    else {}
                ),
            ),
            [rf"workload '{function}_nonsense_workload': {function}: {says}"],
        )
        for function, (answer, says) in NONSENSE.items()
        if function != "together"
    ),
    HostileRow(
        "a schema that is none",
        workload(
            "odd_schema_workload",
            replaced("schema", "return {'properties': 7, '$defs': [1]}"),
            "schema",
            "--workload",
            "odd_schema_workload",
        ),
        [r"workload 'odd_schema_workload': schema: is no JSON Schema"],
    ),
    HostileRow(
        "a check that refuses without a word",
        workload("mute_check_workload", replaced("check", "raise ValueError")),
        [r"workload 'mute_check_workload': check failed: ValueError \(.*\.py:\d+\)"],
    ),
    # Options
    *(
        HostileRow(f"{option} 99999999", study(*RUN, option, "99999999"), [rf"{option} 99999999: "])
        for option in ("--workers", "--threads", "--runs-per-gpu")
    ),
    *(
        HostileRow(
            f"{' '.join(command)} --results {place!r}",
            words(*command, "--results", place),
            [says],
        )
        for command in (
            ("ls",),
            ("rebuild",),
            ("run", "s.yaml"),
            ("watch", "s"),
            ("plan", "s.yaml"),
        )
        for place, says in {"": "no name of a folder", "x" * 300: "File name too long"}.items()
    ),
    *(
        HostileRow(
            f"{' '.join(command)} with results below a file",
            file_at("file", *command, "--results", "file/below/it"),
            ["file/below/it: below file, which is a file, not a results folder; choose another"],
        )
        for command in (("ls",), ("rebuild",), RUN, ("best", "s"), ("sql", "SELECT 1"))
    ),
    *(
        HostileRow(
            f"{' '.join(command)} with a file for results",
            file_at("file", *command, "--results", "file"),
            ["file: a file, not a results folder; choose another with --results"],
        )
        for command in (("ls",), ("rebuild",), RUN)
    ),
    HostileRow(
        "a file for reports",
        file_at("reports"),
        ["reports: a file, not a reports folder; choose another with --reports"],
    ),
    HostileRow("reports without a name", study(*RUN, "--reports", ""), ["no name of a folder"]),
    *(
        HostileRow(
            f"a file for {name}",
            file_at(f"results/{name}"),
            [rf"results/{name}: a file in the place of a folder; move it"],
        )
        for name in ("runs", "studies", "drivers")
    ),
    # Study files
    HostileRow("aliases of aliases", text(LAUGHS), [r"study\.yaml:1:5: over 100,000 values"]),
    HostileRow(
        "aliases of aliases in an option",
        study("check", "study.yaml", "--set", "a={" + LAUGHS.replace("\n", ", ") + "}"),
        [r"--set a=\{a0: .*: over 100,000 values"],
    ),
    *(
        HostileRow(
            f"a thousand levels of {bracket}",
            text(f"study: {bracket * 1000}"),
            [r"study\.yaml:1:\d+: it is nested over 64 levels deep"],
        )
        for bracket in "[{"
    ),
    HostileRow(
        "a thousand levels in an option",
        study("check", "study.yaml", "--set", "a=" + "[" * 1000),
        [r"--set a=\[\[.*: it is nested over 64 levels deep"],
    ),
    HostileRow("a merge", text("study: &a {x: 1}\nbase:\n  <<: *a\n"), ["yaml:3:3: a merge"]),
    HostileRow("a NUL", text("study: a\0b\n"), [r"yaml:1:9: not YAML: U\+0000"]),
    HostileRow("an escaped NUL", text('study: "a\\0b"\n'), [r"yaml:1:1: U\+0000 is no character"]),
    HostileRow("half a character", text('study: "\\uD800"\n'), [r"yaml:1:1: U\+D800"]),
    HostileRow("a tab", text("study:\n\ta: 1\n"), [r"yaml:2:1: not YAML: .*'\\t'"]),
    HostileRow("a file without an end", words("check", "/dev/zero"), ["is over 1 MiB large"]),
    HostileRow(
        "a very long text in place of a number",
        study(seeds="x" * 100_000),
        [r"study\.yaml:\d+:1: seeds: input should be a valid integer, got 'x{99}…$"],
    ),
    HostileRow(
        "thousands of unknown keys",
        text("".join(f"key{number}: 1\n" for number in range(3000))),
        [r"yaml:1:1: key0: unknown key", "and 2983 more like these"],
        lines=21,
    ),
    HostileRow("a blank question", study(question=" \n"), [r"yaml:2:1: question: is blank"]),
    HostileRow("an empty question", study(question=""), [r"yaml:2:1: question: "]),
    HostileRow("a blank metric", study(metric=" "), [r"yaml:\d+:1: metric: is blank"]),
    HostileRow(
        "a study without a name", study(study=""), [r"yaml:1:1: study: string should match"]
    ),
    *(
        HostileRow(f"{field}: true", study(**{field: True} | more), [rf"{field}: .*got True"])
        for field, more in {
            "seeds": {},
            "trials": {"sampler": "tpe"},
            "parallel_trials": {"sampler": "tpe", "trials": 4},
            "train_together": {},
        }.items()
    ),
    *(
        HostileRow(
            f"{field}: {given!r}",
            study(
                **{field: given, "sampler": "tpe"} | ({} if field == "trials" else {"trials": 4})
            ),
            [rf"{field}: input should be a valid integer, got '{given}'; write {number} without q"],
        )
        for field in ("seeds", "trials", "parallel_trials")
        for given, number in {"12": "12", "1_000": "1000"}.items()
    ),
    *(
        HostileRow(
            f"{section}.{field}: {given!r}",
            study(**{section: {field: given}}),
            [rf"{section}\.{field}: input should be a valid number, got "],
        )
        for section, field in (("limits", "run_minutes"), ("budget", "hours"))
        for given in ("0.5", True)
    ),
    HostileRow(
        "a quoted end of a range",
        study(search={"quality": {"uniform": ["0.1", 0.5]}}, sampler="random", trials=2),
        [r"search\.quality\.uniform\.0: .* got '0\.1'; write 0\.1 without quotes"],
    ),
    # The database
    *(
        HostileRow(f"{name} of a cut database", results(cut, *command), [DAMAGED])
        for name, command in COMMANDS.items()
    ),
    *(
        HostileRow(f"{name} of a damaged block", results(spoil, *command), [DAMAGED])
        for name, command in COMMANDS.items()
        for spoil in [lambda place: damage_rows(place, "run")]
    ),
    *(
        HostileRow(f"ls with {name}", results(spoil, "ls"), [DAMAGED])
        for name, spoil in {
            "a folder for the database": folder_for_database,
            "a folder for its log": folder_for_log,
        }.items()
    ),
    HostileRow(
        "a rebuild of a cut database",
        results(cut, "rebuild"),
        [r"was damaged; it is kept as results\.duckdb\.damaged-", "made anew from 1 studies"],
        status=0,
    ),
    # Terminals
    HostileRow(
        "escapes in a question",
        study(*RUN, "--dry-run", question="a\x1b[31m\x9bm\u202eb"),
        [r"study quality: a\\x1b\[31m\\x9bm\\u202eb"],
        status=0,
        lines=0,
    ),
    HostileRow(
        "escapes in an answer",
        results(lambda place: None, "sql", "SELECT chr(27) || '[2J' AS \"a\x1bb\""),
        [r"a\\x1bb\n-+\n\\x1b\[2J"],
        status=0,
        lines=0,
    ),
    HostileRow(
        "formulas in a CSV",
        results(
            lambda place: None,
            "sql",
            "--format",
            "csv",
            "SELECT '=1+1' AS a, '-1' AS b, -0.5 AS c, '@x' AS \"+d\", chr(9) || 'x' AS e",
        ),
        [r"a,b,c,'\+d,e\n'=1\+1,'-1,-0\.5,'@x,'\tx\n"],
        status=0,
        lines=0,
    ),
    HostileRow(
        "escapes in the error of a workload",
        workload("rude_workload", replaced("check", r"raise KeyError('\x1b]0;title\x07')")),
        [r"check failed: KeyError: '\\x1b\]0;title\\x07'"],
    ),
    HostileRow(
        "escapes in a refusal of a workload",
        workload("loud_workload", replaced("check", r"raise ValueError('a: \x1b[2J')")),
        [r"yaml:\d+:\d+: a: \\x1b\[2J"],
    ),
    HostileRow(
        "escapes in a path", words("check", "a\x1b[2Jb.yaml"), [r"a\\x1b\[2Jb\.yaml: no such"]
    ),
]
