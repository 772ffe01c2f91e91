"""Draw the sizes of clusters by rank, and their purity by size."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from harness.report.data.study_data import TrialRow
from harness.report.data.training import ClusterSizes, Training
from harness.report.plots.colours import ACCENT, INK
from harness.report.plots.picture import Picture, Trace, short_number, titled_axis, trial_colours

_EPOCH_DASHES = ("dot", "dash", "solid")
_EPOCH_OPACITIES = (0.55, 0.75, 1.0)


def size_pictures(training: Training) -> tuple[Picture, ...]:
    """Draw one panel per compared trial, all on one scale."""
    colours = trial_colours(training.trials)
    compared = list(dict.fromkeys(found.trial for found in training.sizes))
    top = max((found.sizes[0] for found in training.sizes), default=1.0)
    return tuple(
        _panel(
            f"sizes-{place}",
            trial,
            [found for found in training.sizes if found.trial == trial],
            colours.get(trial.trial_id, ACCENT),
            top,
        )
        for place, trial in enumerate(compared)
    )


def purity_pictures(training: Training) -> tuple[Picture, ...]:
    """Draw the mean purity of clusters by their size, a line per trial; none without classes."""
    if not training.purities:
        return ()
    colours = trial_colours(training.trials)
    traces: list[Trace] = []
    words = []
    for trial in dict.fromkeys(found.trial for found in training.purities):
        mine = [found for found in training.purities if found.trial == trial]
        sizes = [f"{found.from_size} to {2 * found.from_size - 1} images" for found in mine]
        traces.append(
            {
                "type": "scatter",
                "x": [found.from_size for found in mine],
                "y": [short_number(found.purity) for found in mine],
                "mode": "lines+markers",
                "line": {"color": colours[trial.trial_id], "width": 2},
                "marker": {"color": colours[trial.trial_id], "size": 7},
                "customdata": [
                    [size, found.clusters] for size, found in zip(sizes, mine, strict=True)
                ],
                "hovertemplate": f"{html.escape(trial.label)}<br>%{{customdata[0]}}: %{{y:.3f}}"
                "<br>%{customdata[1]} clusters<extra></extra>",
                "meta": {"trial": trial.trial_id},
            }
        )
        told = (f"{size} {found.purity:.3f}" for size, found in zip(sizes, mine, strict=True))
        words.append(f"{trial.label}: {', '.join(told)}")
    title = "Purity of clusters by their size"
    ticks = sorted({found.from_size for found in training.purities})
    layout = {
        "xaxis": titled_axis("images in a cluster, at least", type="log", tickvals=ticks),
        "yaxis": titled_axis("mean purity", nticks=6),
    }
    text = f"{title}, in the last clustering of each run. {'; '.join(words)}."
    return (Picture("purity-by-size", title, text, tuple(traces), layout, 250),)


def _panel(
    name: str, trial: TrialRow, found: Sequence[ClusterSizes], colour: str, top: float
) -> Picture:
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
                "y": [short_number(size) if size > 0 else None for size in one.sizes],
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
        "xaxis": titled_axis("cluster, ranked by size", nticks=8),
        "yaxis": titled_axis(
            "images",
            type="log",
            tickvals=[one * 10**power for power in range(8) for one in (1, 2, 5)],
            range=[-0.1, math.log10(max(top, 1.0)) + 0.1],
        ),
        "showlegend": True,
        "legend": {"x": 1, "xanchor": "right", "y": 1, "yanchor": "top"},
    }
    role = "baseline, " if trial.is_baseline else ""
    text = f"Cluster sizes of {role}{trial.label}, averaged over seeds. {'; '.join(words)}."
    title = f"Cluster sizes: {role}{trial.label}"
    return Picture(name, title, text, tuple(traces), layout, 270)


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
