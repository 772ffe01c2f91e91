"""The server speaks MCP over standard input and output: the package's own client tries it."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import toy_workload
from command_line import Harness
from roots import PYTHONPATH
from sealed_studies import OPEN, SEALED

import harness as api

NAMES = ["check", "claims", "plan", "report", "run", "sql", "status"]
needs_mcp = pytest.mark.skipif(
    importlib.util.find_spec("mcp") is None, reason="the package mcp is not installed"
)


@needs_mcp
@pytest.mark.process
@pytest.mark.timeout(180)
def test_an_agent_searches_and_reads_the_test_after_the_confirmation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import anyio
    from mcp import Client, StdioServerParameters

    studies = tmp_path / "studies"
    studies.mkdir()
    (studies / "sealed.yaml").write_text(SEALED)
    (studies / "open.yaml").write_text(OPEN)
    monkeypatch.setenv(toy_workload.FOLDER, str(tmp_path))
    api.run(studies / "open.yaml", results=tmp_path / "results", executor="local")
    command = ["-m", "harness", "mcp", "--results", "results", "--workload", "toy_workload"]
    server = StdioServerParameters(
        command=sys.executable,
        args=command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )
    test_rows = {"query": "SELECT DISTINCT study FROM results WHERE split = 'test'"}

    async def converse() -> None:
        async with Client(server) as client:

            async def call(name: str, **arguments: Any) -> Any:
                answer = await client.call_tool(name, arguments)
                assert not answer.is_error, answer
                return answer.structured_content

            assert sorted(tool.name for tool in (await client.list_tools()).tools) == NAMES
            assert (await call("status"))["studies"][0]["study"] == "plain"
            assert (await call("sql", **test_rows))["rows"] == []
            assert (await call("check", study="sealed.yaml"))["runs"] == 14
            assert (await call("plan", study="sealed.yaml"))["to_do"] == 14
            refused = await client.call_tool("run", {"study": "open.yaml"})
            assert refused.is_error
            assert "confirm: missing" in refused.content[0].text
            ran = await call("run", study="sealed.yaml", workers=2, wait_s=120)
            assert ran["ended"]["done"] == ran["ended"]["total"]
            assert ran["ended"]["results"]["split"] == "test"
            assert (await call("status"))["open"] == ["sealed"]
            assert (await call("sql", **test_rows))["rows"] == [{"study": "sealed"}]
            assert (await call("report", study="sealed"))["rows"]
            assert (await call("claims", study="sealed"))["claims"][0]["trial"] == "winner"

    anyio.run(converse)


def test_without_the_extra_a_line_says_how_to_install_it(
    command_line: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    monkeypatch.setitem(sys.modules, "mcp", None)
    said = command_line("mcp", "--workload", "toy_workload")
    assert said.status == 2
    assert said.err == (
        "error: harness mcp needs the package mcp: pip install 'gcudml-harness[mcp]'\n"
    )


@needs_mcp
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--workload", "toy_workload", "--studies", "none"), "none: no such folder; name that"),
        (("--workload", "toy_worklod", "--studies", "."), "toy_worklod"),
        ((), "Missing option '--workload'"),
    ],
)
def test_a_server_that_cannot_serve_says_so(
    command_line: Harness, arguments: tuple[str, ...], text: str
) -> None:
    said = command_line("mcp", *arguments)
    assert (said.status, said.out) == (2, "")
    assert text in said.err
