"""A claim in a study file: what the study is expected to show about two of its trials."""

from __future__ import annotations

from typing import Annotated, Self, cast, get_args

from pydantic import Field, model_validator

from harness.records.studies.claims import Claim, Relation
from harness.study.axes import Number, Strict, only_one

RELATIONS: tuple[Relation, ...] = get_args(Relation)
Label = Annotated[str, Field(min_length=1)]


class ClaimSpec(Strict):
    """A claim about two trials, tested on the test classes; set exactly one of the relations."""

    trial: Label
    """Label of the trial that the claim is about: of any trial or control, or ``winner`` for the
    best trial of a study with ``confirm``."""
    better_than: Label | None = None
    """Label of a trial that it beats by more than ``by``."""
    no_worse_than: Label | None = None
    """Label of a trial that it is worse than by less than ``margin``, if at all."""
    same_as: Label | None = None
    """Label of a trial from which it differs by less than ``margin``, in either direction."""
    by: Number | None = Field(default=None, ge=0)
    """For ``better_than``: the difference that is exceeded; 0 if left out."""
    margin: Number | None = Field(default=None, gt=0)
    """For ``no_worse_than`` and ``same_as``: the largest difference that does not matter."""
    metric: Label | None = None
    """The metric; the study's own if left out."""

    @model_validator(mode="after")
    def _check_relation(self) -> Self:
        relation = only_one(self, RELATIONS)
        if relation == "better_than" and self.margin is not None:
            raise ValueError("better_than takes 'by', not 'margin'")
        if relation != "better_than" and self.by is not None:
            raise ValueError(f"{relation} takes 'margin', not 'by'")
        if relation != "better_than" and self.margin is None:
            raise ValueError(
                f"{relation} needs a margin: the largest difference that does not matter"
            )
        if self.trial == self.other:
            raise ValueError(f"compares {self.trial!r} with itself; name two trials")
        return self

    @property
    def relation(self) -> Relation:
        """The relation that is set."""
        return cast(Relation, only_one(self, RELATIONS))

    @property
    def other(self) -> str:
        """Label of the trial that it is compared with."""
        return str(getattr(self, self.relation))

    def claim(self, metric: str) -> Claim:
        """Return the claim.

        Args:
            metric: The study's metric.
        """
        margin = float(self.by or 0.0) if self.margin is None else float(self.margin)
        return Claim(self.trial, self.relation, self.other, self.metric or metric, margin)
