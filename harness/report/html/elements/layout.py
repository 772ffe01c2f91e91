"""Lay out a page: sections, notes and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from harness.report.data.mixture import OPENING, Mixture
from harness.report.html.elements.escape import escaped
from harness.report.plots.picture import Picture
from harness.report.plots.render import figure_json


def section(title: str, *parts: str) -> str:
    """Return a section under a heading that links can target; ``parts`` are HTML."""
    name = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    return f'<section id="{name}"><h2>{escaped(title)}</h2>\n{"".join(parts)}</section>\n'


def navigation(html: str) -> str:
    """Return links to the sections found in ``html``."""
    found = re.findall(r'<section id="([a-z0-9-]+)"><h2>(.*?)</h2>', html)
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in found)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>'


def copied(title: str, text: str, name: str) -> str:
    """Return a text with a copy button; ``name`` is its id in the page."""
    return (
        f'<div class="copied"><h3>{escaped(title)}</h3>'
        f'<button type="button" class="copy" data-copy="{name}">Copy</button>'
        f'<pre tabindex="0" id="{name}">{escaped(text)}</pre></div>\n'
    )


def download(text: str, name: str, file_name: str, said: str) -> str:
    """Return a button that downloads a text as a file, which the page's script creates.

    Args:
        text: Content of the file.
        name: Id in the page.
        file_name: Name of the saved file.
        said: Label of the button.
    """
    return (
        f'<p><button type="button" class="download" data-download="{name}" '
        f'data-file="{escaped(file_name)}">{escaped(said)}</button></p>'
        f'<script type="application/json" id="{name}">{in_script(json.dumps(text))}</script>\n'
    )


def in_script(text: str) -> str:
    """Escape JSON for a script element, which a "<" in a string could end."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def folded(summary: str, *parts: str) -> str:
    """Return HTML that opens below a line of plain text."""
    return f"<details><summary>{escaped(summary)}</summary>{''.join(parts)}</details>"


def note(text: str) -> str:
    """Return a note from plain text."""
    return f'<p class="note">{escaped(text)}</p>'


def sentence_list(sentences: Iterable[str]) -> str:
    """Return a numbered list of sentences, from plain text."""
    items = "".join(f"<li>{escaped(sentence)}</li>" for sentence in sentences)
    return f'<ol class="claims">{items}</ol>'


def mixture_notice(mixed: Mixture | None) -> str:
    """Return the warning above an answer whose runs differ in environment; empty if none do."""
    if mixed is None:
        return ""
    kinds = "".join(f"<li>{escaped(kind)}</li>" for kind in mixed.kinds)
    return (
        f'<div class="notice"><p>{escaped(OPENING)}</p><ul>{kinds}</ul>'
        f"<p>{escaped(mixed.consequence)}</p></div>"
    )


def panels(pictures: Sequence[Picture], *, may_fill: bool = True) -> str:
    """Lay pictures out side by side where there is room.

    A single one takes the full width if it ``may_fill`` it.
    """
    kind = "panels single" if may_fill and len(pictures) == 1 else "panels"
    return f'<div class="{kind}">{"".join(figure(picture) for picture in pictures)}</div>'


def figure(picture: Picture) -> str:
    """Return a picture: JSON for the page's script, and a description in words."""
    data = in_script(figure_json(picture))
    name = escaped(picture.name)
    width = f";min-width:{picture.min_width}px" if picture.min_width else ""
    plot = (
        f'<div class="plot" id="{name}" role="img" aria-label="{escaped(picture.text)}"'
        f' style="height:{picture.height}px{width}"></div>'
    )
    if picture.min_width:
        label = f'role="region" tabindex="0" aria-label="{escaped(picture.title)}"'
        plot = f'<div class="scroll" {label}>{plot}</div>'
    return (
        f"<figure><h3>{escaped(picture.title)}</h3>{plot}"
        f"<figcaption>{folded('In words', escaped(picture.text))}</figcaption>"
        f'<script type="application/json" id="{name}-data">{data}</script></figure>\n'
    )
