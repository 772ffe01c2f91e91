"""Write what a paper needs from a study: the methods in words, and the data.

Pure, from the tables; nothing here is HTML.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence

from harness.report.data.mixture import mixture_of
from harness.report.data.study_data import RunRow, StudyTables, TrialRow
from harness.report.findings.answer import named
from harness.report.findings.axes.swept_axes import swept_axes
from harness.report.findings.chosen import choice_method
from harness.report.findings.components import design_text, effect_methods
from harness.report.findings.tables.text_table import no_formula
from harness.report.findings.variance import variance_methods
from harness.stats import paired as stats
from harness.stats.looks.stopping import StopRule, every_seed, rule_of

MOST_CSV_RUNS = 2000
"""With more runs the CSV has one line per trial, so that the page does not grow too large for a
browser."""
_MOST_LISTED = 8


def methods_paragraph(tables: StudyTables, search: StudyTables | None) -> str:
    """Describe how the study was done, from its records.

    Args:
        tables: The trials that claims rest on: all, or those of the confirmation.
        search: The search that the confirmed trials were chosen from.
    """
    said = [*_design(tables, search), *_training(tables), *_statistics(tables)]
    said += [*effect_methods(tables), *variance_methods(tables), *_made_with(tables)]
    return " ".join(said)


def _design(tables: StudyTables, search: StudyTables | None) -> Iterator[str]:
    contenders = tables.contenders
    axes = [axis for axis in swept_axes(tables) if axis.key not in ("trial", "variant")]
    varied = ", ".join(axis.key for axis in axes[:_MOST_LISTED])
    of = f" of {varied}" if varied and not tables.is_confirmation else ""
    sampler = tables.study.sampler
    seeds = sorted({run.seed for run in tables.runs})
    each = f"{_count(len(seeds), 'random seed')} ({_seed_list(seeds)})"
    if search is not None and tables.is_chosen:
        yield from choice_method(search, len(contenders), each)
    elif search is not None:
        count = len(search.contenders) + len(search.pruned)
        searched = search.study.spec.get("search")
        keys = f" of {', '.join(searched)}" if isinstance(searched, dict) and searched else ""
        how = "trained" if sampler == "grid" else f"proposed by the sampler {sampler}"
        yield f"{_count(count, 'setting')}{keys} were {how} and scored on validation classes only."
        yield (
            f"The best and the baseline, {_count(len(contenders), 'setting')}, were then retrained "
            f"with {each} that the search had not seen."
        )
    elif tables.is_search:
        how = "" if sampler == "grid" else f"proposed by the sampler {sampler}, "
        yield (
            f"{_count(len(contenders), 'setting')}{of} were {how}trained with {each}, and scored "
            "on validation classes only."
        )
    elif tables.study.spec.get("stop") is not None:
        yield (
            f"{_count(len(contenders), 'setting')}{of} were trained, each with the first of {each}."
        )
    else:
        yield f"{_count(len(contenders), 'setting')}{of} were trained, each with the same {each}."
    if tables.folds:
        yield (
            f"Each seed was trained {tables.folds} times, once for each of {tables.folds} "
            "class-disjoint folds of the training classes, which was held out and scored; its "
            "result is the mean over folds."
        )
    if tables.design is not None:
        yield f"They are {design_text(tables.design)}."
    if tables.pruned:
        yield f"{_count(len(tables.pruned), 'setting')} were pruned and are in no table."


def _training(tables: StudyTables) -> Iterator[str]:
    done = sum(run.state == "done" for run in tables.runs)
    if done == len(tables.runs):
        yield f"All {_count(done, 'run')} finished."
    else:
        yield f"{done} of {_count(len(tables.runs), 'run')} finished; the others do not count."
    if controls := [trial.label for trial in tables.trials if trial.is_control]:
        yield f"Untrained controls were scored in the same way: {', '.join(controls)}."
    splits = tables.splits()
    if any("chosen_epoch" in run.facts for run in tables.runs) and "val" in splits:
        yield "The epoch of each run was chosen on validation classes."
    if "test" in splits and not tables.is_search:
        yield "Test classes were scored once per run and not used for selection."


def _statistics(tables: StudyTables) -> Iterator[str]:
    view, baseline = tables.primary, tables.baseline
    if view is None:
        return
    summaries = [found for (of, _), found in tables.summaries.items() if of == view]
    what = f"We report {view.text}"
    if all(summary.n == 1 for summary in summaries):
        yield f"{what} for one seed, without an interval."
    else:
        yield f"{what} as mean ± half its 95 % t-interval over seeds."
    pairs = [
        found
        for (of, trial_id), found in tables.comparisons.items()
        if of == view and any(t.trial_id == trial_id for t in tables.contenders)
    ]
    if baseline is None or not pairs or tables.is_search:
        return
    if isinstance(stop := tables.study.spec.get("stop"), dict):
        yield from _stopping(rule_of(stop), named(baseline), len(pairs))
        return
    paired = f"Differences from the baseline {named(baseline)} are paired by seed"
    few = [pair.exploratory for pair in pairs]
    least = f"With fewer than {stats.MIN_SEEDS_FOR_TEST} pairs no sign-flip test can reach 0.05: "
    if all(few):
        intervals = ", with paired 95 % t-intervals" if any(pair.n > 1 for pair in pairs) else ""
        yield f"{paired}{intervals}. {least}the comparison is exploratory, and no p is given."
        return
    exact = "exact " if max(pair.n for pair in pairs) <= stats.MOST_ENUMERATED else "sampled "
    yield (
        f"{paired}, with paired 95 % t-intervals and {exact}two-sided sign-flip tests; p values "
        f"are Holm-corrected over {_count(len(pairs), 'comparison')}."
    )
    if any(few):
        yield f"{least}such comparisons are exploratory, and no p is given for them."


def _stopping(rule: StopRule, baseline: str, comparisons: int) -> Iterator[str]:
    first, *_, last = (*rule.looks, rule.looks[-1])
    is_every = rule.looks == every_seed(last)
    looks = f"every seed from {first} to {last}" if is_every else ", ".join(map(str, rule.looks))
    test = "exact group-sequential sign-flip tests with O'Brien-Fleming spending"
    if rule.is_e_process:
        test = "a sign-symmetric e-process"
    yield (
        f"Settings got further seeds until their comparison with the baseline {baseline} was "
        f"decided, by {test}, after looks at {looks} seeds. Any claim is false with probability "
        f"{rule.alpha:g} at most, over all looks and {_count(comparisons, 'comparison')} (Holm's "
        "method)."
    )
    yield (
        f"A comparison was given up once it was unlikely to show the planned difference of "
        f"{rule.effect:g}. Differences are paired by seed, with repeated confidence intervals."
    )


def _made_with(tables: StudyTables) -> Iterator[str]:
    runs = [run for run in tables.runs if run.state == "done"]
    devices = sorted({str(device) for run in runs if (device := run.facts.get("device"))})
    commits = sorted({run.commit for run in runs if run.commit})
    versions = sorted({str(run.versions["torch"]) for run in runs if "torch" in run.versions})
    where = f" on {', '.join(devices)}" if devices else ""
    with_torch = f" with torch {', '.join(versions)}" if versions else ""
    if where or with_torch:
        yield f"Runs were executed{where}{with_torch}."
    if (mixed := mixture_of(tables)) is not None:
        yield mixed.text
    if commits:
        shown = ", ".join(commit[:12] for commit in commits[:_MOST_LISTED])
        yield f"The code is commit {shown}."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _seed_list(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]} to {seeds[-1]}"
    shown = ", ".join(map(str, seeds[:_MOST_LISTED]))
    return f"{shown}, ..." if len(seeds) > _MOST_LISTED else shown


def csv_text(tables: StudyTables) -> str:
    """Return every number of the page as CSV: one line per run, or per trial if runs are too many.

    Numbers keep all their digits; missing values are empty fields. Text that a spreadsheet would
    evaluate starts with an apostrophe.
    """
    stream = io.StringIO()
    lines = _by_run(tables) if is_csv_by_run(tables) else _by_trial(tables)
    csv.writer(stream, lineterminator="\n").writerows(
        [no_formula(cell) if isinstance(cell, str) else cell for cell in line] for line in lines
    )
    return stream.getvalue()


def is_csv_by_run(tables: StudyTables) -> bool:
    """Whether the CSV has one line per run."""
    return len(tables.runs) <= MOST_CSV_RUNS


def _by_run(tables: StudyTables) -> Iterator[list[object]]:
    trials = {trial.trial_id: trial for trial in tables.trials}
    values = {
        (view, one.trial_id, one.seed): one.value
        for view in tables.views
        for one in tables.values[view]
    }
    names = [f"{view.split}/{view.measure}" for view in tables.views]
    fold = ["fold"] if tables.folds else []
    yield [
        *_TRIAL_FIELDS,
        "seed",
        *fold,
        "run_id",
        "state",
        "failure",
        "seconds",
        "peak_mib",
        *names,
    ]
    for run in tables.runs:
        found = [
            tables.fold_values.get((view, run.run_id), "")
            if run.fold
            else values.get((view, run.trial_id, run.seed), "")
            for view in tables.views
        ]
        seed = [run.seed, run.fold] if fold else [run.seed]
        yield [*_trial_fields(trials[run.trial_id]), *seed, *_run_fields(run), *found]


_TRIAL_FIELDS = ("study_phase", "number", "trial", "role", "varied")


def _trial_fields(trial: TrialRow) -> list[object]:
    role = "baseline" if trial.is_baseline else trial.role
    varied = json.dumps(dict(trial.varied), ensure_ascii=False)
    return [trial.phase, trial.number, trial.label, role, varied]


def _run_fields(run: RunRow) -> list[object]:
    known = [run.failure, run.seconds, run.peak_mib]
    shown = ["" if value is None else value for value in known]
    return [run.run_id, run.state, *shown]


def _by_trial(tables: StudyTables) -> Iterator[list[object]]:
    yield [
        *_TRIAL_FIELDS,
        *(f"{v.split}/{v.measure} {what}" for v in tables.views for what in ("mean", "sd", "n")),
    ]
    for trial in tables.trials:
        found: list[object] = []
        for view in tables.views:
            own = tables.summary(view, trial)
            sd = "" if own is None or own.sd is None else own.sd
            found += ["", "", 0] if own is None else [own.mean, sd, own.n]
        yield [*_trial_fields(trial), *found]
