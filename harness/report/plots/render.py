"""Render the pictures of a report with Plotly; the only module that imports it."""

from __future__ import annotations

import json

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from harness.report.plots.picture import Picture


def script() -> str:
    """Return Plotly's script, about 5 MB; a page includes it once."""
    return str(get_plotlyjs())


def figure_json(picture: Picture) -> str:
    """Check a picture against Plotly's schema and write it as JSON, the same bytes each time."""
    layout = {
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
    return json.dumps(figure.to_plotly_json(), separators=(",", ":"), allow_nan=False)
