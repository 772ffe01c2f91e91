"""Tables as text for papers: what they look like, and that no cell can break them."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from harness.report.findings.tables.text_table import (
    latex_escaped,
    latex_table,
    markdown_escaped,
    markdown_table,
)

HEADINGS = ("Trial", "Recall@1", "difference", "p")
ROWS = [
    ("momentum_0 (baseline)", "0.6120 ± 0.0105", "", ""),
    ("momentum=0.9", "0.5870 ± 0.0200", "-0.0250 [-0.0400, -0.0100]", "0.004"),
    ("raw pixels", "0.3000", "—", "<0.001"),
]
NASTY = [
    r"a\b{c}$d$ & #1 100% _x_ ~ ^ <script>alert('1')</script> | `code` *bold* [link](x) \\ \end{table}",
    "two\nlines\rand\ta tab",
    "",
    "|",
    "\\",
    "[first]",
    "*",
    "&amp; ~~struck~~ $x_1$ __init__ **x**",
    "ü → ±",
    "\\|\\\\|",
]


def test_latex_is_a_table_of_booktabs() -> None:
    text = latex_table(HEADINGS, ROWS, caption="5 % of it", label="tab:my study_1", rules=[2])
    assert (
        text
        == r"""\begin{table}
\centering
\caption{5 \% of it}
\label{tab:my-study-1}
\begin{tabular}{lrrr}
\toprule
Trial & Recall@1 & difference & p \\
\midrule
momentum\_0 (baseline) & 0.6120 $\pm$ 0.0105 &  &  \\
momentum=0.9 & 0.5870 $\pm$ 0.0200 & $-$0.0250 [$-$0.0400, $-$0.0100] & 0.004 \\
\midrule
raw pixels & 0.3000 & --- & $<$0.001 \\
\bottomrule
\end{tabular}
\end{table}
"""
    )


def test_markdown_is_a_table_whose_columns_are_aligned() -> None:
    text = markdown_table(("trial", "n"), [("a_b", "5"), ("x | y", "10")])
    assert text == "| trial  |   n |\n| ------ | --: |\n| a_b    |   5 |\n| x \\| y |  10 |\n"


@pytest.mark.parametrize("cell", NASTY)
def test_a_markdown_reader_shows_each_cell_as_it_was(cell: str) -> None:
    text = markdown_table((cell, "n"), [("x", "1"), (cell, "2")])
    page = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    shown = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page)
    plain = " ".join(cell.split())
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert shown == [escaped, "n", "x", "1", escaped, "2"]


@pytest.mark.parametrize("cell", NASTY)
def test_no_cell_breaks_the_latex(cell: str) -> None:
    text = latex_table((cell, "n"), [(cell, cell), ("x", cell)], caption=cell)
    body = re.sub(r"\\text\w+\{\}|\\dots\{\}|\\[{}$&#%_]|\$[^$]*\$", "", text)
    assert not re.findall(r"[#%_~^$<>|]", body)
    assert body.count("{") == body.count("}")
    lines = body.splitlines()
    assert [line.count("&") for line in lines if line.endswith(r"\\")] == [1, 1, 1]
    assert not [line for line in lines if line.startswith(("[", "*"))]
    assert (lines[0], lines[-1]) == (r"\begin{table}", r"\end{table}")


def test_a_minus_is_one_before_numbers_only() -> None:
    assert latex_escaped("-0.5 no-groups 1e-05 a -1") == "$-$0.5 no-groups 1e-05 a $-$1"


def test_words_that_begin_with_a_number_are_no_numbers() -> None:
    assert r"{lr}" in latex_table(("a", "b"), [("3 layers", "3"), ("4 layers", "-4.5e-05")])
    assert r"{lll}" in latex_table(("a", "b", "c"), [("", "x", "3 layers")])


def test_a_row_with_a_cell_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="2 headings, but a row of 1"):
        markdown_table(("a", "b"), [("x",)])


def test_names_keep_their_underscores_where_markdown_does() -> None:
    assert markdown_escaped("teacher_momentum") == "teacher_momentum"
    assert markdown_escaped("_x_") == r"\_x\_"
