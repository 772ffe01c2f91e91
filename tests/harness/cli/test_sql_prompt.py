"""Asking the database: queries from files and standard input, and a talk on the terminal."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput
from store_examples import a_trial, held, write
from waiting import assert_soon

from harness.cli import commands, sql_prompt
from harness.cli.options import FormatChoice
from harness.errors import InputError

TAB, ENTER, UP, CTRL_C, CTRL_D = "\t", "\r", "\x1b[A", "\x03", "\x04"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    write(folder, [a_trial(0, "baseline"), a_trial(1)], {0: [0.5], 1: [0.75]})
    return folder


def talk(results: Path, *lines: str | type[BaseException], form: FormatChoice = "csv") -> list[str]:
    """What is shown for each line, up to the end of the lines."""
    left = iter(lines)
    shown: list[str] = []

    def ask() -> str:
        line = next(left, EOFError)
        if isinstance(line, str):
            return line
        raise line

    sql_prompt.converse(results, form, ask, shown.append)
    assert list(left) == []
    return shown


def test_each_line_is_answered_and_an_error_is_a_line(results: Path) -> None:
    assert talk(
        results,
        "SELECT 1 AS x",
        "",
        "SELEC 1",
        "COPY run TO 'x.csv'",
        KeyboardInterrupt,
        "SELECT trial, mean FROM trials ORDER BY ALL;",
    ) == [
        "x\n1",
        'error: SQL: Parser Error: syntax error at or near "SELEC"',
        'error: SQL: a query can only read the database: Permission Error: Cannot access '
        'file "x.csv" - file system operations are disabled by configuration',
        "trial,mean\nm=0,0.5\nm=1,0.75",
    ]  # fmt: skip


def test_ctrl_c_ends_a_query_and_not_the_talk(results: Path) -> None:
    usual = signal.getsignal(signal.SIGINT)

    def press() -> None:
        assert_soon(lambda: signal.getsignal(signal.SIGINT) is not usual)
        os.kill(os.getpid(), signal.SIGINT)

    typist = threading.Thread(target=press)
    typist.start()
    long = "SELECT count(*) FROM range(5000) a, range(100000) b WHERE a.range * b.range % 7 = 3"
    assert talk(results, long, "SELECT 1 AS x") == ["error: interrupted", "x\n1"]
    typist.join()
    assert signal.getsignal(signal.SIGINT) is usual


@pytest.mark.parametrize("word", [".quit", ".exit", ".q"])
def test_it_ends_when_it_is_told(results: Path, word: str) -> None:
    asked = []

    def ask() -> str:
        asked.append(word)
        return word

    sql_prompt.converse(results, "csv", ask, print)
    assert len(asked) == 1


def test_tables_and_their_columns_are_described(results: Path) -> None:
    tables, schema, everything, wrong = talk(
        results, ".tables", ".schema trials;", ".schema", ".schema trails"
    )
    assert 'run,table,"One trial with one seed, trained once, whichever studies ask for it."' in (
        tables.splitlines()
    )
    assert schema.splitlines()[:2] == ["column,type,comment", "study,varchar,The study."]
    assert "trials,study,varchar,The study." in everything.splitlines()
    assert wrong.startswith("error: no table or view 'trails'; did you mean 'trials'? known: ")


def test_the_format_can_be_changed(results: Path) -> None:
    assert talk(results, ".format markdown", "SELECT 1 AS x", ".format xml", ".tabels") == [
        "|   x |\n| --: |\n|   1 |",
        "error: unknown format 'xml'; known: table, csv, json, markdown",
        "error: unknown command '.tabels'; .help lists them",
    ]


@pytest.mark.process
def test_a_driver_can_write_while_the_talk_waits(results: Path) -> None:
    shown: list[str] = []
    left = ["SELECT 1 AS x", "SELECT 2 AS x"]

    def ask() -> str:
        with held(results, "write"):  # another process, as a driver does
            if not left:
                raise EOFError
            return left.pop(0)

    sql_prompt.converse(results, "csv", ask, shown.append)
    assert shown == ["x\n1", "x\n2"]


def test_keywords_tables_columns_and_commands_are_completed(results: Path) -> None:
    words = sql_prompt.words(results)
    assert {"SELECT", "trials", "run", "p_holm", ".tables"} <= words.keys()
    assert words["prob_improvement"].startswith("Share of seeds won")
    assert words["summary"].startswith("Recall@K of each trial")
    assert words["metric"] == ""  # the column of study is another thing than that of comparison


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


def typed(ask: sql_prompt.Ask, keys: PipeInput, is_ready: Callable[[Buffer], bool]) -> str:
    """The line that is entered as soon as it is ready."""
    buffer = ask.__self__.default_buffer  # type: ignore[attr-defined]

    def enter() -> None:
        assert_soon(lambda: is_ready(buffer))
        keys.send_text(ENTER)

    typist = threading.Thread(target=enter)
    typist.start()
    line = ask()
    typist.join()
    return line


def pressing_up(keys: PipeInput, until: str) -> Callable[[Buffer], bool]:
    """Whether the line is ``until``, for which the arrow is pressed: lines are read on the side."""

    def is_there(buffer: Buffer) -> bool:
        if buffer.text != until:
            keys.send_text(UP)
        return buffer.text == until

    return is_there


def test_the_terminal_completes_and_remembers(
    results: Path, tmp_path: Path, keys: PipeInput
) -> None:
    history = tmp_path / "state" / "history"
    line = "FROM leaderboard"
    words = sql_prompt.words(results)
    ask = sql_prompt.terminal(words, history)
    keys.send_text(f"FROM leaderb{TAB}")
    assert typed(ask, keys, lambda buffer: buffer.text == line) == line
    again = sql_prompt.terminal(words, history)
    assert typed(again, keys, pressing_up(keys, line)) == line
    keys.send_text(CTRL_C)
    with pytest.raises(KeyboardInterrupt):
        again()
    keys.send_text(CTRL_D)
    with pytest.raises(EOFError):
        again()


@pytest.mark.parametrize(
    ("line", "first"),
    [("sel", "SELECT"), ("SELECT trials.p_ho", "p_holm"), (".ta", ".tables"), (".", ".format")],
)
def test_what_is_completed_is_the_word_before_the_cursor(
    results: Path, tmp_path: Path, keys: PipeInput, line: str, first: str
) -> None:
    ask = sql_prompt.terminal(sql_prompt.words(results), tmp_path / "history")
    session = ask.__self__  # type: ignore[attr-defined]
    found = session.completer.get_completions(Document(line), CompleteEvent())
    assert next(iter(found)).text == first


def test_a_home_that_cannot_be_written_costs_the_memory_only(
    results: Path, tmp_path: Path, keys: PipeInput
) -> None:
    (tmp_path / "file").touch()
    ask = sql_prompt.terminal({}, tmp_path / "file" / "history")
    keys.send_text(f"FROM run{ENTER}FROM trials{ENTER}")
    assert [ask(), ask()] == ["FROM run", "FROM trials"]
    assert typed(ask, keys, pressing_up(keys, "FROM run")) == "FROM run"


def test_the_history_lies_where_the_user_keeps_states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert sql_prompt.history_file() == Path("/elsewhere/harness/sql_history")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert sql_prompt.history_file() == Path.home() / ".local/state/harness/sql_history"


# The command


Said = tuple[int, str, str]
Harness = Callable[..., Said]


@pytest.fixture
def harness(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Harness:
    def call(*arguments: str) -> Said:
        command = ["harness", "sql", "--results", str(results), *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as exit_:
            commands.main()
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return call


def test_a_query_comes_from_a_file_or_from_standard_input(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "query.sql").write_text("-- how good?\nSELECT trial, mean\nFROM trials;\n")
    expected = (0, "| trial | mean |\n| ----- | ---: |\n| m=0   |  0.5 |\n| m=1   | 0.75 |\n", "")
    assert harness("-f", str(tmp_path / "query.sql"), "--format", "markdown") == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 1 AS x"))
    assert harness("-f", "-", "--format", "csv") == (0, "x\n1\n", "")
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT 2 AS x"))
    assert harness("--format", "csv") == (0, "x\n2\n", "")


def test_what_is_no_query_is_one_line(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.sql").write_text(" \n")
    (tmp_path / "bytes.sql").write_bytes(b"\xff\xfe\x00")
    for arguments, message in [
        (["-f", "no.sql"], "no.sql: No such file or directory; give the path of an SQL file"),
        (["-f", str(tmp_path)], f"{tmp_path}: Is a directory; give the path of an SQL file"),
        (["-f", str(tmp_path / "empty.sql")], "empty.sql: no query in it; give one, such as"),
        (["-f", str(tmp_path / "bytes.sql")], "bytes.sql: not UTF-8 text; give"),
        (["SELECT 1", "-f", "x.sql"], "give either a query or --file, not both"),
        (["-f", "-"], "standard input: no query in it"),
    ]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        status, out, err = harness(*arguments)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert message in err


def test_a_terminal_without_a_query_gets_the_prompt(
    harness: Harness, keys: PipeInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    keys.send_text(f"SELECT 1 AS x{ENTER}SELEC{ENTER}SELECT 2 AS x{ENTER}.quit{ENTER}")
    status, out, err = harness("--format", "csv")
    assert (status, err) == (0, ".help explains the prompt, .tables lists what can be queried\n")
    assert out.splitlines() == [
        "x", "1", 'error: SQL: Parser Error: syntax error at or near "SELEC"', "x", "2",
    ]  # fmt: skip
    assert "+SELECT 2 AS x" in (tmp_path / "harness" / "sql_history").read_text()


def test_a_prompt_over_nothing_is_one_line(
    tmp_path: Path, harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    empty = tmp_path / "empty"
    assert harness("--results", str(empty)) == (
        2, "", f"error: no results in {empty} yet; run a study first\n",
    )  # fmt: skip
    with pytest.raises(InputError, match="no results"):
        sql_prompt.words(empty)
