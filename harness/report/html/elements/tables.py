"""Render tables, legends and lists as HTML. Every text is escaped here, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.records.trial import seed_text
from harness.report.data.study_data import (
    SPLIT_NAMES,
    Comparison,
    RunRow,
    StudyTables,
    Summary,
    TrialRow,
    View,
    measure_label,
)
from harness.report.findings.estimates import (
    NONE,
    class_interval_text,
    decimal,
    difference_text,
    p_text,
    range_text,
    signed,
    signed_interval,
    summary_text,
    verdict,
)
from harness.report.findings.tables.listing import MOST_ROWS, listed_trials
from harness.report.html.elements.escape import escaped, label
from harness.report.html.elements.layout import folded
from harness.report.plots.ablation import Panel
from harness.report.plots.colours import ACCENT, BASELINE, BEST
from harness.report.plots.effects.interactions import Grid
from harness.report.plots.picture import trial_colours
from harness.stats.ablations.designs import KIND_NAMES
from harness.stats.paired import may_show_p

MOST_SEEDS = 25
"""Maximum number of columns in a table of seeds."""
MOST_DISTINCT = 12
_TEXT = ' class="text"'


def results_table(tables: StudyTables, view: View) -> str:
    """Tabulate one measure on one split: one row per trial, controls last."""
    ranked = tables.ranked(view)
    heads = ["mean", "sd", "95 % interval", "seeds"]
    compared = tables.compared(view)
    with_p = any(not found.exploratory for found in compared)
    heads += comparison_heads("difference from baseline", with_p=with_p) if compared else []
    heads.append("s per run")
    rows = []
    planned = tables.planned()
    seconds = _mean_seconds(tables)
    for trial in listed_trials(tables, view):
        summary = tables.summary(view, trial)
        cells = [*summary_cells(summary), _seeds(planned[trial.trial_id], summary)]
        if compared:
            found = tables.comparison(view, trial)
            cells += comparison_cells(found, with_p=with_p)
        cells.append(seconds.get(trial.trial_id, NONE))
        is_best = bool(ranked) and trial == ranked[0]
        kind = "control" if trial.is_control else "best" if is_best else ""
        marked = tags(best=is_best, baseline=trial.is_baseline, control=trial.is_control)
        rows.append(table_row(label(trial.label) + marked, cells, kind))
    caption = view.text
    return data_table(caption, ["trial", *heads], rows)


def seeds_table(tables: StudyTables, view: View) -> str:
    """Tabulate the value of every seed for one measure on one split."""
    values = {(v.trial_id, v.seed): v.value for v in tables.values[view]}
    seeds = sorted({seed for _, seed in values})[:MOST_SEEDS]
    rows = []
    for trial in listed_trials(tables, view):
        found = [values.get((trial.trial_id, seed)) for seed in seeds]
        cells = [NONE if value is None else decimal(value, 4) for value in found]
        rows.append(table_row(label(trial.label), cells))
    caption = f"{view.text}, seed by seed"
    return data_table(caption, ["trial", *(f"seed {seed}" for seed in seeds)], rows)


def failures_table(labels: Mapping[str, str], failed: Sequence[RunRow]) -> str:
    """Tabulate the first failed runs: why each failed, and the last lines it printed.

    Args:
        labels: trial_id -> label.
        failed: The runs.
    """
    rows = []
    for run in failed[:MOST_ROWS]:
        lines = f'<pre tabindex="0">{escaped(run.stderr)}</pre>'
        log = folded("last lines", lines) if run.stderr else ""
        attempts = f"attempt {run.attempts}"
        rows.append(
            f'<tr><th scope="row">{label(labels[run.trial_id])}</th>'
            f"<td>{seed_text(run.seed, run.fold)}</td>"
            f'<td class="text"><code>{escaped(run.run_id)}</code></td>'
            f'<td class="text">{escaped(run.failure or "crash")}, {attempts}: '
            f"{escaped(run.message or 'no message')}{log}</td></tr>"
        )
    return data_table(
        "Failed runs", ["trial", "seed", "run", "reason"], rows, texts=("run", "reason")
    )


def grid_table(tables: StudyTables, grid: Grid, view: View) -> str:
    """Tabulate the cells of a two-parameter grid with their intervals."""
    cells = grid.cells(tables, view)
    rows = [
        table_row(
            label(down),
            [
                NONE if (cell := cells[x, y]) is None else escaped(summary_text(cell))
                for x in range(len(grid.across_values))
            ],
        )
        for y, down in enumerate(grid.down_values)
    ]
    heads = [f"{grid.across.title} {value}" for value in grid.across_values]
    caption = f"{view.text} by {grid.title}"
    return data_table(caption, [grid.down.title, *heads], rows)


def effects_table(tables: StudyTables, view: View) -> str:
    """Tabulate all effects of an ablation on one measure and split."""
    found = tables.effects.get(view, ())
    with_p = any(may_show_p(effect.n) for effect in found)
    heads = ["kind", "estimate", "95 % interval", "seeds", *(["exact p", "Holm p"] * with_p)]
    rows = []
    for effect in found:
        cells = [
            escaped(KIND_NAMES[effect.kind]),
            signed(effect.estimate),
            signed_interval(effect).strip("[]").replace(", ", " to ") or NONE,
            str(effect.n),
        ]
        shown = (effect.p, effect.p_holm) if may_show_p(effect.n) else (None, None)
        cells += [escaped(p_text(p)) for p in shown] if with_p else []
        rows.append(table_row(label(effect.term), cells))
    return data_table(f"{view.text}, effects", ["component", *heads], rows, texts=("kind",))


def chosen_part(view: View, primary: View, html_text: str) -> str:
    """Wrap HTML shown only while its measure and split are selected, initially the primary one."""
    hidden = "" if view == primary else " hidden"
    return (
        f'<div data-measure="{escaped(view.measure)}" data-split="{escaped(view.split)}"{hidden}>'
        f"{html_text}</div>\n"
    )


def each_view(tables: StudyTables, primary: View, written: Callable[[View], str]) -> str:
    """Join what is shown of each measure and split; the page shows the one that is selected."""
    return "".join(chosen_part(view, primary, written(view)) for view in tables.chosen_views())


def pruned_table(tables: StudyTables) -> str:
    """Tabulate the pruned trials and why each was pruned."""
    rows = [
        f'<tr><th scope="row">{label(trial.label)}</th><td>{trial.number}</td>'
        f'<td>{trial.seeds_done}</td><td class="text">{escaped(trial.reason)}</td></tr>'
        for trial in tables.pruned
    ]
    heads = ["trial", "number", "seeds done", "reason"]
    return data_table("Pruned trials", heads, rows, texts=("reason",))


def counted(values: Iterable[object]) -> str:
    """Render the distinct values, most frequent first, with counts if there are several."""
    counts = Counter(str(value) for value in values if value is not None)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    if len(ordered) <= 1:
        return "".join(escaped(text) for text, _ in ordered)
    shown = [f"{text} ({count} runs)" for text, count in ordered[:MOST_DISTINCT]]
    if len(ordered) > MOST_DISTINCT:
        shown.append(f"and {len(ordered) - MOST_DISTINCT} more")
    return f"<ul>{''.join(f'<li>{escaped(line)}</li>' for line in shown)}</ul>"


def description_list(items: Iterable[tuple[str, str]]) -> str:
    """Render names with their descriptions, which are HTML; empty ones are left out."""
    shown = [f"<dt>{escaped(name)}</dt><dd>{text}</dd>" for name, text in items if text]
    return f"<dl>{''.join(shown)}</dl>"


def data_table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[str],
    texts: Sequence[str] = (),
    kind: str = "results",
) -> str:
    """Render a table in a scrolling region; the page's script makes headings of results sort.

    ``rows`` are HTML; ``texts`` names the columns that do not hold numbers; ``kind`` is the
    table's CSS class.
    """
    head = "".join(
        f'<th scope="col"{_TEXT if name in texts else ""}>{escaped(name)}</th>' for name in heads
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(caption)}">'
        f'<table class="{kind}"><caption>{escaped(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def table_row(name: str, cells: Sequence[str], kind: str = "") -> str:
    """Render a table row; name and cells are HTML, ``kind`` is its CSS class."""
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{kind}"><th scope="row">{name}</th>{shown}</tr>'


def tags(**marks: bool) -> str:
    """Render what marks a trial, such as ``(best, baseline)``; empty if nothing does."""
    shown = ", ".join(name for name, is_so in marks.items() if is_so)
    return f' <span class="tag">({shown})</span>' if shown else ""


def summary_cells(summary: Summary | None) -> list[str]:
    """Render mean, standard deviation and interval as HTML cells."""
    if summary is None:
        return [NONE] * 3
    sd = NONE if summary.sd is None else decimal(summary.sd)
    return [decimal(summary.mean), sd, range_text(summary)]


def _seeds(planned: int, summary: Summary | None) -> str:
    n = summary.n if summary else 0
    return str(n) if n == planned else f"{n} of {planned}"


def comparison_heads(difference: str, *, with_p: bool) -> list[str]:
    """Return the headings for ``comparison_cells``."""
    return [difference, *(["exact p", "Holm p"] if with_p else []), "P(better)"]


def comparison_cells(found: Comparison | None, *, with_p: bool) -> list[str]:
    """Render a comparison as HTML cells; ``with_p`` is whether any row of the table shows a p."""
    if found is None:
        return [NONE] * (4 if with_p else 2)
    difference = escaped(difference_text(found))
    if not found.exploratory:
        difference += f' <span class="tag">{verdict(found)}</span>'
    if found.over_classes is not None:
        wide = escaped(class_interval_text(found.over_classes))
        difference += f'<br><span class="tag">other classes: {wide}</span>'
    better = NONE if found.better is None else f"{found.better:.2f}"
    tests = [escaped(p_text(p)) for p in (found.p, found.p_holm)] if with_p else []
    return [difference, *tests, better]


def _mean_seconds(tables: StudyTables) -> dict[str, str]:
    """Map trial_id to the mean wall time of its finished runs."""
    found: dict[str, list[float]] = {}
    for run in tables.runs:
        if run.state == "done" and run.seconds is not None:
            found.setdefault(run.trial_id, []).append(run.seconds)
    return {trial: f"{sum(times) / len(times):.1f}" for trial, times in found.items()}


def choices(kind: str, options: Mapping[str, str], chosen: str, place: str) -> str:
    """Render radio buttons as one bar, hidden if there is nothing to choose.

    Args:
        kind: ``measure`` or ``split``.
        options: Value -> label of its button.
        chosen: The value selected at first.
        place: Distinguishes two bars of the same kind.
    """
    if len(options) < 2:
        options = {chosen: options[chosen]}
    buttons = "".join(
        f'<label><input type="radio" name="{kind}-{place}" data-kind="{kind}"'
        f' value="{escaped(value)}"{" checked" if value == chosen else ""}>'
        f"<span>{escaped(text)}</span></label>"
        for value, text in options.items()
    )
    hidden = " hidden" if len(options) < 2 else ""
    return f'<fieldset class="choice"{hidden}><legend>{kind}</legend>{buttons}</fieldset>'


def view_choices(tables: StudyTables, place: str) -> str:
    """Render the controls that select measure and split for the whole page."""
    chosen = tables.decisive
    measures = {measure: measure_label(measure) for measure in tables.measures()}
    splits = {split: SPLIT_NAMES[split] for split in tables.splits()}
    bars = (
        choices("measure", measures, chosen.measure, place),
        choices("split", splits, chosen.split, place),
    )
    return f'<div class="choices">{"".join(bars)}</div>'


def ablation_key(panels: Sequence[Panel], has_controls: bool, *, is_search: bool) -> str:
    """Render the legend of the ablation pictures."""
    dot = f'<circle cx="9" cy="7" r="3.5" fill="{ACCENT}" opacity="0.55"/>'
    mean = (
        f'<path d="M9 0V14M6 .7H12M6 13.3H12" stroke="{ACCENT}" stroke-width="1.6"/>'
        f'<circle cx="9" cy="7" r="4" fill="{ACCENT}"/>'
    )
    disc = f'<circle cx="9" cy="7" r="4.2" fill="{ACCENT}" opacity="0.7"/>'
    diamond = f'<path d="M0 7H18" stroke="{BASELINE}"/>'
    diamond += f'<path d="M9 1.5L14 7L9 12.5L4 7Z" fill="{BASELINE}"/>'
    star = '<path d="M9 1L10.8 5H15L11.7 7.7L12.9 12L9 9.5L5.1 12L6.3 7.7L3 5H7.2Z"'
    star += f' fill="{BEST}"/>'
    dashed = '<path d="M0 7H18" stroke="currentColor" stroke-dasharray="4 2.5"/>'
    marks = []
    if any(panel.by_seed for panel in panels):
        marks += [(dot, "one seed"), (mean, "mean, 95 % interval")]
    if means_alone := [panel for panel in panels if not panel.by_seed]:
        marks += [(disc, "mean of one trial"), (star, "best")]
    has_mean_line = not is_search and any(panel.axis.ordered for panel in means_alone)
    line = f'<path d="M0 7H18" stroke="{ACCENT}" stroke-width="2"/>'
    marks += [(line, "mean over the other parameters")] if has_mean_line else []
    marks.append((diamond, "baseline"))
    marks += [(dashed, "control, not trained (arrow: beyond the scale)")] if has_controls else []
    items = "".join(f"<li>{_mark(shape)}{escaped(text)}</li>" for shape, text in marks)
    return f'<ul class="key">{items}</ul>'


def trial_key(trials: Sequence[TrialRow]) -> str:
    """Render one button per trial, which shows or hides its curves in every panel."""
    colours = trial_colours(trials)
    items = []
    for trial in trials:
        line = f'<path d="M0 7H18" stroke="{colours[trial.trial_id]}" stroke-width="3"/>'
        tag = tags(baseline=trial.is_baseline)
        items.append(
            f'<li><button type="button" aria-pressed="true" data-trial="{escaped(trial.trial_id)}">'
            f"{_mark(line)}<span>{escaped(trial.label)}{tag}</span></button></li>"
        )
    return f'<ul class="key">{"".join(items)}</ul>'


def _mark(shape: str) -> str:
    frame = 'width="18" height="14" viewBox="0 0 18 14" fill="none" aria-hidden="true"'
    return f"<svg {frame}>{shape}</svg>"
