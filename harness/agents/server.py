"""The MCP server on standard input and output; the only module that knows the protocol."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from harness.agents.admission import Admission
from harness.agents.agent_tools import Tools
from harness.errors import HarnessError, InputError
from harness.workload import load_workload

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")

_INSTRUCTIONS = (
    "Ablation studies: each study file asks a question, and paired seeds answer it. Search on "
    "validation classes as you like; the test classes are scored only when a study confirms its "
    "winners, and their scores appear once that is done. Start with status and check; harness "
    "schema describes study files."
)


def serve(admission: Admission) -> None:
    """Serve the tools until standard input ends.

    Raises:
        InputError: the extra is not installed, a workload cannot be loaded, or a folder is missing.
    """
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError:
        raise InputError(
            "harness mcp needs the package mcp: pip install 'gcudml-harness[mcp]'"
        ) from None
    if not admission.studies.is_dir():
        raise InputError(f"{admission.studies}: no such folder; name that of the study files")
    for workload in admission.workloads:
        load_workload(workload)

    def told(tool: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
        """Make errors that the agent can act on part of the answer."""

        @functools.wraps(tool)
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Answer:
            try:
                return tool(*args, **kwargs)
            except HarnessError as error:
                raise ToolError(str(error)) from None

        return call

    tools = Tools(admission)
    server = MCPServer("harness", instructions=_INSTRUCTIONS, log_level="WARNING")
    for each in (
        tools.check,
        tools.plan,
        tools.run,
        tools.status,
        tools.sql,
        tools.report,
        tools.claims,
    ):
        server.add_tool(told(each))
    try:
        server.run("stdio")
    finally:
        tools.close()
