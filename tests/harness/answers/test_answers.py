"""Programs get one JSON document from every command, and it is what the schema says."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from command_line import Harness, start
from driver_place import GRID
from roots import ROOT
from waiting import DEADLINE_S

from harness.answers import answers_schema
from harness.answers.documents import ANSWERS, Message
from harness.cli import commands

CLAIMED = GRID + "claims: [{trial: quality=0.5, better_than: quality=0.2}]\n"
RUN = ("--executor", "local")
NO_DOCUMENT = {"mcp", "schema"}
"""Commands that speak another protocol, or always print a schema."""


@pytest.fixture
def harness(tmp_path: Path, command_line: Harness) -> Harness:
    """The command line in this process, in a folder with studies."""
    (tmp_path / "study.yaml").write_text(CLAIMED)
    (tmp_path / "other.yaml").write_text(GRID.replace("study: quality", "study: other"))
    return command_line


def valid(text: str, name: str) -> Any:
    """The document in a command's output, which has nothing else and fits its schema."""
    document = json.loads(text)
    schema = answers_schema()
    jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]}).validate(
        document
    )
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def messages(err: str) -> list[dict[str, Any]]:
    """The lines on standard error."""
    found = [json.loads(line) for line in err.splitlines()]
    for each in found:
        Message.model_validate(each)
    return found


def test_every_command_answers_with_the_document_of_its_schema(harness: Harness) -> None:
    json_ = ("--format", "json")
    before: dict[str, tuple[str, ...]] = {
        "check": ("check", "study.yaml", *json_),
        "plan": ("plan", "study.yaml", "--no-probe", *json_),
        "run-dry-run": ("run", "study.yaml", "--dry-run", *json_),
        "run": ("run", "study.yaml", *RUN, *json_),
        "retry": ("retry", "other.yaml", *RUN, "--format=json"),
        "report": ("report", "study.yaml", *json_),
        "report-all": ("report", "--all", *json_),
        "compare": ("compare", "quality", "other", *json_),
        "best": ("best", "quality", *json_),
        "export": ("export", "quality", "--format", "latex", "--answer", "json"),
        "claims": ("claims", "study.yaml", *json_),
        "ls": ("ls", *json_),
        "sql": ("sql", "SELECT trial, mean, 'nan'::DOUBLE AS mean FROM trials", *json_),
        "rebuild-check": ("rebuild", "--check", *json_),
        "rebuild": ("rebuild", *json_),
    }
    found = {}
    for name, arguments in before.items():
        said = harness(*arguments)
        assert said.status == (3 if name == "claims" else 0), said.err
        found[name] = valid(said.out, name)
        messages(said.err)
    assert found["check"]["runs"] == found["plan"]["runs"] == found["run"]["total"] == 8
    assert found["run-dry-run"]["runs"][0]["state"] == "to do"
    assert found["run"]["results"]["rows"] == found["report"]["rows"]
    assert [row["n"] for row in found["report"]["rows"]] == [2, 2, 2, 2]
    assert found["report"]["best_model"] == found["best"]
    assert Path(found["report"]["page"]).exists()
    assert found["claims"]["claims"][0]["verdict"] == "undecided"
    assert [line["done"] for line in found["ls"]["studies"]] == [8, 8]
    assert set(found["sql"][0]) == {"trial", "mean", "mean_1"}
    assert found["sql"][0]["mean_1"] is None
    assert found["rebuild"]["runs"] == found["rebuild-check"]["runs"] == 8
    assert {*found} == {*ANSWERS} - {"verify", "watch"}


@pytest.mark.process
@pytest.mark.timeout(120)
def test_verify_and_watch_answer_as_well(harness: Harness, tmp_path: Path) -> None:
    said = harness("verify", "study.yaml", "--kills", "1", "--workers", "2", "--format", "json")
    found = valid(said.out, "verify")
    assert (said.status, found["is_equal"], sum(found["kills"].values())) == (0, True, 1)
    assert messages(said.err)[0]["kind"] == "notice"

    harness("run", "study.yaml", *RUN)
    process = start(tmp_path, "watch", "quality", "--format", "json")
    assert process.stdout is not None
    text = ""
    while not text.endswith("}\n"):
        line = process.stdout.readline()
        assert line, process.communicate()
        text += line
    assert valid(text, "watch")["url"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE_S)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("check", "none.yaml", "--format", "json"), "none.yaml: no such file"),
        (("plan", "study.yaml", "--set", "seeds", "--format=json"), "give KEY=VALUE"),
        (("report", "nothing", "--format", "json"), "no results in results yet"),
        (("ls", "--formt", "json", "--format", "json"), "No such option: --formt"),
        (
            ("verify", "study.yaml", "--kills", "0", "--format", "json"),
            "greater than or equal to 1",
        ),
        (("export", "quality", "--format", "json"), "'json' is not one of"),
    ],
)
def test_an_error_is_a_document_on_standard_error(
    harness: Harness, arguments: tuple[str, ...], text: str
) -> None:
    said = harness(*arguments)
    assert (said.status, said.out) == (2, "")
    (error,) = messages(said.err)
    assert (error["kind"], error["status"]) == ("error", 2)
    assert text in error["text"]


def test_a_failed_run_keeps_its_exit_status(harness: Harness) -> None:
    said = harness("run", "study.yaml", *RUN, "--set", "fail=crash", "--format", "json")
    assert said.status == 1
    assert valid(said.out, "run")["failed"] == 8
    assert any("crash: RuntimeError" in each["text"] for each in messages(said.err))
    plain = harness("check", "none.yaml")
    assert plain.err.startswith("error: none.yaml")


def test_every_command_that_prints_can_answer_programs() -> None:
    found = typer.main.get_command(commands.app)
    names = set(found.commands)  # type: ignore[attr-defined]
    assert {name.split("-")[0] for name in ANSWERS} == names - NO_DOCUMENT
    for name in names - NO_DOCUMENT:
        options = {opt for param in found.commands[name].params for opt in param.opts}  # type: ignore[attr-defined]
        assert ("--answer" if name == "export" else "--format") in options


def test_the_schema_of_answers_is_printed(harness: Harness) -> None:
    said = harness("schema", "--of", "results")
    document = json.loads(said.out)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document == answers_schema()
    smallest = document["$defs"]["Power"]["properties"]["smallest_p"]
    assert smallest["description"] == (
        "Smallest p that any result can have, after Holm's correction."
    )


def test_the_table_of_fields_in_the_documentation_is_complete() -> None:
    text = (ROOT / "harness" / "README.md").read_text(encoding="utf-8")
    text = text.partition("\n## For programs")[2].partition("\n## ")[0]
    defs = answers_schema()["$defs"]
    for name in ANSWERS:
        found = defs[defs[name]["$ref"].removeprefix("#/$defs/")]
        while "$ref" in found:
            found = defs[found["$ref"].removeprefix("#/$defs/")]
        command = "harness " + name.replace("-all", " --all").replace("-check", " --check").replace(
            "-dry-run", " --dry-run"
        )
        (row,) = re.findall(rf"^\| (?:[^|]*, )?`{command}`(?:, [^|]*)? \| (.*) \|$", text, re.M)
        assert set(re.findall(r"`([a-z_]+)`", row)) == {*found.get("properties", {})}, name


@pytest.mark.process
@pytest.mark.timeout(60)
def test_progress_of_a_run_goes_to_standard_error(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(GRID)
    process = start(tmp_path, "run", "study.yaml", *RUN, "--format", "json")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0
    valid(out, "run")
    lines = messages(err)
    assert any(line["text"].startswith("done ") for line in lines)
