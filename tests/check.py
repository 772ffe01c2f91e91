"""Checks the code and runs its quick tests, or with ``--all`` every test.

Other arguments go to pytest. The static checks run beside the tests, and are shown when they are done.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
QUICK = "not slow and not process and not ray and not browser and not data and not shapes"
NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"
SHAPES = ["--jaxtyping-packages=gcudml,beartype.beartype"]
"""Checks the shapes of all tensors, which makes tests of the library half as slow again."""
CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("mypy", "--strict", "tests/system/test_border.py"),
    ("lint-imports",),
)


def main(arguments: Sequence[str]) -> int:
    with ThreadPoolExecutor(max_workers=1) as beside:
        checks = beside.submit(failed_checks)
        tests = run_tests(arguments)
        failed = checks.result()
    for command in failed:
        print("failed:", *command, file=sys.stderr)
    return tests or len(failed)


def run_tests(arguments: Sequence[str]) -> int:
    given = [each for each in arguments if each != "--all"]
    chosen = SHAPES if "--all" in arguments else ["-m", QUICK]
    options = ["-n", "auto", "--dist", "loadgroup", *chosen, *given]
    print("$ pytest", *options, flush=True)
    # Without kept bytecode each process compiles 500 files anew: eight seconds of a core.
    kept = {name: value for name, value in os.environ.items() if name != NO_BYTECODE}
    command = [sys.executable, "-m", "pytest", *options]
    return subprocess.run(command, cwd=ROOT, env=kept).returncode


def failed_checks() -> list[tuple[str, ...]]:
    """Run the static checks one after the other, and print each in one piece."""
    failed = []
    for command in CHECKS:
        program = [BIN / command[0], *command[1:]]
        done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
        print("\n$", *command, f"\n{done.stdout}{done.stderr}", end="", flush=True)
        if done.returncode:
            failed.append(command)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
