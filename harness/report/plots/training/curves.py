"""Draw what runs reported, epoch by epoch: a panel per quantity, with every trial."""

from __future__ import annotations

import html

from harness.report.data.study_data import StudyTables, measure_label
from harness.report.data.training import Curve, Training
from harness.report.plots.picture import Picture, Trace, short_number, titled_axis, trial_colours

PANEL_HEIGHT = 250
_CLUSTER_TITLES = {
    "gini": "Inequality of cluster sizes (Gini coefficient)",
    "purity": "Purity of clusters against the hidden labels",
    "clusters/nmi": "NMI of clusters against the hidden labels",
    "clusters/changed": "Churn: share of images that changed cluster",
    "agreement": "Agreement of clusters between seeds (AMI)",
}


def curve_pictures(tables: StudyTables, training: Training) -> tuple[Picture, ...]:
    """Draw the loss, each of its terms, the validation measure and other curves.

    The student's recall is a line in the teacher's panel.
    """
    metric = measure_label(tables.study.metric)
    titles = {
        "loss": "Loss",
        f"val/{tables.study.metric}": f"{metric}, validation images",
        f"hindsight/{tables.study.metric}": f"{metric}, test classes (not used for selection)",
        f"teacher/{tables.study.metric}": f"{metric}: teacher (solid), student (dotted)",
        "teacher_distance": "Distance of the teacher from the student",
        "teacher_momentum": "Momentum of the teacher",
        "learning_rate": "Learning rate",
    }
    beside = {f"teacher/{tables.study.metric}": f"student/{tables.study.metric}"}
    names = dict.fromkeys(curve.name for curve in training.curves)
    panels = [name for name in names if name not in {*_CLUSTER_TITLES, *beside.values()}]
    return tuple(
        _panel(f"curve-{place}", titles.get(name, name), name, training, beside.get(name))
        for place, name in enumerate(panels)
    )


def cluster_pictures(training: Training) -> tuple[Picture, ...]:
    """Draw inequality, purity, NMI and churn of the clusters."""
    names = {curve.name for curve in training.curves}
    return tuple(
        _panel(name.rpartition("/")[2], title, name, training)
        for name, title in _CLUSTER_TITLES.items()
        if name in names
    )


def _panel(
    name: str, title: str, quantity: str, training: Training, beside: str | None = None
) -> Picture:
    """Draw one quantity of every trial; ``beside`` names another, drawn dotted without bands."""
    colours = trial_colours(training.trials)
    traces: list[Trace] = []
    ends = []
    final = 0
    for curve in training.curves:
        if curve.name == quantity:
            final = max(final, curve.points[-1].epoch)
            traces += _curve_traces(curve, colours[curve.trial.trial_id])
            last = curve.points[-1]
            ends.append(f"{curve.trial.label}: {last.mean:.4g} after epoch {last.epoch}")
        elif curve.name == beside:
            colour = colours[curve.trial.trial_id]
            dotted = {"line": {"color": colour, "width": 2, "dash": "dot"}}
            traces.append(_curve_traces(curve, colour)[-1] | dotted)
    # About eight ticks, at whole epochs only.
    epochs = titled_axis("epoch", tick0=0, dtick=final // 8 + 1)
    layout = {"xaxis": epochs, "yaxis": {"automargin": True, "nticks": 6}}
    text = f"{title} over the epochs, mean and range over seeds. {'; '.join(ends)}."
    return Picture(name, title, text, tuple(traces), layout, PANEL_HEIGHT)


def _curve_traces(curve: Curve, colour: str) -> list[Trace]:
    """Draw the mean as a line over the band of all seeds; a single epoch is a dot."""
    epochs = [point.epoch for point in curve.points]
    meta = {"trial": curve.trial.trial_id}
    line: Trace = {
        "type": "scatter",
        "x": epochs,
        "y": [short_number(point.mean) for point in curve.points],
        "mode": "lines" if len(epochs) > 1 else "markers",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 7},
        "customdata": [
            [short_number(point.low), short_number(point.high), point.n] for point in curve.points
        ],
        "hovertemplate": f"{html.escape(curve.trial.label)}<br>epoch %{{x}}: %{{y:.4g}}"
        "<br>%{customdata[0]:.4g} to %{customdata[1]:.4g}, n = %{customdata[2]}<extra></extra>",
        "meta": meta,
    }
    if all(point.n == 1 for point in curve.points):
        return [line]
    high = [short_number(point.high) for point in curve.points]
    low = [short_number(point.low) for point in reversed(curve.points)]
    band: Trace = {
        "type": "scatter",
        "x": epochs + epochs[::-1],
        "y": high + low,
        "mode": "lines",
        "fill": "toself",
        "fillcolor": colour,
        "opacity": 0.16,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "meta": meta,
    }
    return [band, line]
