"""Text for HTML."""

from __future__ import annotations

import html
import re


def escaped(text: object) -> str:
    """Text as it may stand in HTML, in or out of an attribute."""
    return html.escape(str(text), quote=True)


def label(text: str) -> str:
    """A trial's label, which may break after the signs that hold it together."""
    return re.sub(r"([=_,/])", r"\1<wbr>", escaped(text))
