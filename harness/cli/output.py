"""Print answers: as JSON for programs, or as lines for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from harness.answers.documents import Answer, Checked, Model, Reported, as_json
from harness.cli.options import TextOrJson
from harness.cli.row_formats import format_rows
from harness.cli.terminal import show, show_data
from harness.engine.preview import Preview
from harness.records.studies.forecasts import NotedForecast
from harness.records.trial import seed_text
from harness.store.studies import StudyLine
from harness.units import duration, duration_range


def show_answer(form: TextOrJson, answer: Answer, lines: Callable[[], Iterable[str]]) -> None:
    """Print an answer as a JSON document, or the lines that say the same to people."""
    if form == "json":
        show_data(as_json(answer))
        return
    for line in lines():
        show(line)


def size_text(size: Checked) -> str:
    """Say how many trials and runs a study has."""
    if size.runs is None:
        return f"as many trials as fit into {size.hours:g} h"
    controls = f" and {size.controls} controls"
    folds = "" if size.folds is None else f" x {size.folds} folds"
    skipped = " at most" if size.are_at_most else ""
    seeds = f"{size.seeds} seeds{folds}"
    if size.chosen_by:
        return (
            f"{size.chosen_by} runs{skipped} on validation classes, then "
            f"{size.confirmed + size.controls} trials and controls x {size.confirm_seeds} fresh "
            f"seeds = {size.runs} runs{skipped}"
        )
    if not size.confirmed:
        return f"{size.trials} trials{controls} x {seeds} = {size.runs} runs{skipped}"
    return (
        f"{size.trials} trials x {seeds}, then the best {size.confirmed - 1}, the "
        f"baseline{controls} x {size.confirm_seeds} fresh seeds = {size.runs} runs{skipped}"
    )


def preview_lines(planned: Preview) -> list[str]:
    """Say what `harness run` would do."""
    rows = [(r.trial, seed_text(r.seed, r.fold), r.run_id, r.state) for r in planned.runs]
    done = sum(each.state == "done" for each in planned.runs)
    lines = [
        f"study {planned.study}: {planned.question}",
        format_rows(("trial", "seed", "run", "state"), rows, "table"),
        f"{len(planned.runs)} runs, {done} done",
        *(f"changed since it was run: {change}" for change in planned.changes),
    ]
    if planned.is_open:
        lines.append("plus the trials that the search will propose until its budget is spent")
    elif planned.proposed_later:
        lines.append(
            f"plus up to {planned.proposed_later} trials that the search has yet to propose"
        )
    elif planned.confirmed_later:
        lines.append(f"plus {planned.confirmed_later} runs that confirm its winners")
    elif planned.raced_later:
        lines.append(f"plus up to {planned.raced_later} runs that find the rest of its path")
    elif planned.later_seeds:
        lines.append(
            f"plus up to {planned.later_seeds} runs with the seeds that undecided trials get"
        )
    return lines


def result_lines(found: Reported) -> list[str]:
    """Format a study's table, its answer, its page and its best model."""
    rows = [
        (
            f"{row.trial} (baseline)" if row.is_baseline else row.trial,
            "" if row.mean is None else f"{row.mean:.4f}",
            "" if row.sd is None else f"{row.sd:.4f}",
            "" if row.low is None else f"[{row.low:.4f}, {row.high:.4f}]",
            f"{row.n}/{row.planned}",
        )
        for row in found.rows
    ]
    heads = ("trial", f"{found.label} ({found.split})", "sd", "95 % interval", "seeds")
    lines = [f"note: {found.note}"] if found.note else []
    lines += [format_rows(heads, rows, "table"), *found.decisions]
    lines += [f"front: {found.front}"] if found.front else []
    lines.append(f"answer: {found.answer}")
    if found.page is not None:
        lines.append(f"report: {found.page}")
    if found.best_model is not None:
        lines.append(f"best model: {describe_model(found.best_model)}")
    return lines


def forecast_line(noted: NotedForecast) -> str:
    """Say what was forecast for the runs that are done, and what they took."""
    said = duration_range(noted.low_s, noted.high_s)
    took = duration(noted.took_s or 0.0)
    return f"time: {took} for {noted.runs} run{'s' * (noted.runs != 1)}; the forecast was {said}"


def describe_model(model: Model) -> str:
    """Say where a model is and which run it comes from."""
    score = "" if model.score is None else f", val {model.score:.4f}"
    return f"{model.path} ({model.trial}, seed {model.seed}{score})"


def list_lines(studies: Sequence[StudyLine]) -> list[str]:
    """Tabulate the studies of a results folder."""
    columns = ("study", "trials", "runs", "done", "failed", "pruned", "updated (UTC)", "question")
    rows = [
        (
            line.study,
            line.trials,
            line.runs,
            line.done,
            line.failed,
            line.pruned,
            f"{line.updated:%Y-%m-%d %H:%M}",
            line.question,
        )
        for line in studies
    ]
    return [format_rows(columns, rows, "table")]
