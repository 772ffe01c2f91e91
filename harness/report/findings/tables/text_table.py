"""Write tables of plain text as LaTeX (booktabs) or Markdown, for papers and pages.

Cells hold what a reader should see, such as ``0.6120 ± 0.0105``: characters special to LaTeX or
Markdown are escaped here, and numbers get a proper minus sign. ``no_formula`` is for cells of CSV.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MINUS = "\N{MINUS SIGN}"
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': "''",
    "±": r"$\pm$",
    _MINUS: r"$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "Δ": r"$\Delta$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "…": r"\dots{}",
    "→": r"$\to$",
}
_NEGATIVE = re.compile(r"(?<![\w.-])-(?=\d)")
_NUMERIC = re.compile(r"[-+<≤=±%/.,:()\[\]\d\seE\u2013\u2014\u2212\u00d7]*")
# Characters that delimit emphasis, code, links, tags, formulas, strikethrough or cells.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")


def latex_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str = "",
    label: str = "",
    rules: Collection[int] = (),
) -> str:
    r"""Write a LaTeX ``table`` with a booktabs ``tabular``, to paste into a paper.

    It needs ``\usepackage{booktabs}``.

    Args:
        headings: One per column.
        rows: One cell per column; columns of numbers are right-aligned.
        caption: Plain text; omitted if empty.
        label: For ``\ref``; characters other than letters, digits, ``:`` and ``-`` are replaced.
        rules: Positions of rows with a rule above.

    Returns:
        The text, ending with a newline.
    """
    kinds = ["r" if _is_numeric(column) else "l" for column in _columns(headings, rows)]
    lines = [r"\begin{table}", r"\centering"]
    if caption:
        lines.append(rf"\caption{{{latex_escaped(caption)}}}")
    if label:
        lines.append(rf"\label{{{re.sub(r'[^A-Za-z0-9:-]', '-', label)}}}")
    lines += [rf"\begin{{tabular}}{{{''.join(kinds)}}}", r"\toprule"]
    lines += [_latex_line(headings), r"\midrule"]
    for position, row in enumerate(rows):
        if position in rules and position:
            lines.append(r"\midrule")
        lines.append(_latex_line(row))
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table for GitHub, Pandoc and most others, with its source aligned.

    Args:
        headings: One per column.
        rows: One cell per column; columns of numbers are right-aligned.

    Returns:
        The text, ending with a newline.
    """
    columns = _columns(headings, rows)
    to_right = [_is_numeric(column) for column in columns]
    cells = [[markdown_escaped(cell) for cell in line] for line in [headings, *rows]]
    marks = ["--:" if right else "---" for right in to_right]
    head, _, *shown = justified([cells[0], marks, *cells[1:]], to_right)
    marks = [
        "-" * (len(cell) - 1) + (":" if right else "-")
        for cell, right in zip(head, to_right, strict=True)
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, marks, *shown])


def justified(lines: Sequence[Sequence[str]], to_right: Sequence[bool]) -> list[list[str]]:
    """Pad cells to the widths of their columns, on the left if a column is aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_right, strict=True)
        ]
        for line in lines
    ]


def latex_escaped(text: str) -> str:
    """Escape ``text`` for LaTeX; newlines and control characters become spaces."""
    with_minus = _NEGATIVE.sub(_MINUS, _one_line(text))
    return "".join(_LATEX.get(character, character) for character in with_minus)


def markdown_escaped(text: str) -> str:
    """Escape ``text`` for a Markdown cell; newlines and control characters become spaces."""
    return _MARKDOWN.sub(lambda found: "\\" + found[0], _one_line(text))


def no_formula(text: str) -> str:
    """Prefix a CSV cell with an apostrophe if a spreadsheet would take it for a formula.

    Source:
        OWASP, CSV Injection. Only texts need it: a negative number is a number.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _latex_line(cells: Sequence[str]) -> str:
    shown = [latex_escaped(cell) for cell in cells]
    # A leading bracket or star would be read as an argument of the preceding line break.
    if shown and shown[0].startswith(("[", "*")):
        shown[0] = "{}" + shown[0]
    return " & ".join(shown) + r" \\"


def _one_line(text: str) -> str:
    """Replace newlines and control characters in ``text`` with spaces."""
    plain = "".join(" " if unicodedata.category(each) == "Cc" else each for each in text)
    return " ".join(plain.split())


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the cells of each column, without its heading.

    Raises:
        ValueError: a row has more or fewer cells than there are headings.
    """
    if wrong := [row for row in rows if len(row) != len(headings)]:
        raise ValueError(f"{len(headings)} headings, but a row of {len(wrong[0])}: {wrong[0]!r}")
    return [[row[at] for row in rows] for at in range(len(headings))]


def _is_numeric(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers, some of which may be missing."""
    has_digit = any(character.isdigit() for cell in cells for character in cell)
    return has_digit and all(_NUMERIC.fullmatch(cell) for cell in cells)
