"""Documents about what is in a results folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from harness.answers.documents import (
    AllReported,
    ClaimsTested,
    Listed,
    Model,
    Problem,
    Reported,
    Row,
    Rows,
    StudyListed,
)
from harness.answers.of_studies import text_of
from harness.export.best_model import BestModel, best_model
from harness.report.findings.tables.final_table import FinalRow, final_table
from harness.report.index_page import Written
from harness.report.study_claims import StudyClaims, claim_document
from harness.report.study_page import write_report
from harness.store.database import Table
from harness.store.studies import StudyLine
from harness.store.typed_rows import named_rows


def reported(results: Path, study: str, reports: Path | None) -> Reported:
    """Return a study's table, after writing its page, if ``reports`` says where.

    Raises:
        InputError: no such study.
        StoreError: the database cannot be read, or the page cannot be written.
    """
    table = final_table(results, study)
    page = None if reports is None else write_report(results, study, reports)
    best = best_model(results, study)
    return Reported(
        study=study,
        metric=table.view.measure,
        label=table.view.label,
        split=table.view.split,
        rows=tuple(_row(each) for each in table.rows),
        answer=table.claim,
        note=table.note,
        decisions=table.decisions,
        front=table.front,
        page=None if page is None else text_of(page),
        best_model=None if best is None else model(best),
    )


def _row(row: FinalRow) -> Row:
    trial, found = row.trial, row.summary
    return Row(
        trial=trial.label,
        number=trial.number,
        role=trial.role,
        is_baseline=trial.is_baseline,
        mean=found and found.mean,
        sd=found and found.sd,
        low=found and found.low,
        high=found and found.high,
        n=found.n if found else 0,
        planned=row.planned,
    )


def model(found: BestModel) -> Model:
    """Return the document of a model."""
    return Model.model_validate(found._asdict() | {"path": text_of(found.path)})


def all_reported(written: Written) -> AllReported:
    """Return the document of all pages."""
    return AllReported(
        index=text_of(written.path),
        pages=tuple(map(text_of, written.pages)),
        problems=tuple(Problem.model_validate(each._asdict()) for each in written.problems),
    )


def tested(claims: StudyClaims) -> ClaimsTested:
    """Return the document of tested claims."""
    return ClaimsTested.model_validate(claim_document(claims))


def listed(lines: Iterable[StudyLine]) -> Listed:
    """Return the document of a folder's studies."""
    return Listed(
        studies=tuple(
            StudyListed.model_validate(line._asdict() | {"updated": line.updated.isoformat()})
            for line in lines
        )
    )


def rows(table: Table) -> Rows:
    """Return the document of a query's result."""
    return Rows(named_rows(table.columns, table.rows))
