"""Render the pictures of a report with Plotly; the only module that imports it."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from harness.report.data.agreement import REFERENCE, Agreement, rho_text
from harness.report.data.study_data import StudyTables, TrialRow, measure_label
from harness.report.data.training import ClusterSizes, Curve, Training
from harness.report.plots.picture import ACCENT, INK, Picture, Trace, titled, trial_colours

_PANEL_HEIGHT = 250
_CLUSTER_TITLES = {
    "gini": "Inequality of cluster sizes (Gini coefficient)",
    "purity": "Purity of clusters against the hidden labels",
    "clusters/nmi": "NMI of clusters against the hidden labels",
    "clusters/changed": "Churn: share of images that changed cluster",
}
_EPOCH_DASHES = ("dot", "dash", "solid")
_EPOCH_OPACITIES = (0.55, 0.75, 1.0)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A rendered picture."""

    name: str
    """Id in the page."""
    title: str
    text: str
    """Description in words, for readers who cannot see the picture."""
    json: str
    """Data and layout, for Plotly's script."""
    height: int
    """In pixels."""
    min_width: int = 0
    """In pixels; a narrower page scrolls."""


def script() -> str:
    """Return Plotly's script, about 5 MB; a page includes it once."""
    return str(get_plotlyjs())


def draw_all(pictures: Sequence[Picture]) -> tuple[Drawing, ...]:
    """Render pictures, in their order."""
    return tuple(_draw(picture) for picture in pictures)


def curve_drawings(tables: StudyTables, training: Training) -> tuple[Drawing, ...]:
    """Draw a panel for the loss, each of its terms, the validation measure and other curves.

    Every trial is in each panel. The student's recall is a line in the teacher's panel.
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
    names = [
        name
        for name in _names(training.curves)
        if name not in _CLUSTER_TITLES and name not in beside.values()
    ]
    return tuple(
        _curve_panel(f"curve-{place}", titles.get(name, name), name, training, beside.get(name))
        for place, name in enumerate(names)
    )


def size_drawings(training: Training) -> tuple[Drawing, ...]:
    """Draw cluster sizes by rank, one panel per compared trial, all on one scale."""
    colours = trial_colours(training.trials)
    compared = list(dict.fromkeys(found.trial for found in training.sizes))
    top = max((found.sizes[0] for found in training.sizes), default=1.0)
    return tuple(
        _size_panel(
            f"sizes-{place}",
            trial,
            [found for found in training.sizes if found.trial == trial],
            colours.get(trial.trial_id, ACCENT),
            top,
        )
        for place, trial in enumerate(compared)
    )


def cluster_drawings(training: Training) -> tuple[Drawing, ...]:
    """Draw inequality, purity, NMI and churn of the clusters over the epochs, for every trial."""
    names = set(_names(training.curves))
    return tuple(
        _curve_panel(name.rpartition("/")[2], title, name, training)
        for name, title in _CLUSTER_TITLES.items()
        if name in names
    )


def agreement_drawings(found: Sequence[Agreement]) -> tuple[Drawing, ...]:
    """Plot a label-free criterion against Recall@1: one panel per data set, one point per run."""
    return tuple(_agreement_panel(f"agreement-{place}", one) for place, one in enumerate(found))


def _agreement_panel(name: str, found: Agreement) -> Drawing:
    criterion, recall = measure_label(found.criterion), measure_label(REFERENCE)
    trace: Trace = {
        "type": "scatter",
        "x": [_short_number(x) for x, _ in found.points],
        "y": [_short_number(y) for _, y in found.points],
        "mode": "markers",
        "marker": {"color": ACCENT, "size": 7, "opacity": 0.55},
        "hovertemplate": f"{html.escape(criterion)} %{{x:.3f}}, {recall} %{{y:.3f}}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": titled(html.escape(criterion)), "automargin": True, "nticks": 6},
        "yaxis": {"title": titled(recall), "automargin": True, "nticks": 6},
    }
    runs = f"{len(found.points)} runs"
    text = f"{criterion} against {recall} on validation data of {found.data}: {rho_text(found)}"
    title = f"{found.data}: {rho_text(found)}"
    return _draw(Picture(name, title, f"{text}, {runs}.", (trace,), layout, _PANEL_HEIGHT))


def _names(curves: Sequence[Curve]) -> list[str]:
    return list(dict.fromkeys(curve.name for curve in curves))


def _curve_panel(
    name: str, title: str, quantity: str, training: Training, beside: str | None = None
) -> Drawing:
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
    layout = {"xaxis": _epoch_axis(final), "yaxis": {"automargin": True, "nticks": 6}}
    text = f"{title} over the epochs, mean and range over seeds. {'; '.join(ends)}."
    return _draw(Picture(name, title, text, tuple(traces), layout, _PANEL_HEIGHT))


def _epoch_axis(last: int) -> dict[str, object]:
    """Return an axis with about eight ticks, at whole epochs only."""
    return {"title": titled("epoch"), "automargin": True, "tick0": 0, "dtick": last // 8 + 1}


def _curve_traces(curve: Curve, colour: str) -> list[Trace]:
    """Draw the mean as a line over the band of all seeds; a single epoch is a dot."""
    epochs = [point.epoch for point in curve.points]
    meta = {"trial": curve.trial.trial_id}
    line: Trace = {
        "type": "scatter",
        "x": epochs,
        "y": [_short_number(point.mean) for point in curve.points],
        "mode": "lines" if len(epochs) > 1 else "markers",
        "line": {"color": colour, "width": 2},
        "marker": {"color": colour, "size": 7},
        "customdata": [
            [_short_number(point.low), _short_number(point.high), point.n] for point in curve.points
        ],
        "hovertemplate": f"{html.escape(curve.trial.label)}<br>epoch %{{x}}: %{{y:.4g}}"
        "<br>%{customdata[0]:.4g} to %{customdata[1]:.4g}, n = %{customdata[2]}<extra></extra>",
        "meta": meta,
    }
    if all(point.n == 1 for point in curve.points):
        return [line]
    high = [_short_number(point.high) for point in curve.points]
    low = [_short_number(point.low) for point in reversed(curve.points)]
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


def _size_panel(
    name: str, trial: TrialRow, found: Sequence[ClusterSizes], colour: str, top: float
) -> Drawing:
    """Draw sizes by rank on a log axis, with the first, middle and last epoch in one picture."""
    offset = len(_EPOCH_DASHES) - len(found)
    traces: list[Trace] = []
    words = []
    for place, one in enumerate(found):
        ranks = list(range(1, len(one.sizes) + 1))
        traces.append(
            {
                "type": "scatter",
                "x": ranks,
                # An empty cluster has no place on a log axis.
                "y": [_short_number(size) if size > 0 else None for size in one.sizes],
                "name": f"epoch {one.epoch}",
                "mode": "lines" if len(ranks) > 1 else "markers",
                "line": {"color": colour, "width": 2, "dash": _EPOCH_DASHES[place + offset]},
                "opacity": _EPOCH_OPACITIES[place + offset],
                "showlegend": True,
                "hovertemplate": f"epoch {one.epoch}, rank %{{x}}: "
                "%{y:.3g} images<extra></extra>",
            }
        )
        words.append(
            f"epoch {one.epoch}: {len(one.sizes)} clusters, largest {one.sizes[0]:.0f}, "
            f"median {one.sizes[len(one.sizes) // 2]:.0f}, smallest {one.sizes[-1]:.0f}"
        )
    if found and found[-1].borders:
        traces += [_border(rank, place, top) for place, rank in enumerate(found[-1].borders)]
        ranks_told = ", ".join(f"{rank:g}" for rank in found[-1].borders)
        words.append(f"groups end after ranks {ranks_told} in epoch {found[-1].epoch}")
    layout = {
        "xaxis": {"title": titled("cluster, ranked by size"), "automargin": True, "nticks": 8},
        "yaxis": {
            "title": titled("images"),
            "type": "log",
            "automargin": True,
            "tickvals": [one * 10**power for power in range(8) for one in (1, 2, 5)],
            "range": [-0.1, math.log10(max(top, 1.0)) + 0.1],
        },
        "showlegend": True,
        "legend": {"x": 1, "xanchor": "right", "y": 1, "yanchor": "top"},
    }
    role = "baseline, " if trial.is_baseline else ""
    text = f"Cluster sizes of {role}{trial.label}, averaged over seeds. {'; '.join(words)}."
    title = f"Cluster sizes: {role}{trial.label}"
    return _draw(Picture(name, title, text, tuple(traces), layout, _PANEL_HEIGHT + 20))


def _border(rank: float, place: int, top: float) -> Trace:
    """Draw a vertical line between two groups of clusters."""
    return {
        "type": "scatter",
        "x": [rank + 0.5] * 2,
        "y": [0.8, max(top, 1.0) * 1.2],
        "mode": "lines",
        "line": {"color": INK, "width": 1, "dash": "dot"},
        "opacity": 0.6,
        "showlegend": False,
        "hovertemplate": f"border between groups {place} and {place + 1}<extra></extra>",
    }


def _short_number(value: float) -> float:
    """Round to five significant digits: more are invisible and enlarge the page."""
    return float(f"{value:.5g}")


def _draw(picture: Picture) -> Drawing:
    """Check the picture against Plotly's schema and write it as JSON, the same bytes each time."""
    layout: Mapping[str, object] = {
        "template": {},
        "autosize": True,
        "height": picture.height,
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', sans-serif", "size": 13},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": 0},
        "showlegend": False,
    }
    figure = go.Figure({"data": list(picture.traces), "layout": {**layout, **picture.layout}})
    document = json.dumps(figure.to_plotly_json(), separators=(",", ":"), allow_nan=False)
    return Drawing(
        picture.name, picture.title, picture.text, document, picture.height, picture.min_width
    )
