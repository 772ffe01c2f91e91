"""Trials of several studies set against one reference: what must agree for that, and the numbers.

Pure. Two trials may be compared where they were scored by the same workload on the same data, by
the same rules and on the same measure. Different code is no reason to refuse, since every change of
it makes new runs, but must be said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import InputError, nearest
from harness.records.trial import flat_set
from harness.report.data.mixture import Circumstances, Compared, MadeRun, Mixture, mixture
from harness.report.data.study_data import Comparison, Summary, View, comparison_of
from harness.stats.paired import Difference, holm, paired_difference, t_interval
from harness.workload import JsonValue

RULES = ("data", "evaluate")
"""Sections of a workload's parameters that say what is scored and how."""
PLACES = frozenset({"data.root", "data.source"})
"""Where data lie: the digest of what lies there is what counts."""
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Terms:
    """What two trials must share."""

    workload: str
    metric: str
    is_test: bool
    """Whether the test classes are scored."""
    data: str
    """Digest of the data."""
    rules: Mapping[str, JsonValue] = field(hash=False)
    """Dotted parameter -> value, of the sections ``RULES``."""


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
    """Seed -> what a finished run reached."""
    runs: tuple[str, ...]
    code: frozenset[str]
    """Digests of the code that its runs were trained by."""
    terms: tuple[Terms, ...]
    """Of its runs, each once."""
    made: Mapping[int, MadeRun] = field(default_factory=dict, hash=False)
    """Seed -> its run, and what that was made with, as far as runs of the studies differ in it."""

    @property
    def name(self) -> str:
        """Unique among the studies."""
        return f"{self.study} / {self.label}"


@dataclass(frozen=True, slots=True)
class Row:
    """A trial and how it stands to the reference."""

    contender: Contender
    summary: Summary
    comparison: Comparison | None
    """None for the reference, and where no seed is shared."""


@dataclass(frozen=True, slots=True)
class Across:
    """Trials of several studies against one of them."""

    view: View
    studies: tuple[str, ...]
    reference: Contender
    rows: tuple[Row, ...]
    """Best mean first; controls last."""
    twins: tuple[tuple[str, str], ...]
    """Trials that stand in no row, since they are the very runs of another one, and that one."""
    code: Mapping[str, tuple[str, ...]]
    """Study -> digests of its code."""

    @property
    def has_one_code(self) -> bool:
        """Whether all runs were trained by the same code."""
        return len({digest for digests in self.code.values() for digest in digests}) <= 1

    @property
    def family(self) -> int:
        """How many comparisons Holm's correction is over; controls are a family of their own."""
        return sum(row.comparison is not None and not row.contender.is_control for row in self.rows)


def rules_of(params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Dotted parameter -> value of the sections that say what is scored and how."""
    found = flat_set({name: params.get(name) for name in RULES})
    return {key: value for key, value in found.items() if key not in PLACES}


def set_against(contenders: Sequence[Contender], baseline: str | None) -> Across:
    """Compare trials, paired by seed, with one of them.

    Args:
        contenders: Trials with finished runs, in the order of their studies.
        baseline: ``STUDY/TRIAL`` of the reference; None is the first study's baseline.

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
    """In what the runs of the page differ; None where they were made alike."""
    made = [run for row in found.rows for run in row.contender.made.values()]
    runs = {run.run_id: run.circumstances for run in made}  # studies may share some
    compared = [
        Compared(row.contender.name, _by_seed(row.contender))
        for row in found.rows
        if row.comparison is not None
    ]
    return mixture(runs.values(), compared, _by_seed(found.reference), "the reference")


def _by_seed(contender: Contender) -> dict[int, Circumstances]:
    return {seed: run.circumstances for seed, run in contender.made.items()}


def refuse_unlike(contenders: Sequence[Contender], reference: Contender) -> None:
    """Stop where a trial was not scored as the reference was.

    Controls are let pass: they train nothing, and are there for the eye. A parameter that a study
    varies itself is what it asks about, and no rule.

    Raises:
        InputError: naming both trials and the first thing that differs.
    """
    (own, *more) = reference.terms
    if more:
        raise InputError(
            f"compare: the runs of {reference.name} differ among each other in "
            f"{_difference(own, more[0], frozenset())}; choose another --baseline"
        )
    for each in contenders:
        for terms in each.terms if not each.is_control else ():
            found = _difference(own, terms, reference.varied | each.varied)
            if found:
                raise InputError(
                    f"compare: {reference.name} and {each.name} differ in {found}; "
                    "only trials that were scored alike can be compared"
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
    """Each set of runs once: a run that two studies share must not count twice."""
    by_runs = {reference.runs: reference}
    for each in contenders:
        by_runs.setdefault(each.runs, each)
    kept = [each for each in contenders if by_runs[each.runs] == each]
    twins = [(e.name, by_runs[e.runs].name) for e in contenders if by_runs[e.runs] != e]
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
    """The first thing in which two differ, in words; empty where there is none."""
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
            return f"{key} ({_shown(mine)}, {_shown(theirs)})"
    if one.data != other.data:
        return f"their data (digest {one.data[:12]}, {other.data[:12]})"
    return ""


def _shown(value: JsonValue) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"
