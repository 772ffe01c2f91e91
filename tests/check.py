"""Everything that has to be green, in the order in which it fails fastest. Extra arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def main() -> int:
    commands = [
        [BIN / "ruff", "check"],
        [BIN / "ruff", "format", "--check"],
        [BIN / "mypy"],
        [BIN / "mypy", "--strict", "tests/system/test_border.py"],
        [BIN / "lint-imports"],
        [sys.executable, "-m", "pytest", *sys.argv[1:]],
    ]
    for command in commands:
        print("$", Path(command[0]).name, *command[1:], flush=True)
        if status := subprocess.run(command, cwd=ROOT).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
