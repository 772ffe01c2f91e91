"""Assemble a page as one HTML file with its styles and scripts, and write it atomically.

All text is escaped, in HTML and in the JSON inside scripts; a page's content security policy stops
the browser from loading anything.
"""

from __future__ import annotations

import os
import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from harness.errors import InputError
from harness.records.trial import digest
from harness.report.html.elements.escape import escaped

INDEX = "index"
"""Name of the index page; no study's page may have it."""


class Frame(NamedTuple):
    """The content security policy of a page, and the HTML around its content."""

    policy: str
    """Content security policy."""
    top: str = ""
    """HTML at the start of the body."""
    end: str = ""
    """HTML at the end of the body."""


OFFLINE = Frame(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""For a page that loads nothing but its own file."""


def document(title: str, body: str, *, script: str = "", frame: Frame = OFFLINE) -> str:
    """Return a complete HTML page.

    Args:
        title: Window title, as plain text.
        body: Header and main content, as HTML.
        script: Plotting library, such as Plotly's; empty for a page without pictures.
        frame: Policy and surrounding HTML.
    """
    head = f"<script>{script}</script>\n" if script else ""
    has_pictures = bool(script)
    styles = asset("page.css") + (asset("pictures.css") if has_pictures else "")
    code = asset("page.js") + (asset("pictures.js") if has_pictures else "")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{frame.policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escaped(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{styles}</style>\n{head}"
        f"</head>\n<body>\n{frame.top}{body}"
        f"<script>\n{code}</script>\n{frame.end}</body>\n</html>\n"
    )


def asset(name: str, package: str = "harness.report.html") -> str:
    """Read a style sheet or script from ``package``."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def write_page(path: Path, text: str) -> Path:
    """Write a page atomically: a reader sees either the old one or the new one.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the report ({error.strerror}); free some space or choose "
            "another folder with --reports"
        ) from None
    return path


def file_stem(name: str) -> str:
    """Return a study's file name, with a digest if the name is reserved or has odd characters."""
    if name != INDEX and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        return name
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", name)[:60]
    return f"{plain}-{digest(name)[:8]}"


def _replace(path: Path, text: str) -> None:
    """Write a temporary file, sync it, then rename it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)  # mkstemp makes it readable by its owner only
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
