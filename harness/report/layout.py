"""What all parts of the page are laid out with: sections, notes and figures."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.figures import Drawing
from harness.report.markup import escaped


def section(title: str, *parts: str) -> str:
    """A part of the page under a heading; ``parts`` are HTML."""
    return f"<section><h2>{escaped(title)}</h2>\n{''.join(parts)}</section>\n"


def note(text: str) -> str:
    """A remark in plain text."""
    return f'<p class="note">{escaped(text)}</p>'


def panels(drawings: Sequence[Drawing], *, is_single: bool = False) -> str:
    """Pictures side by side where there is room; a single one takes all of it."""
    kind = "panels single" if is_single else "panels"
    return f'<div class="{kind}">{"".join(figure(drawing) for drawing in drawings)}</div>'


def figure(drawing: Drawing) -> str:
    """A picture: its JSON for the page's script, and the same in words."""
    # In a script, "<" could end it: JSON knows other ways to write these characters.
    data = drawing.json
    for character in "<>&\u2028\u2029":
        data = data.replace(character, f"\\u{ord(character):04x}")
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
