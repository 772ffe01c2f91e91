"""Render the sections of a study's page, one function each, from tables to HTML."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from harness.report.data.agreement import REFERENCE, Agreement
from harness.report.data.evidence.by_classes import ByClasses
from harness.report.data.evidence.explained import ExplainedShare
from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import StudyTables, TrialRow, View, measure_label
from harness.report.data.training import Training
from harness.report.findings.axes.search_space import searched
from harness.report.findings.axes.swept_axes import swept_axes
from harness.report.findings.class_number import class_interval_note, class_number_text
from harness.report.findings.tables.listing import listed_trials
from harness.report.findings.tables.methods_text import csv_text, is_csv_by_run, methods_paragraph
from harness.report.findings.tables.paper_table import paper_table
from harness.report.html.document import file_stem
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.layout import (
    copied,
    download,
    folded,
    mixture_notice,
    note,
    panels,
    section,
)
from harness.report.html.elements.tables import (
    MOST_SEEDS,
    ablation_key,
    each_view,
    grid_table,
    pruned_table,
    results_table,
    seeds_table,
    trial_key,
    view_choices,
)
from harness.report.html.evidence.chosen import choice_section
from harness.report.html.evidence.components import effect_section
from harness.report.html.evidence.folds import folds_table
from harness.report.html.reproduce import provenance_list, query_examples, spec_text
from harness.report.plots.ablation import ablation_panels, ablation_pictures
from harness.report.plots.agreement import agreement_pictures
from harness.report.plots.by_classes import by_classes_picture
from harness.report.plots.effects.explained import explained_pictures
from harness.report.plots.effects.grid_interactions import contrast_pictures
from harness.report.plots.effects.interactions import component_pictures, grid_pictures, grids
from harness.report.plots.search.importance import landscape_pictures
from harness.report.plots.search.parallel import parallel_pictures
from harness.report.plots.search.search_history import exploration_pictures
from harness.report.plots.training.cluster_sizes import purity_pictures, size_pictures
from harness.report.plots.training.curves import cluster_pictures, curve_pictures
from harness.stats.paired import MIN_SEEDS_FOR_TEST

_CELLS = (
    "Each cell is one pair of values of two parameters. If more parameters were varied, a cell is "
    "the mean over them; its interval is over seeds, as everywhere."
)
_MOST_CELLS = 144  # largest grid that is also shown as a table


def ablation_section(tables: StudyTables) -> str:
    """Plot the metric against everything that was varied."""
    primary = tables.primary
    if primary is None:
        return section("Ablation", note("Nothing to plot yet: no run has finished."))
    has_controls = any(trial.is_control for trial in tables.trials)
    return section(
        "Ablation",
        view_choices(tables, "plot"),
        ablation_key(ablation_panels(tables), has_controls, is_search=tables.is_search),
        panels(ablation_pictures(tables)),
    )


def table_section(tables: StudyTables) -> str:
    """Tabulate every measure on every split, with the values of every seed."""
    primary = tables.primary
    if primary is None:
        return ""

    def written(view: View) -> str:
        return (
            results_table(tables, view)
            + folded("Every seed", seeds_table(tables, view))
            + (folded("Every fold", folds_table(tables, view)) if tables.folds else "")
        )

    return section(
        "Results",
        view_choices(tables, "table"),
        each_view(tables, primary, written),
        _what_is_listed(tables, primary),
        note(_how_to_read(tables, primary)),
    )


def _how_to_read(tables: StudyTables, view: View) -> str:
    """Explain the columns of the table, and why some may be missing."""
    pairs = tables.compared(view)
    said = ["Intervals are t-intervals over seeds."]
    if pairs:
        said.append(
            "Differences are paired by seed; P(better) is the share of seeds on which a trial is "
            "ahead."
        )
    if tables.folds:
        said.append(
            f"Each seed is trained with {tables.folds} folds of the training classes, each held "
            "out and scored once; its value is their mean."
        )
    if wide := next((pair.over_classes for pair in pairs if pair.over_classes), None):
        said.append(class_interval_note(wide))
    if any(not pair.exploratory for pair in pairs):
        said.append(
            "Exact p is from a sign-flip test of the differences; Holm p corrects it over the "
            "trials in the table, separately for controls."
        )
    if any(pair.exploratory for pair in pairs):
        said.append(
            f"With fewer than {MIN_SEEDS_FOR_TEST} pairs no exact p can reach 0.05, so no p and no "
            "verdict are given."
        )
    return " ".join(said)


def _what_is_listed(tables: StudyTables, view: View) -> str:
    """Say what the tables of a large study leave out."""
    said = []
    listed = len(listed_trials(tables, view))
    if left := len(tables.trials) - listed:
        said.append(
            f"{listed} trials are listed: the best, the baseline and the controls; {left} more are "
            "in the CSV and the database."
        )
    seeds = len({run.seed for run in tables.runs})
    if seeds > MOST_SEEDS:
        said.append(f"The table by seed shows the first {MOST_SEEDS} of {seeds} seeds.")
    return note(" ".join(said)) if said else ""


def interaction_section(
    tables: StudyTables, search: StudyTables | None, explained: Sequence[ExplainedShare]
) -> str:
    """Show what parameters explain, alone and in pairs, and how pairs of them interact.

    Of a confirmation, the pairs are those of its sealed grid, if it had one.
    """
    shares = _explained_part(search or tables, explained)
    if search is not None:
        return _sealed_interactions(search, shares)
    pictures = grid_pictures(tables)
    beside = {each.name.partition("-")[2]: each for each in contrast_pictures(tables)}
    primary = tables.primary
    if primary is None or not (pictures or explained):
        return ""
    if not pictures:
        return section("Interactions", shares)
    words = note(
        f"{_CELLS} The other picture shows how much more both changes do together than apart, "
        "paired by seed; a star marks a Holm p below 0.05, over the cells of the picture."
    )
    pairs = [
        picture
        for drawn in pictures
        for picture in (drawn, beside.get(drawn.name.partition("-")[2]))
        if picture is not None
    ]
    cells = []
    for grid in grids(tables):
        if len(grid.trials) <= _MOST_CELLS:
            shown = each_view(tables, primary, partial(grid_table, tables, grid))
            cells.append(folded(f"{grid.title} with intervals", shown))
    return section(
        "Interactions",
        shares,
        view_choices(tables, "grid"),
        words,
        panels(pairs),
        "".join(cells),
    )


def _sealed_interactions(search: StudyTables, shares: str) -> str:
    """Show the heat maps of a sealed grid, which has no test scores to choose from."""
    pictures, primary = grid_pictures(search, is_alone=True), search.primary
    if not pictures or primary is None:
        return section("Interactions", shares) if shares else ""
    tables = [
        folded(f"{grid.title} with intervals", grid_table(search, grid, primary))
        for grid in grids(search)
        if len(grid.trials) <= _MOST_CELLS
    ]
    words = note(f"{_CELLS} These are all trials of the grid: {primary.text}.")
    return section("Interactions", shares, words, panels(pictures, may_fill=False), "".join(tables))


def _explained_part(tables: StudyTables, explained: Sequence[ExplainedShare]) -> str:
    """Draw what parameters and pairs explain; empty if that is unknown."""
    if not explained:
        return ""
    words = (
        f"Of the differences between trials in {tables.decisive.text}, this is the share that each "
        "parameter explains on its own, and that each pair explains beyond its two parameters. "
        "Intervals (95 %) are from drawing the seeds anew. What is left, noise and larger groups "
        "of parameters, is not drawn."
    )
    titles = {axis.key: axis.title for axis in swept_axes(tables)}
    return note(words) + panels(explained_pictures(explained, titles))


def component_section(tables: StudyTables) -> str:
    """Show what each component of an ablation is worth, or how each variant differs."""
    if tables.design is not None:
        return effect_section(tables)
    pictures = component_pictures(tables)
    if not pictures:
        return ""
    words = note(
        "Each variant minus the baseline, paired by seed, with its 95 % interval. A bar is "
        "coloured if the verdict is better or worse, and grey otherwise."
    )
    return section("Components", view_choices(tables, "component"), words, panels(pictures))


def search_section(tables: StudyTables, search: StudyTables | None) -> str:
    """Show the trials of a search, without those that confirm it."""
    if search is None or search.primary is None:
        if not tables.is_search or tables.primary is None:
            return ""
        if tables.is_chosen:
            return choice_section(tables, None)
        return section("Search", panels(exploration_pictures(tables)[:1]), _parameters(tables))
    if tables.is_chosen:
        return choice_section(search, tables)
    count = len(search.contenders) + len(search.pruned)
    given_up = f" ({len(search.pruned)} were pruned)" if search.pruned else ""
    words = note(
        f"{count} trials were compared on validation images{given_up}, and the best of "
        "them were retrained on fresh seeds: those are the results above. The best of many trials "
        "is partly luck, so the best numbers here are higher than can be expected again. The test "
        "classes were not used."
    )
    return section(
        "Search",
        mixture_notice(mixture_of(search)),
        words,
        panels(exploration_pictures(search), may_fill=False),
        _parameters(search),
        results_table(search, search.primary),
    )


def _parameters(search: StudyTables) -> str:
    """Show which parameters of a search mattered, and where its trials lie in the search space."""
    found = searched(search)
    known = found.importances
    words = found.why_no_importances()
    if known is not None:
        words = (
            f"Importance is estimated from {known.trials} trials of the search only. It is the "
            "share of the spread that a parameter explains on its own, over its whole range. With "
            "fewer than about 50 trials the order is only a hint; interactions are not included."
        )
    if words and found.left_out:
        words += (
            f" Finished trials outside the search space, such as a baseline: {found.left_out}; "
            "these pictures leave them out."
        )
    rows = [
        pictures for pictures in (landscape_pictures(found), parallel_pictures(found)) if pictures
    ]
    return (note(words) if words else "") + "".join(panels(pictures) for pictures in rows)


def agreement_section(agreement: Sequence[Agreement]) -> str:
    """Show whether the label-free criterion can be trusted."""
    if not agreement:
        return ""
    words = note(
        f"{measure_label(agreement[0].criterion)} needs no labels. If images have classes, it "
        f"can be compared with {measure_label(REFERENCE)}: each point is a finished run of any "
        "study in these results, excluding controls, with both numbers on validation images. A "
        "rank correlation near 1 means that a search without labels would have made the same "
        "choices."
    )
    return section(
        f"Criterion against {measure_label(REFERENCE)}",
        words,
        panels(agreement_pictures(agreement)),
    )


def curve_section(tables: StudyTables, training: Training) -> str:
    """Plot what runs reported, epoch by epoch."""
    pictures = curve_pictures(tables, training)
    if not pictures:
        return ""
    words = "Lines are means over seeds; bands span the lowest to the highest seed."
    if training.left_out:
        words += (
            f" The baseline and the best trials are shown; {training.left_out} more are in the "
            "database."
        )
    drawn = panels(pictures, may_fill=False)
    return section("Training", note(words), trial_key(_drawn(training)), drawn)


def class_number_section(found: ByClasses | None, trials: Sequence[TrialRow]) -> str:
    """Compare validation with test classes at equal numbers of classes.

    Args:
        found: Recall@1 by number of classes.
        trials: The trials to draw.
    """
    if found is None:
        return ""
    words = (
        "With more classes there are more images to mistake for one of the right class. Lines show "
        "the Recall@1 to be expected if only so many classes of the split were there: the exact "
        "mean over all draws of them, averaged over seeds. The dashed line marks the number at "
        "which the splits are compared."
    )
    return section(
        "Number of classes",
        f"<p>{escaped(class_number_text(found))}</p>",
        note(words),
        trial_key(trials),
        panels((by_classes_picture(found, trials),)),
    )


def cluster_section(training: Training) -> str:
    """Plot cluster sizes, and the curves derived from clusters."""
    if not training.sizes:
        return ""
    words = note(
        "Sizes of the pseudo-label clusters, largest to smallest, on a log scale: a steep end is a "
        "long tail. Dotted vertical lines separate groups of clusters in the last of these epochs. "
        "A Gini coefficient of 0 means equal sizes; 1 means that one cluster holds everything. "
        "An AMI of 1 means that two seeds have the same clusters; 0 that they agree by chance only."
    )
    return section(
        "Clusters",
        words,
        panels(size_pictures(training), may_fill=False),
        trial_key(_drawn(training)),
        panels([*cluster_pictures(training), *purity_pictures(training)], may_fill=False),
    )


def _drawn(training: Training) -> list[TrialRow]:
    with_curves = {curve.trial.trial_id for curve in training.curves}
    return [trial for trial in training.trials if trial.trial_id in with_curves]


def pruned_section(tables: StudyTables) -> str:
    """List the pruned trials."""
    if not tables.pruned:
        return ""
    words = note(
        "These trials were pruned before all their seeds were trained. What they had reached by "
        "then is in the database, but in no table, mean or ranking."
    )
    return section("Pruned", words, folded("Which, and why", pruned_table(tables)))


def reproduce_section(
    everything: StudyTables, tables: StudyTables, search: StudyTables | None
) -> str:
    """Show what it takes to reproduce the study and to write it up.

    Args:
        everything: All trials.
        tables: The trials that claims rest on.
        search: The search that these were chosen from.
    """
    paper = [copied("Methods", methods_paragraph(tables, search), "copy-methods")]
    if tables.primary is not None:
        table = paper_table(tables, is_whole=False)
        latex = table.latex(f"tab:{tables.study.name}")
        paper.append(copied("Table as LaTeX (booktabs)", latex, "copy-latex"))
        paper.append(copied("Table as Markdown", table.markdown(), "copy-markdown"))
    each = "run" if is_csv_by_run(everything) else "trial, since there are too many runs"
    name = f"{file_stem(everything.study.name)}.csv"
    return section(
        "Reproduce",
        provenance_list(everything),
        *paper,
        "<h3>Data</h3>",
        note(f"Every number on this page, one line per {each}."),
        download(csv_text(everything), "csv", name, f"Download {name}"),
        "<h3>Study</h3>",
        f'<pre tabindex="0">{escaped(spec_text(everything))}</pre>',
        "<h3>Query the numbers</h3>",
        f'<pre tabindex="0">{escaped(query_examples(everything.study.name))}</pre>',
    )
