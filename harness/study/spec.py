"""The fields of a study file and the rules they must satisfy."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from harness.errors import nearest
from harness.records.studies.claims import Claim
from harness.records.studies.objectives import Objective as Named
from harness.records.trial import digest
from harness.study.ablate import Ablate
from harness.study.axes import Axis, Condition, Strict, Whole
from harness.study.claims import ClaimSpec
from harness.study.limits import Budget, Confirm, Folds, Limits, Seeds, Stop, TrainTogether
from harness.study.objectives import Objective, read_metrics
from harness.study.variance import Variance
from harness.workload import JsonValue

MOST_PROPOSED = 1_000_000  # trials of one search
LEAST_RANGES = 2  # with one range, CMA-ES is only a line search
LEAST_WILCOXON_SEEDS = 6  # the test needs five to reject, and pruning must save at least one
_LEAST_WILCOXON_SEEDS_ONCE = 5  # for searches that began under the first version of the rules
VARIANT = "variant"
"""Key that names the variant of a trial beside the parameters that vary."""
_NOT_WITH_STOP = {
    "ablate": "effects need the same seeds in every trial, but stop gives each its own",
    "claims": "claims are tested once all seeds have ended, and stop decides as they come in",
    "confirm": "it decides on test classes, which a sealed grid keeps shut",
}
FIRST_REPEAT_SEED = 1_000_000
"""First seed of trials that a search proposes again. A number of seeds never reaches this far, so
repeat seeds stay the same when the study is given more seeds."""

_NOT_WITH_FOLDS = {
    "stop": "its looks are at seeds whose runs have all ended, one run each",
    "pruner": "it judges a trial by single runs, but a seed is the mean over its folds",
}
_NOT_WITH_VARIANCE = [
    "search",
    "variants",
    "ablate",
    "zip",
    "forbid",
    "stop",
    "baseline",
    "confirm",
    "claims",
    "folds",
]
_ADDED_LATER = ("ablate", "folds", "variance")


def _said(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; fill it in")
    return text


def _module(name: str) -> str:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(
            f"{name!r} is not a module name; give an importable one such as 'gcudml.workload'"
        )
    return name


class StudySpec(Strict):
    """One study: a question, a base configuration, the parameters that vary, and the seeds."""

    study: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=80)
    """Name of the study, used in the store and as the report's file name."""
    question: Annotated[str, AfterValidator(_said)] = Field(min_length=1)
    """The question that the report answers, as one sentence."""
    workload: Annotated[str, AfterValidator(_module)] = Field(min_length=1)
    """Importable name of the module under study, such as ``gcudml.workload``."""
    base: dict[str, JsonValue] = Field(default_factory=dict)
    """Parameters shared by every trial; any left out take the workload's defaults."""
    search: dict[str, Axis] = Field(default_factory=dict)
    """The parameters that vary: dotted key -> axis."""
    variants: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)
    """Named sets of overrides of the base, by dotted key, such as the rows of a paper's component
    table."""
    ablate: Ablate | None = None
    """In place of ``search`` and ``variants``: components of the base that are switched off, one
    by one or in combination."""
    variance: Variance | None = None
    """In place of ``search``, ``variants`` and ``seeds``: sources of randomness that vary one at a
    time, all together and not at all, to see where the variance between seeds comes from."""
    zip: list[Annotated[list[str], Field(min_length=2)]] = Field(default_factory=list)
    """Groups of axes that advance together instead of being combined; their lists must be equally
    long."""
    forbid: list[Condition] = Field(default_factory=list)
    """Combinations of values to leave out."""
    seeds: Seeds = 5
    """Number of seeds (0, 1, ...), or a list of them. Every trial uses the same seeds, so that
    differences are paired."""
    folds: Folds | None = None
    """Cross-validation: train each seed so many times, each time with another fold of the training
    classes held out, which is then scored. A seed's result is the mean over its folds. The test
    classes stay shut; a confirmation opens them, on the ordinary split."""
    stop: Stop | None = None
    """Instead of ``seeds``: give each trial of a grid seeds until its comparison with the baseline
    is decided."""
    baseline: str | dict[str, JsonValue] | None = None
    """The trial that others are compared with: the name of a variant, or values of parameters that
    vary; of an ablation the label of a trial, such as ``full`` (the default) or ``bare``."""
    metric: Annotated[str, AfterValidator(_said)] = Field(default="recall@1", min_length=1)
    """The primary metric, which is maximised; all others are descriptive. In a list it comes first,
    and the others are further objectives: ``[recall@1, {minimise: embedding_dim}]``."""
    objectives: list[Objective] = Field(default_factory=list)
    """The further objectives in the list of ``metric``; no key of its own in a study file."""
    sampler: Literal["grid", "random", "qmc", "tpe", "gp", "cmaes", "nsga2"] = "grid"
    """``grid`` trains every combination. The others search, scoring on validation classes only:
    ``random`` draws at random, ``qmc`` follows a low-discrepancy sequence, and four learn from
    earlier trials: ``tpe`` suits any space, ``gp`` few trials over a few axes, ``cmaes`` many
    trials over ranges, and ``nsga2`` many trials with several metrics."""
    trials: Whole | None = Field(default=None, ge=1, le=MOST_PROPOSED)
    """Number of trials of a search, including the baseline; optional with a budget."""
    confirm: Confirm | None = None
    """After a search, retrain the winners and the baseline and score them on the test classes. With
    it, a grid is sealed: its trials are scored on validation classes only."""
    parallel_trials: Whole = Field(default=2, ge=1, le=1000)
    """Trials in flight at once, for samplers that learn from earlier trials and with any pruner. It
    affects what is proposed and pruned, so it is part of the study."""
    pruner: Literal["none", "median", "hyperband", "wilcoxon"] = "none"
    """How a search stops trials early. ``median`` stops a trial whose best value after an epoch is
    below the median of earlier trials. ``hyperband`` keeps the best third of the trials at each
    rung. ``wilcoxon`` stops a trial once a test over its seeds so far finds it worse than the best;
    it stops at most one in twenty of the trials that are as good as the best, over all its looks.
    With a pruner, the seeds of a trial are trained one after another."""
    limits: Limits = Limits()
    """Time limits for each run."""
    budget: Budget = Budget()
    """What the study may cost in total. A search reserves enough of it for its confirmation."""
    train_together: TrainTogether = "auto"
    """How many runs one process may train at once, if the workload can stack them: as many as the
    workload finds worthwhile (``auto``), up to a given number, or one (``off``). Stacked runs give
    the same results as separate ones, up to rounding; ``auto`` never stacks runs where that would
    take longer."""

    claims: list[ClaimSpec] = Field(default_factory=list)
    """What the study is expected to show. Claims made before the first run are registered and can
    no longer be changed; ``harness claims`` tests them."""

    @model_validator(mode="before")
    @classmethod
    def _read_metrics(cls, data: object) -> object:
        return read_metrics(data)

    @model_validator(mode="after")
    def _check_objectives(self) -> Self:
        if not self.objectives:
            return self
        names = [each.name for each in self.named_objectives]
        for position, name in enumerate(names):
            if name in names[:position]:
                raise ValueError(f"metric.{position}: {name} is named twice; remove one")
        refused = {"pruner": self.pruner != "none", "sampler": self.sampler == "cmaes"}
        for field in (field for field, is_refused in refused.items() if is_refused):
            raise ValueError(
                f"{field}: {getattr(self, field)} goes by one metric, and there are {len(names)}; "
                f"remove {field}, or keep one metric"
            )
        return self

    @model_validator(mode="after")
    def _check_ablate(self) -> Self:
        if self.ablate is None:
            return self
        for field in ("search", "variants", "zip", "forbid"):
            if getattr(self, field):
                raise ValueError(
                    f"{field}: 'ablate' decides which trials there are; remove {field} or ablate"
                )
        if self.sampler != "grid":
            raise ValueError("sampler: 'ablate' trains fixed trials; remove sampler or ablate")
        if self.confirm is not None and self.is_chosen:
            raise ValueError(
                "confirm: this ablation trains what it has chosen with the study's seeds, which it "
                "has not chosen by; remove confirm, and give their number as seeds"
            )
        return self

    @model_validator(mode="after")
    def _check_variance(self) -> Self:
        if self.variance is None:
            return self
        beside = [field for field in _NOT_WITH_VARIANCE if getattr(self, field)]
        beside += ["sampler"] * (not self.is_fixed) + ["seeds"] * ("seeds" in self.model_fields_set)
        for field in beside:
            raise ValueError(
                f"{field}: 'variance' decides which runs there are, and compares no trials; "
                f"remove {field} or variance"
            )
        return self

    @model_validator(mode="after")
    def _check_sampler(self) -> Self:
        if self.sampler == "grid":
            if self.trials is not None:
                raise ValueError("trials: the grid sampler trains all combinations; remove trials")
            for key, axis in self.search.items():
                if axis.values is None:
                    raise ValueError(
                        f"search.{key}: the grid sampler needs grid or choice, got {axis.kind}; "
                        "list values or set sampler to random, tpe or another search"
                    )
        elif self.trials is None and self.budget == Budget():
            raise ValueError(
                f"trials: the {self.sampler} sampler needs a number of trials, or a budget"
            )
        elif not self.search and not self.variants:
            raise ValueError(f"search: the {self.sampler} sampler needs an axis to search")
        elif self.sampler == "cmaes":
            ranges = [axis for axis in self.search.values() if axis.bounds and not axis.when]
            if len(ranges) < LEAST_RANGES:
                raise ValueError(
                    f"sampler: cmaes moves a cloud of points and needs at least {LEAST_RANGES} "
                    f"ranges without 'when', got {len(ranges)}; use tpe"
                )
        return self

    @model_validator(mode="after")
    def _check_pruner(self) -> Self:
        if self.pruner == "none":
            return self
        if self.sampler == "grid":
            raise ValueError(
                "pruner: a grid compares all its trials, so none can be pruned; remove pruner, or "
                "set sampler to random, tpe or another search"
            )
        if self.pruner == "wilcoxon" and len(self.seed_list) < _LEAST_WILCOXON_SEEDS_ONCE:
            raise ValueError(too_few_seeds(len(self.seed_list)))
        return self

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if isinstance(self.seeds, list) and not self.seeds:
            raise ValueError("seeds: give at least one seed")
        if isinstance(self.seeds, list) and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed is given twice")
        return self

    @model_validator(mode="after")
    def _check_stop(self) -> Self:
        if self.stop is None:
            return self
        if "seeds" in self.model_fields_set:
            raise ValueError(
                "seeds: stop decides how many seeds a trial gets; remove seeds or stop"
            )
        if self.sampler != "grid":
            raise ValueError(
                f"stop: decides about the trials of a grid, not of a {self.sampler} search; "
                "remove stop, or set sampler to grid"
            )
        for field, why in _NOT_WITH_STOP.items():
            if getattr(self, field):
                raise ValueError(f"stop: {why}; remove {field}, or give seeds in place of stop")
        return self

    @model_validator(mode="after")
    def _check_folds(self) -> Self:
        if self.folds is None:
            return self
        for field, why in _NOT_WITH_FOLDS.items():
            if field in self.model_fields_set and getattr(self, field) not in (None, "none"):
                raise ValueError(f"{field}: {why}; remove {field} or folds")
        if self.is_chosen:
            raise ValueError(
                "folds: a path and tuned cells are chosen by single runs, one per seed; remove "
                "folds, or design: path and tune"
            )
        if self.claims and self.confirm is None:
            raise ValueError(
                "claims: folds keep the test classes shut, and claims are about them; add confirm, "
                "or remove claims or folds"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_seeds_or_stop(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ``stop`` or ``seeds`` where another field decides; list all metrics."""
        found: dict[str, Any] = handler(self)
        if self.stop is None:
            found.pop("stop", None)
        if self.stop is not None or self.variance is not None:
            found.pop("seeds", None)
        if found.pop("objectives", None):
            found["metric"] = [self.metric, *(each.written for each in self.objectives)]
        return found

    @model_validator(mode="after")
    def _check_confirm(self) -> Self:
        if self.confirm is None:
            return self
        seeds = self.confirm_seed_list
        if not seeds or len(set(seeds)) < len(seeds):
            raise ValueError("confirm.seeds: give at least one seed, and none twice")
        if known := sorted(set(seeds) & set(self.seed_list)):
            raise ValueError(
                f"confirm.seeds: the search has used seed {known[0]}; winners are partly chosen by "
                "luck, so give fresh seeds"
            )
        return self

    @model_validator(mode="after")
    def _check_zip(self) -> Self:
        tied: set[str] = set()
        for keys in self.zip:
            for key in keys:
                if key not in self.search:
                    raise ValueError(f"zip: {key!r} is not an axis; {nearest(key, self.search)}")
                if key in tied:
                    raise ValueError(f"zip: {key!r} is tied twice")
                tied.add(key)
                if self.search[key].values is None:
                    raise ValueError(f"zip: {key!r} needs grid or choice to be tied")
            lengths = {key: len(self.search[key].values or []) for key in keys}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{key}: {length}" for key, length in lengths.items())
                raise ValueError(f"zip: lists must be equally long, got {shown}")
            if len({digest(self.search[key].when) for key in keys}) > 1:
                raise ValueError("zip: tied axes need the same 'when'")
        return self

    @model_validator(mode="after")
    def _check_baseline(self) -> Self:
        if self.ablate is not None:  # names of its trials are not known before they are planned
            return self
        if isinstance(self.baseline, str) and self.baseline not in self.variants:
            raise ValueError(
                f"baseline: no variant {self.baseline!r}; {nearest(self.baseline, self.variants)}"
            )
        return self

    @model_validator(mode="after")
    def _check_claims(self) -> Self:
        if self.claims and not self.is_fixed and self.confirm is None:
            raise ValueError(
                "claims: a search without confirm never scores the test classes; add confirm"
            )
        seen: list[Claim] = []
        for position, claim in enumerate(self.claimed):
            if claim in seen:
                raise ValueError(f"claims.{position}: made twice; remove one")
            seen.append(claim)
        return self

    @property
    def claimed(self) -> tuple[Claim, ...]:
        """The claims, in the order of the file."""
        return tuple(each.claim(self.metric) for each in self.claims)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds of every trial that is not a confirmation; one run per trial and seed.

        With ``stop`` or a race, the most that a trial can get.
        """
        if self.stop is not None:
            return tuple(range(self.stop.most_seeds))
        if self.variance is not None:
            return tuple(range(self.variance.levels))
        if self.ablate is not None and self.ablate.choice_seeds:
            return self._later_seeds(self.ablate.choice_seeds)
        return self.given_seeds

    @property
    def given_seeds(self) -> tuple[int, ...]:
        """The seeds as the file gives them."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(self.seeds)

    def _later_seeds(self, count: int) -> tuple[int, ...]:
        """Return seeds that stay the same when the study is given more."""
        free = (n for n in itertools.count(FIRST_REPEAT_SEED) if n not in self.given_seeds)
        return tuple(itertools.islice(free, count))

    @property
    def confirm_seed_list(self) -> tuple[int, ...]:
        """The seeds of the confirmation; given as a number, they follow those of the search.

        Of an ablation that chooses on validation classes first: the seeds of the study.
        """
        if self.is_chosen:
            return self.given_seeds
        if self.confirm is None:
            return ()
        if isinstance(self.confirm.seeds, list):
            return tuple(self.confirm.seeds)
        first = max(self.seed_list) + 1
        return tuple(range(first, first + self.confirm.seeds))

    def repeat_seeds(self, times: int) -> tuple[int, ...]:
        """New seeds for a trial that is proposed again; ``times`` counts the repeats from 1."""
        count = len(self.seed_list)
        taken = {*self.seed_list, *self.confirm_seed_list}
        free = (seed for seed in itertools.count(FIRST_REPEAT_SEED) if seed not in taken)
        return tuple(itertools.islice(free, (times - 1) * count, times * count))

    @property
    def named_objectives(self) -> tuple[Named, ...]:
        """All metrics, the primary one first, if there are several; else ()."""
        if not self.objectives:
            return ()
        return (Named(self.metric, "maximise"), *(each.named for each in self.objectives))

    @property
    def searched(self) -> str:
        """The metric that a search maximises, under the name that runs report."""
        return f"val/{self.metric}"

    @property
    def stops_by_epochs(self) -> bool:
        """Whether the pruner judges a run by its epochs, and so may stop it early."""
        return self.pruner in ("median", "hyperband")

    @property
    def is_adaptive(self) -> bool:
        """Whether proposals depend on the results of earlier trials."""
        return self.sampler in ("tpe", "gp", "cmaes", "nsga2")

    @property
    def is_replayed(self) -> bool:
        """Whether the sampler keeps its state in its own proposals."""
        return self.sampler in ("cmaes", "nsga2")

    @property
    def is_fixed(self) -> bool:
        """Whether all trials are known in advance."""
        return self.sampler == "grid"

    @property
    def is_chosen(self) -> bool:
        """Whether an ablation first chooses on validation classes what it then trains."""
        return self.ablate is not None and self.ablate.choice_seeds > 0

    @property
    def is_confirmed(self) -> bool:
        """Whether what was chosen on validation classes is then trained on fresh seeds."""
        return self.confirm is not None or self.is_chosen

    @property
    def is_sealed(self) -> bool:
        """Whether only a confirmation, if anything, is scored on test classes."""
        return not self.is_fixed or self.is_confirmed or self.folds is not None

    @property
    def runs_of_trial(self) -> int:
        """Number of runs of a trial that is not a confirmation: one per seed and fold."""
        return len(self.seed_list) * (self.folds or 1)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits, equal for equal content whatever the order of its keys.

        ``train_together`` and ``claims`` do not count as content: they affect no result. Nor does a
        field that was added later and is not set: studies keep the fingerprints they had.
        """
        unset = {field for field in _ADDED_LATER if getattr(self, field) is None}
        left_out = {"train_together", "claims", *unset}
        return digest(self.model_dump(mode="json", exclude=left_out))[:12]


def too_few_seeds(seeds: int) -> str:
    """Return the message that rejects ``pruner: wilcoxon`` with this many seeds."""
    return (
        f"pruner: wilcoxon needs at least {LEAST_WILCOXON_SEEDS} seeds, since its test cannot stop "
        f"a trial before {LEAST_WILCOXON_SEEDS - 1}; got {seeds}: give more seeds, or set pruner "
        "to median"
    )
