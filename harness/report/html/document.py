"""What all pages are made of: one HTML file with its styles and scripts, written whole.

All text is escaped, in HTML and in the JSON inside scripts; a page's own policy forbids the browser
to load anything.
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
from harness.report.html.escape import escaped

INDEX = "index"
"""The page over all studies; no study's page has this name."""


class Frame(NamedTuple):
    """What surrounds the content of a page."""

    policy: str
    """Its content security policy."""
    top: str = ""
    """HTML before everything else."""
    end: str = ""
    """HTML after everything else."""


OFFLINE = Frame(
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
"""A page that needs nothing but its file."""


def document(title: str, body: str, *, script: str = "", frame: Frame = OFFLINE) -> str:
    """A whole page.

    Args:
        title: Of the window, as text.
        body: Header and main part, as HTML.
        script: What draws its pictures, such as Plotly's own; a page without pictures has none.
        frame: What surrounds it.
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
    """Read a style sheet or script that lies in ``package``."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def write_page(path: Path, text: str) -> Path:
    """Write a page, replacing an older one whole: a reader sees the old one or the new one.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the report ({error.strerror}); free space or choose another "
            "folder with --reports"
        ) from None
    return path


def file_stem(name: str) -> str:
    """A study's name as a file name; one with other characters, or a taken one, gets a digest."""
    if name != INDEX and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        return name
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", name)[:60]
    return f"{plain}-{digest(name)[:8]}"


def _replace(path: Path, text: str) -> None:
    """Write beside, sync, then rename."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)  # mkstemp gives it to the owner alone
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
