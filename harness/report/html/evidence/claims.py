"""Render the claims of a study: the verdict on each, and when it was made."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.data.evidence.claims import ClaimFinding
from harness.report.findings.claim_lines import LEVELS, claim_line, registration
from harness.report.html.elements.escape import escaped
from harness.report.html.elements.layout import note


def claims_part(found: Sequence[ClaimFinding]) -> str:
    """Return the claims as a list below a heading; empty without any."""
    if not found:
        return ""
    items = "".join(_item(each) for each in found)
    said = registration(found)
    registered = f'<p class="registration">{escaped(said)}</p>' if said else ""
    return f'<h3>Claims</h3><ol class="claims">{items}</ol>{registered}{note(LEVELS)}'


def _item(found: ClaimFinding) -> str:
    verdict, _, rest = claim_line(found, digits=3).partition(": ")
    return f'<li><strong class="verdict {verdict}">{verdict}</strong>: {escaped(rest)}</li>'
