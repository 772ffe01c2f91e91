"""Say in a line what became of a claim, and when it was made. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from harness.records.studies.claims import digest_of_claims
from harness.report.data.evidence.claims import ClaimFinding
from harness.report.findings.estimates import p_text, signed
from harness.stats.paired import may_show_p

ALL_HELD, ANY_REFUTED, UNDECIDED = 0, 1, 3
LEVELS = (
    "A claim is held if a one-sided sign-flip test at its margin gives a Holm p below 0.05, and "
    "refuted if the opposite test does. Each side is corrected over all claims of the study. A "
    "claim is tested once all its planned pairs have ended. "
    "Intervals are 95 % paired t-intervals over seeds, without correction."
)


def exit_status(found: Iterable[ClaimFinding]) -> int:
    """Return 0 if all claims are held, 1 if any is refuted, else 3."""
    verdicts = {each.result.verdict for each in found}
    if "refuted" in verdicts:
        return ANY_REFUTED
    return UNDECIDED if "undecided" in verdicts else ALL_HELD


def claim_line(found: ClaimFinding, *, digits: int = 4) -> str:
    """Describe a claim: verdict, sentence, estimate, interval, p, and when it was made."""
    parts = [found.claim.text, _numbers(found, digits), found.result.reason, made(found)]
    return f"{found.result.verdict}: {'; '.join(filter(None, parts))}"


def made(found: ClaimFinding) -> str:
    """Say when a claim was made, relative to its results."""
    note = found.note
    if note is None:
        return "made after results, not noted by a run" if found.result.n else "not noted by a run"
    day = note.noted[:10]
    if note.is_registered:
        changed = found.result.planned not in (0, note.planned_pairs)
        planned = f", for {note.planned_pairs} pairs" if changed else ""
        return f"registered {day} before its first result{planned}"
    return f"made after results, {day}: {note.known_pairs} pairs were known"


def registration(found: Iterable[ClaimFinding]) -> str:
    """Say which claims were registered, with their digest; empty if none was."""
    registered = [each for each in found if each.is_registered]
    if not registered:
        return ""
    first = min(each.note.noted for each in registered if each.note)
    what = (
        "1 claim was registered before its first result"
        if len(registered) == 1
        else f"{len(registered)} claims were registered before their first results"
    )
    digest = digest_of_claims([each.claim for each in registered])
    return f"{what}, on {first[:10]}, and cannot be changed (digest {digest})."


def _numbers(found: ClaimFinding, digits: int) -> str:
    """Format estimate, interval and p; empty without a pair."""
    result = found.result
    if result.difference is None:
        return ""
    said = signed(result.difference, digits)
    if result.low is not None and result.high is not None:
        said += f" [{signed(result.low, digits)}, {signed(result.high, digits)}]"
    if result.p is not None and may_show_p(result.n):
        said += f", p {p_text(result.p)} (Holm {p_text(result.p_holm)})"
        if result.verdict == "refuted":
            said += f", against it {p_text(result.p_against)} ({p_text(result.p_against_holm)})"
    return f"{said}, {result.n} pair{'' if result.n == 1 else 's'}"
