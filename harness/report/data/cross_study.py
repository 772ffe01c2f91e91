"""Compare trials of several studies with one reference, after checking that they are comparable.

Pure. Two trials are comparable if they were scored by the same workload on the same data, by the
same rules and on the same measure. Different code is allowed, since every code change makes new
runs, but must be reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import InputError, nearest
from harness.records.trial import flat_set
from harness.report.data.mixture import Circumstances, Compared, Mixture, mixture
from harness.report.data.study_data import Comparison, Summary, View, comparison_of
from harness.stats.paired import Difference, holm, paired_difference, t_interval
from harness.units import shortened
from harness.workload import JsonValue

RULES = ("data", "evaluate")
"""Sections of a workload's parameters that say what is scored and how."""
PLACES = frozenset({"data.root", "data.source"})
"""Where the data lie; not compared, since the digest of the data is."""
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Terms:
    """What two trials must share to be comparable."""

    workload: str
    metric: str
    is_test: bool
    """Whether the test classes are scored."""
    data: str
    """Digest of the data."""
    rules: Mapping[str, JsonValue] = field(hash=False)
    """Dotted parameter -> value, in the sections ``RULES``."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A trial of one of the studies."""

    study: str
    label: str
    number: int
    is_baseline: bool
    is_control: bool
    varied: frozenset[str]
    """The parameters that its study varies."""
    view: View
    values: Mapping[int, float] = field(hash=False)
    """Seed -> score of a finished run."""
    runs: Mapping[int, str] = field(hash=False)
    """Seed -> run_id."""
    code: frozenset[str]
    """Digests of the code that its runs were trained with."""
    terms: tuple[Terms, ...]
    """Of its runs, without duplicates."""
    made: Mapping[int, Circumstances] = field(default_factory=dict, hash=False)
    """Seed -> the environment of its run, as far as runs of the studies differ in it."""

    @property
    def name(self) -> str:
        """Study and label, unique across the studies."""
        return f"{self.study} / {self.label}"

    @property
    def run_ids(self) -> frozenset[str]:
        """Its runs, which another study may have too."""
        return frozenset(self.runs.values())


@dataclass(frozen=True, slots=True)
class Row:
    """A trial and its comparison with the reference."""

    contender: Contender
    summary: Summary
    comparison: Comparison | None
    """None for the reference, and if no seed is shared."""


@dataclass(frozen=True, slots=True)
class Across:
    """Trials of several studies, compared with one of them."""

    view: View
    studies: tuple[str, ...]
    reference: Contender
    rows: tuple[Row, ...]
    """Best mean first; controls last."""
    twins: tuple[tuple[str, str], ...]
    """Trials without a row, because their runs are those of another trial, and that trial."""
    code: Mapping[str, tuple[str, ...]]
    """Study -> digests of its code."""

    @property
    def has_one_code(self) -> bool:
        """Whether all runs were trained with the same code."""
        return len({digest for digests in self.code.values() for digest in digests}) <= 1

    @property
    def family(self) -> int:
        """Number of comparisons in Holm's correction; controls are a family of their own."""
        return sum(row.comparison is not None and not row.contender.is_control for row in self.rows)


def rules_of(params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Map dotted parameters to values, in the sections that say what is scored and how."""
    found = flat_set({name: params.get(name) for name in RULES})
    return {key: value for key, value in found.items() if key not in PLACES}


def set_against(contenders: Sequence[Contender], baseline: str | None) -> Across:
    """Compare trials with one of them, paired by seed.

    Args:
        contenders: Trials with finished runs, in the order of their studies.
        baseline: ``STUDY/TRIAL`` of the reference; None for the baseline of the first study.

    Raises:
        InputError: no such reference, or what was scored differs.
    """
    reference = _reference(contenders, baseline)
    refuse_unlike(contenders, reference)
    kept, twins = _without_twins(contenders, reference)
    differences = {
        each: paired_difference(each.values, reference.values) for each in kept if each != reference
    }
    compared: dict[Contender, Comparison] = {}
    for is_control in (False, True):
        family = {
            each: found
            for each, found in differences.items()
            if each.is_control is is_control and found is not None
        }
        adjusted = holm([found.p for found in family.values()])
        for (each, found), p_holm in zip(family.items(), adjusted, strict=True):
            compared[each] = _comparison(found, p_holm)
    rows = [
        Row(
            each,
            Summary(*t_interval(list(each.values.values())), n=len(each.values)),
            compared.get(each),
        )
        for each in kept
    ]
    rows.sort(key=lambda row: (row.contender.is_control, -row.summary.mean))
    studies = tuple(dict.fromkeys(each.study for each in contenders))
    code = {
        study: tuple(sorted({d for each in contenders if each.study == study for d in each.code}))
        for study in studies
    }
    return Across(reference.view, studies, reference, tuple(rows), tuple(twins), code)


def mixture_across(found: Across) -> Mixture | None:
    """Describe how the environments of the page's runs differ; None if they do not."""
    trials = [row.contender for row in found.rows]
    # Studies may share runs.
    runs = {each.runs[seed]: made for each in trials for seed, made in each.made.items()}
    compared = [
        Compared(row.contender.name, row.contender.made)
        for row in found.rows
        if row.comparison is not None
    ]
    return mixture(runs.values(), compared, found.reference.made, "the reference")


def refuse_unlike(contenders: Sequence[Contender], reference: Contender) -> None:
    """Raise if a trial was not scored as the reference was.

    Controls are exempt: they train nothing and serve as visual references only. A parameter that a
    study varies is what it asks about, not a rule.

    Raises:
        InputError: naming both trials and the first thing that differs.
    """
    (own, *more) = reference.terms
    if more:
        raise InputError(
            f"compare: the runs of {reference.name} differ among themselves in "
            f"{_difference(own, more[0], frozenset())}; choose another --baseline"
        )
    for each in contenders:
        for terms in each.terms if not each.is_control else ():
            found = _difference(own, terms, reference.varied | each.varied)
            if found:
                raise InputError(
                    f"compare: {reference.name} and {each.name} differ in {found}; "
                    "only trials that were scored in the same way can be compared"
                )


def _reference(contenders: Sequence[Contender], baseline: str | None) -> Contender:
    if baseline is not None:
        study, _, label = baseline.partition("/")
        study, label = study.strip(), label.strip()
        names = [f"{each.study}/{each.label}" for each in contenders]
        if f"{study}/{label}" not in names:
            near = nearest(f"{study}/{label}", names)
            raise InputError(f"--baseline: no finished trial {baseline!r}; {near}")
        return contenders[names.index(f"{study}/{label}")]
    first = contenders[0].study
    found = next((each for each in contenders if each.study == first and each.is_baseline), None)
    if found is None:
        raise InputError(
            f"compare: the baseline of {first} has no finished run; name a reference with "
            "--baseline STUDY/TRIAL"
        )
    return found


def _without_twins(
    contenders: Sequence[Contender], reference: Contender
) -> tuple[list[Contender], list[tuple[str, str]]]:
    """Keep each set of runs once: a run that two studies share must not count twice."""
    first: dict[frozenset[str], Contender] = {}
    for each in (reference, *contenders):
        first.setdefault(each.run_ids, each)
    kept = [each for each in contenders if first[each.run_ids] == each]
    twins = [(e.name, first[e.run_ids].name) for e in contenders if first[e.run_ids] != e]
    return kept, twins


def _comparison(found: Difference, p_holm: float) -> Comparison:
    return comparison_of(
        found.n,
        found.difference,
        found.low,
        found.high,
        p=found.p,
        p_holm=p_holm,
        better=found.prob_improvement,
    )


def _difference(one: Terms, other: Terms, varied: frozenset[str]) -> str:
    """Name the first thing in which two terms differ; empty if there is none."""
    if one.workload != other.workload:
        return f"their workload ({one.workload}, {other.workload})"
    if one.metric != other.metric:
        return f"their metric ({one.metric}, {other.metric})"
    if one.is_test != other.is_test:
        scored = ["test classes" if terms.is_test else "validation only" for terms in (one, other)]
        return f"what is scored ({scored[0]}, {scored[1]})"
    for key in sorted(one.rules.keys() | other.rules.keys()):
        mine, theirs = one.rules.get(key), other.rules.get(key)
        if mine != theirs and key not in varied:
            shown = ["not set" if value is None else str(value) for value in (mine, theirs)]
            return f"{key} ({', '.join(shortened(text, _LONGEST) for text in shown)})"
    if one.data != other.data:
        return f"their data (digest {one.data[:12]}, {other.data[:12]})"
    return ""
