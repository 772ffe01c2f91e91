"""What all parts of the page are laid out with: sections, notes and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from harness.report.data.mixture import OPENING, Mixture
from harness.report.html.escape import escaped
from harness.report.plots.render import Drawing


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading, which links can name; ``parts`` are HTML."""
    name = re.sub("[^a-z0-9]+", "-", title.lower()).strip("-")
    return f'<section id="{name}"><h2>{escaped(title)}</h2>\n{"".join(parts)}</section>\n'


def navigation(html: str) -> str:
    """Links to the sections of a part of the page."""
    found = re.findall(r'<section id="([a-z0-9-]+)"><h2>(.*?)</h2>', html)
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in found)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>'


def copied(title: str, text: str, name: str) -> str:
    """A text with a button that copies it; ``name`` is its id in the page."""
    return (
        f'<div class="copied"><h3>{escaped(title)}</h3>'
        f'<button type="button" class="copy" data-copy="{name}">Copy</button>'
        f'<pre tabindex="0" id="{name}">{escaped(text)}</pre></div>\n'
    )


def download(text: str, name: str, file_name: str, said: str) -> str:
    """A button that gives a text as a file, which the page's script makes.

    Args:
        text: Its content.
        name: Its id in the page.
        file_name: What it is saved as.
        said: On the button.
    """
    return (
        f'<p><button type="button" class="download" data-download="{name}" '
        f'data-file="{escaped(file_name)}">{escaped(said)}</button></p>'
        f'<script type="application/json" id="{name}">{in_script(json.dumps(text))}</script>\n'
    )


def in_script(text: str) -> str:
    """JSON as it may stand in a script, which a "<" in a string could end."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def note(text: str) -> str:
    """A remark in plain text."""
    return f'<p class="note">{escaped(text)}</p>'


def mixture_notice(mixed: Mixture | None) -> str:
    """What stands above an answer whose runs were not made alike."""
    if mixed is None:
        return ""
    kinds = "".join(f"<li>{escaped(kind)}</li>" for kind in mixed.kinds)
    return (
        f'<div class="notice"><p>{escaped(OPENING)}</p><ul>{kinds}</ul>'
        f"<p>{escaped(mixed.consequence)}</p></div>"
    )


def panels(drawings: Sequence[Drawing], *, is_single: bool = False) -> str:
    """Pictures side by side where there is room; a single one takes all of it."""
    kind = "panels single" if is_single else "panels"
    return f'<div class="{kind}">{"".join(figure(drawing) for drawing in drawings)}</div>'


def figure(drawing: Drawing) -> str:
    """A picture: its JSON for the page's script, and the same in words."""
    data = in_script(drawing.json)
    name = escaped(drawing.name)
    width = f";min-width:{drawing.min_width}px" if drawing.min_width else ""
    plot = (
        f'<div class="plot" id="{name}" role="img" aria-label="{escaped(drawing.text)}"'
        f' style="height:{drawing.height}px{width}"></div>'
    )
    if drawing.min_width:
        label = f'role="region" tabindex="0" aria-label="{escaped(drawing.title)}"'
        plot = f'<div class="scroll" {label}>{plot}</div>'
    return (
        f"<figure><h3>{escaped(drawing.title)}</h3>{plot}"
        f"<figcaption><details><summary>In words</summary>{escaped(drawing.text)}</details>"
        f'</figcaption><script type="application/json" id="{name}-data">{data}</script></figure>\n'
    )
