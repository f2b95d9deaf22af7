"""The queries on a long history: by an index, never over all of a table to find one row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.history.findings import last_check
from hexhub_backup.history.lists import list_backups, list_operations
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.history.summary import last_failure, last_rehearsal, wrong_backups
from hexhub_backup.jobs.backups import Backups
from tests.support.serving import make_backup

pytestmark = pytest.mark.usefixtures("host")

ASKED: dict[str, Callable[[Catalog], object]] = {
    "what undid a restore": lambda catalog: verbs.undo.undone_by(catalog, "a-restore"),
    "what carried out a plan": lambda catalog: verbs.restore.carried_out_by(catalog, "a-plan"),
    "what waits or runs": Catalog.unfinished_operations,
    "what is not settled": Catalog.unsettled_operations,
    "the latest operations": lambda catalog: list_operations(catalog.engine, limit=6),
    "the latest backups": lambda catalog: list_backups(catalog.engine, limit=20),
    "what is wrong with backups": lambda catalog: wrong_backups(catalog.engine),
    "the last rehearsal": lambda catalog: last_rehearsal(catalog.engine),
    "why a rehearsal failed": lambda catalog: last_failure(catalog.engine, "rehearse"),
    "the last check of the registry": lambda catalog: last_check(catalog.engine),
    "one operation": lambda catalog: catalog.has_operation("one"),
}


@contextmanager
def selects() -> Iterator[list[tuple[str, Any]]]:
    """What is read meanwhile: the statements with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *more: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("asked", ASKED)
def test_a_question_reads_no_whole_table(backups: Backups, asked: str) -> None:
    with selects() as statements:
        ASKED[asked](backups.catalog)
    assert statements
    with db.engine.connect() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            for *_, detail in plan:
                of_ours = detail.startswith("SCAN hexhub_backup_")
                assert not of_ours or "USING" in detail, detail
                assert "RIGHT PART OF ORDER BY" not in detail, detail


def test_the_state_of_the_whole_takes_few_questions(app: Flask, backups: Backups) -> None:
    latest = make_backup(app)
    with selects() as statements:
        found = backups.status(utc_now())
    assert found.good is not None
    assert found.good.id == latest
    # The latest backup, its copies, what is wrong, the last rehearsal, the last check of the
    # registry, what may expire, and when the next backup is due.
    assert len(statements) == 7
