"""Claims of a study about its own results, and the note of when each was made.

A claim is registered if none of its pairs of runs had finished when it was noted: it is then a
prediction, and is never changed. A claim noted later is a description of results.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from harness.records.events import Time
from harness.records.trial import digest

WINNER = "winner"
"""In a claim: the best trial of a search, or of a sealed grid, once it is confirmed."""

Relation = Literal["better_than", "no_worse_than", "same_as"]
"""What a claim says of its trial and another one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement about the mean difference between two trials, paired by seed."""

    trial: str
    """Label of a trial, or ``winner``."""
    relation: Relation
    other: str
    """Label of the trial that it is compared with."""
    metric: str
    """Metric on the test classes."""
    margin: float
    """``better_than``: by more than this. ``no_worse_than``: by less than this. ``same_as``: within
    this of each other."""

    @property
    def digest(self) -> str:
        """Twelve hex digits, equal for equal claims."""
        return digest(asdict(self))[:12]

    @property
    def text(self) -> str:
        """The claim as a sentence without a full stop."""
        return f"{_named(self.trial)} is {self._how} in {self.metric}"

    @property
    def _how(self) -> str:
        other = _named(self.other)
        if self.relation == "better_than":
            by = f" by more than {self.margin:g}" if self.margin else ""
            return f"better than {other}{by}"
        if self.relation == "no_worse_than":
            return f"no worse than {other} to within {self.margin:g}"
        return f"the same as {other} to within {self.margin:g}"


@dataclass(frozen=True, slots=True)
class NotedClaim:
    """A claim, and what was known when it was noted."""

    claim: Claim
    noted: Time
    known_pairs: int
    """Pairs of its runs that had finished by then."""
    planned_pairs: int
    """Pairs that the study planned then."""

    @property
    def is_registered(self) -> bool:
        """Whether it was noted before any of its results."""
        return self.known_pairs == 0


def digest_of_claims(claims: Sequence[Claim]) -> str:
    """Compute twelve hex digits of several claims, whatever their order."""
    return digest(sorted(claim.digest for claim in claims))[:12]


def _named(label: str) -> str:
    """Return a label for use in a sentence, in quotes if it could be read as part of it."""
    if re.fullmatch(r"[\w.=@+-]+", label):
        return label
    return f"\N{LEFT DOUBLE QUOTATION MARK}{label}\N{RIGHT DOUBLE QUOTATION MARK}"
