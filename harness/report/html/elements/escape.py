"""Escape text for HTML."""

from __future__ import annotations

import html
import re


def escaped(text: object) -> str:
    """Escape text for HTML, inside or outside an attribute."""
    return html.escape(str(text), quote=True)


def label(text: str) -> str:
    """Escape a trial's label and allow line breaks after ``=``, ``_``, ``,`` and ``/``."""
    return re.sub(r"([=_,/])", r"\1<wbr>", escaped(text))
