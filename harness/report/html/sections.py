"""The sections of a study's page, each a function from tables to HTML."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data.agreement import REFERENCE, Agreement
from harness.report.data.load import measure_label
from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import StudyTables, TrialRow, View
from harness.report.data.training import Training
from harness.report.findings.answer import SPLIT_NAMES
from harness.report.findings.listing import listed_trials
from harness.report.findings.methods_text import csv_text, is_csv_by_run, methods_paragraph
from harness.report.findings.paper_table import paper_table
from harness.report.findings.search_space import searched
from harness.report.html.document import file_stem
from harness.report.html.escape import escaped
from harness.report.html.layout import copied, download, mixture_notice, note, panels, section
from harness.report.html.reproduce import provenance_list, query_examples, spec_text
from harness.report.html.tables import (
    MOST_SEEDS,
    ablation_key,
    choices,
    chosen_part,
    grid_table,
    pruned_table,
    results_table,
    seeds_table,
    trial_key,
)
from harness.report.plots import render
from harness.report.plots.ablation import ablation_panels, ablation_pictures
from harness.report.plots.importance import landscape_pictures
from harness.report.plots.interactions import component_pictures, grid_pictures, grids
from harness.report.plots.parallel import parallel_pictures
from harness.report.plots.search_history import exploration_pictures
from harness.stats.paired import MIN_SEEDS_FOR_TEST

_MOST_CELLS = 144  # of a grid that is also written out


def _choices(tables: StudyTables, place: str) -> str:
    """The bars that choose measure and split for the whole page."""
    primary = tables.primary
    if primary is None:
        return ""
    measures = {measure: measure_label(measure) for measure in tables.measures()}
    splits = {split: SPLIT_NAMES[split] for split in tables.splits()}
    return choices("measure", measures, primary.measure, place) + choices(
        "split", splits, primary.split, place
    )


def ablation_section(tables: StudyTables) -> str:
    """The metric against everything that was varied."""
    primary = tables.primary
    if primary is None:
        return section("Ablation", note("Nothing to draw yet: no run has finished."))
    has_controls = any(trial.is_control for trial in tables.trials)
    drawings = render.draw_all(ablation_pictures(tables))
    return section(
        "Ablation",
        f'<div class="choices">{_choices(tables, "plot")}</div>',
        ablation_key(ablation_panels(tables), has_controls, is_search=tables.is_search),
        panels(drawings, is_single=len(drawings) == 1),
    )


def table_section(tables: StudyTables) -> str:
    """Every measure on every split in a table, and its values of every seed."""
    primary = tables.primary
    if primary is None:
        return ""
    parts = []
    for view in tables.chosen_views():
        seeds = seeds_table(tables, view)
        parts.append(
            chosen_part(
                view,
                primary,
                f"{results_table(tables, view)}"
                f"<details><summary>Every seed</summary>{seeds}</details>",
            )
        )
    return section(
        "Results",
        f'<div class="choices">{_choices(tables, "table")}</div>',
        "".join(parts),
        _what_is_listed(tables, primary),
        note(_how_to_read(tables, primary)),
    )


def _how_to_read(tables: StudyTables, view: View) -> str:
    """What the columns of the table are, and why some may be missing."""
    pairs = [found for (of, _), found in tables.comparisons.items() if of == view]
    said = ["Intervals are t-intervals over seeds."]
    if pairs:
        said.append(
            "Differences are paired by seed; P(better) is the share of seeds on which a trial is "
            "ahead."
        )
    if any(not pair.exploratory for pair in pairs):
        said.append(
            "Exact p flips the signs of the differences; Holm p corrects for the trials of the "
            "table, controls apart."
        )
    if any(pair.exploratory for pair in pairs):
        said.append(
            f"Below {MIN_SEEDS_FOR_TEST} pairs no exact p can reach 0.05, so none is shown and no "
            "verdict passed."
        )
    return " ".join(said)


def _what_is_listed(tables: StudyTables, view: View) -> str:
    """What a large study leaves out of its tables."""
    said = []
    listed = len(listed_trials(tables, view))
    if left := len(tables.trials) - listed:
        said.append(
            f"Listed are {listed} trials: the best, the baseline and the controls; {left} more are "
            "in the CSV and in the database."
        )
    seeds = len({run.seed for run in tables.runs})
    if seeds > MOST_SEEDS:
        said.append(f"Every seed shows the first {MOST_SEEDS} of {seeds} seeds.")
    return note(" ".join(said)) if said else ""


def interaction_section(tables: StudyTables) -> str:
    """How two parameters act together."""
    drawings = render.draw_all(grid_pictures(tables))
    primary = tables.primary
    if not drawings or primary is None:
        return ""
    words = note(
        "Every pair of values of two parameters. Where more parameters were varied, a cell is the "
        "mean over them, and its interval is over seeds as everywhere."
    )
    cells = []
    for grid in grids(tables):
        if len(grid.trials) <= _MOST_CELLS:
            shown = "".join(
                chosen_part(view, primary, grid_table(tables, grid, view))
                for view in tables.chosen_views()
            )
            summary = f"<summary>{escaped(grid.title)} with intervals</summary>"
            cells.append(f"<details>{summary}{shown}</details>")
    return section(
        "Interactions",
        f'<div class="choices">{_choices(tables, "grid")}</div>',
        words,
        panels(drawings, is_single=len(drawings) == 1),
        "".join(cells),
    )


def component_section(tables: StudyTables) -> str:
    """What each variant changes against the baseline."""
    drawings = render.draw_all(component_pictures(tables))
    if not drawings:
        return ""
    words = note(
        "Each variant minus the baseline, paired by seed, with its 95 % interval. A bar is "
        "coloured where a verdict is passed, and grey where it is not."
    )
    bars = f'<div class="choices">{_choices(tables, "component")}</div>'
    return section("Components", bars, words, panels(drawings, is_single=True))


def search_section(tables: StudyTables, search: StudyTables | None) -> str:
    """The trials of a search, apart from those that confirm it."""
    if search is None or search.primary is None:
        if not tables.is_search or tables.primary is None:
            return ""
        history = render.draw_all(exploration_pictures(tables))[:1]
        return section("Search", panels(history, is_single=True), _parameters(tables))
    count = len(search.contenders) + len(search.pruned)
    given_up = f" ({len(search.pruned)} were given up early)" if search.pruned else ""
    words = note(
        f"{count} trials were compared on validation images{given_up}, and the best of "
        "them trained again on fresh seeds: those are the results above. The best of many is "
        "partly luck, so the best numbers here are higher than what can be expected; no test class "
        "was looked at."
    )
    return section(
        "Search",
        mixture_notice(mixture_of(search)),
        words,
        panels(render.draw_all(exploration_pictures(search))),
        _parameters(search),
        results_table(search, search.primary),
    )


def _parameters(search: StudyTables) -> str:
    """Which parameters of a search mattered, and how its trials lie in their space."""
    found = searched(search)
    known = found.importances
    words = found.why_no_importances()
    if known is not None:
        words = (
            f"Importance rests on {known.trials} trials of the search alone. It says how much of "
            "the spread goes with a parameter, by itself and over its whole range; with fewer than "
            "some 50 trials its order is a hint, and interactions are in no bar."
        )
    if words and found.left_out:
        words += (
            f" Finished trials outside the searched space, as a baseline may be: {found.left_out}; "
            "they are in none of these pictures."
        )
    landscape = render.draw_all(landscape_pictures(found))
    lines = render.draw_all(parallel_pictures(found))
    return "".join(
        [
            note(words) if words else "",
            panels(landscape, is_single=len(landscape) == 1) if landscape else "",
            panels(lines, is_single=True) if lines else "",
        ]
    )


def agreement_section(agreement: Sequence[Agreement]) -> str:
    """Whether the criterion that needs no labels can be trusted."""
    if not agreement:
        return ""
    words = note(
        f"{measure_label(agreement[0].criterion)} needs no labels. Where images have classes, it "
        f"can be compared with {measure_label(REFERENCE)}: each point is a finished run of any "
        "study in these results, controls left out, both numbers on validation images. A rank "
        "correlation near 1 means that a search without labels would have chosen alike."
    )
    return section(
        f"Criterion against {measure_label(REFERENCE)}",
        words,
        panels(render.agreement_drawings(agreement), is_single=len(agreement) == 1),
    )


def curve_section(tables: StudyTables, training: Training) -> str:
    """What runs reported epoch by epoch."""
    drawings = render.curve_drawings(tables, training)
    if not drawings:
        return ""
    words = "Lines are means over seeds, bands reach from the lowest to the highest seed."
    if training.left_out:
        words += (
            f" Shown are the baseline and the best trials; {training.left_out} more are in the "
            "database."
        )
    return section("Training", note(words), trial_key(_drawn(training)), panels(drawings))


def cluster_section(training: Training) -> str:
    """Sizes of the clusters, and what follows from them."""
    sizes = render.size_drawings(training)
    if not sizes:
        return ""
    words = note(
        "Sizes of the pseudo-label clusters from the largest to the smallest, on a log scale: a "
        "steep end is a long tail; dotted uprights are the borders between groups of clusters in "
        "the last of these epochs. A Gini coefficient of 0 means equal sizes, 1 a single cluster "
        "that holds everything."
    )
    over_epochs = render.cluster_drawings(training)
    return section(
        "Clusters", words, panels(sizes), trial_key(_drawn(training)), panels(over_epochs)
    )


def _drawn(training: Training) -> list[TrialRow]:
    with_curves = {curve.trial.trial_id for curve in training.curves}
    return [trial for trial in training.trials if trial.trial_id in with_curves]


def pruned_section(tables: StudyTables) -> str:
    """Trials that were given up early."""
    if not tables.pruned:
        return ""
    words = note(
        "These trials were given up before all their seeds were trained. What they had reached "
        "by then is in the database, and in no table, mean or ranking."
    )
    table = f"<details><summary>Which, and why</summary>{pruned_table(tables)}</details>"
    return section("Pruned", words, table)


def reproduce_section(
    everything: StudyTables, tables: StudyTables, search: StudyTables | None
) -> str:
    """What it takes to do it all again, and to write it up.

    Args:
        everything: All trials.
        tables: Those that claims rest on.
        search: Those that these were chosen from.
    """
    paper = [copied("Methods", methods_paragraph(tables, search), "copy-methods")]
    if tables.primary is not None:
        table = paper_table(tables, is_whole=False)
        latex = table.latex(f"tab:{tables.study.name}")
        paper.append(copied("Table as LaTeX (booktabs)", latex, "copy-latex"))
        paper.append(copied("Table as Markdown", table.markdown(), "copy-markdown"))
    each = "run" if is_csv_by_run(everything) else "trial, since the runs are too many"
    name = f"{file_stem(everything.study.name)}.csv"
    return section(
        "Reproduce",
        provenance_list(everything),
        *paper,
        "<h3>Data</h3>",
        note(f"Every number of this page, a line a {each}."),
        download(csv_text(everything), "csv", name, f"Download {name}"),
        "<h3>Study</h3>",
        f'<pre tabindex="0">{escaped(spec_text(everything))}</pre>',
        "<h3>Every number again</h3>",
        f'<pre tabindex="0">{escaped(query_examples(everything.study.name))}</pre>',
    )
