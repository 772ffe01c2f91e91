"""Render the purest and the least pure clusters with pictures."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data.images.cluster_gallery import ClusteredRun, ShownCluster
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.layout import note, section
from harness.units import shortened

_LONGEST_LABEL = 40
_WORDS = (
    "The purest and the least pure clusters of the last clustering, with a few of their training "
    "images. A solid frame marks the class that is most frequent among the images shown, a dashed "
    "one any other; classes are hidden from the training. Clusters of which fewer than four images "
    "are in the sample are left out."
)


def picture_of(name: str | None, alt: str) -> str:
    """Return a picture for the page's script to fill in, or an empty frame."""
    if name is None:
        return f'<span class="nothing" role="img" aria-label="{escaped(alt)}">no picture</span>'
    return f'<img data-picture="{escaped(name)}" alt="{escaped(alt)}" width="64" height="64">'


def cluster_gallery_section(found: Sequence[ClusteredRun]) -> str:
    """Show the clusters of each run; empty without any."""
    if not found:
        return ""
    parts = [
        f"<h3>{escaped(one.run.role)}: {escaped(shortened(one.run.trial.label, 80))}</h3>"
        + "".join(map(_cluster, one.clusters))
        for one in found
    ]
    return section("Pure and mixed clusters", note(_WORDS), *parts)


def _cluster(cluster: ShownCluster) -> str:
    majority = cluster.majority
    items = "".join(
        f'<li class="{"right" if one.label == majority else "wrong"}" '
        f'title="{escaped(shortened(one.label, _LONGEST_LABEL))}">'
        f"{picture_of(one.picture, shortened(one.label, _LONGEST_LABEL))}</li>"
        for one in cluster.images
    )
    return (
        f'<div class="strip-of"><p><b>purity {cluster.purity:.2f}</b> '
        f'<span class="tag">{cluster.size} images, epoch {cluster.epoch}</span></p>'
        f'<ol class="found">{items}</ol></div>'
    )
