"""What the READMEs and their neighbours promise exists: commands, files, numbers, versions."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from kept_tables import readme_tables
from roots import ROOT
from typer.main import get_command

from harness.cli.commands import app
from harness.study.loading import load_study

READMES = [ROOT / "README.md", ROOT / "harness" / "README.md", ROOT / "gcudml" / "README.md"]
DOCUMENTS = [
    *READMES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "docs" / "architecture.md",
]
MOST_BYTES_OF_A_PICTURE = 300_000


def test_the_tables_are_made_from_kept_results() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"<!-- table: ", text)) == 20
    assert readme_tables().filled(text) == text
    assert re.search(r"<!-- table: omniglot-components -->\n\| trial", text)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_table_whose_figures_are_not_kept_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    tables = readme_tables()
    monkeypatch.setattr(tables, "KEPT", tmp_path)
    row = {"lever": "a", "work": "b", "ratio": "2", "from_to": "1 to 3", "ms": "4", "in_use": "no"}
    if is_kept:
        (tmp_path / "levers.json").write_text(json.dumps({"rows": [row]}), encoding="utf-8")
    text = "before\n<!-- table: levers -->\n<!-- end -->\nafter"
    found = tables.filled(text)
    assert ("| a | b | 2 | 1 to 3 | 4 | no |" in found) == is_kept
    assert ("Not measured yet." in found) == (not is_kept)
    assert tables.filled(found) == found


def test_it_opens_with_exactly_two_commands_that_make_their_own_environment() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    commands = re.findall(r"```sh\n(.*?)```", opening, flags=re.S)
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("test -d .venv || python3 -m venv .venv; .venv/bin/pip install")
    assert "harness run studies/momentum.yaml" in commands[0]
    assert "'.[test]'" in commands[1]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_option_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = get_command(app).commands
    named = set(re.findall(r"(?:^|[`/ ])harness (?!\()([a-z]+)\b(?=[ `\"])", text, flags=re.M))
    named &= set(re.findall(r"harness ([a-z]+)", text))
    for name in named - {"from", "is", "and", "that", "of", "itself", "has"}:
        assert name in known, f"harness {name}"
    for name, option in re.findall(r"harness ([a-z]+)[^`\n]* (--[a-z-]+)", text):
        options = {flag for p in known[name].params for flag in p.opts}
        assert option in options, f"harness {name} {option}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    studies = re.findall(r"studies/[\w/]+\.yaml", text)
    for name in linked:
        assert (path.parent / name).exists(), name
    for name in studies:
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:\w+/)+\w+\.py)`", text):
        assert any((place / name).exists() for place in (path.parent, ROOT, ROOT / "harness")), name


EXCERPTED = "study: momentum\nquestion: Does it help?\nworkload: gcudml.workload\n"
"""Begins a study of which a document shows one field."""


def test_the_study_in_the_readme_is_valid(tmp_path: Path) -> None:
    for path in READMES[:2]:
        for position, block in enumerate(
            re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)
        ):
            study = tmp_path / f"{path.parent.name}{position}.yaml"
            is_whole = block.startswith("study:")
            study.write_text(block if is_whole else EXCERPTED + block, encoding="utf-8")
            assert load_study(study).spec.study == "momentum"


def test_every_document_is_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in DOCUMENTS[1:]:
        assert f"]({path.relative_to(ROOT).as_posix()})" in text


def test_all_files_name_the_same_version_and_license() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    versions = re.findall(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )
    assert versions[0] == project["version"]


def test_the_hooks_before_a_commit_are_the_static_checks() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"].split() for repo in config["repos"] for hook in repo["hooks"]]
    checks = (ROOT / "tests" / "check.py").read_text(encoding="utf-8")
    for program, *words in entries:
        assert f'"{Path(program).name}"' in checks
        assert all(f'"{word}"' in checks for word in words)
    assert {Path(program).name for program, *_ in entries} == {"ruff", "mypy", "lint-imports"}


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "reports").glob("*.png"))
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < MOST_BYTES_OF_A_PICTURE, picture.name


def test_what_the_readme_claims_is_tested_on_kept_values_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = readme_tables()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"<!-- claims: ([\w-]+) -->", text)
    assert len(named) == 7
    kept = json.loads((tables.KEPT / "claims.json").read_text(encoding="utf-8"))
    assert set(kept["by_seed"]["recall@1"]) == {row["trial"] for row in kept["rows"]}
    said = tables.claims_list("claims").splitlines()
    assert len(said) == len(load_study(tables.study_file("claims")).spec.claims)
    assert all("; registered 20" in line for line in said)
    values = kept["by_seed"]["recall@1"]["instance"]
    kept["by_seed"]["recall@1"]["instance"] = {seed: value - 0.3 for seed, value in values.items()}
    (tmp_path / "claims.json").write_text(json.dumps(kept), encoding="utf-8")
    monkeypatch.setattr(tables, "KEPT", tmp_path)
    assert tables.claims_list("claims").startswith("- refuted: instance is better than GC-UDML")


def test_claims_without_kept_values_by_seed_say_that_they_are_not_tested() -> None:
    said = readme_tables().claims_list("omniglot-components")
    assert said.startswith("- not tested: the claim of `studies/omniglot/components.yaml`, since")
