"""The queries on a long history: by an index, never over all of a table to find one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.history.lists import list_backups, list_operations
from hexhub_backup.history.store import Catalog
from hexhub_backup.jobs.backups import Backups

pytestmark = pytest.mark.usefixtures("host")

ASKED: dict[str, Callable[[Catalog], object]] = {
    "what undid a restore": lambda catalog: verbs.undo.undone_by(catalog, "a-restore"),
    "what carried out a plan": lambda catalog: verbs.restore.carried_out_by(catalog, "a-plan"),
    "what waits or runs": Catalog.unfinished_operations,
    "what is not settled": Catalog.unsettled_operations,
    "the latest operations": lambda catalog: list_operations(catalog.engine, limit=6),
    "the latest backups": lambda catalog: list_backups(catalog.engine, limit=20),
    "one operation": lambda catalog: catalog.has_operation("one"),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_question_reads_no_whole_table(backups: Backups, asked: str) -> None:
    statements: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *more: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        ASKED[asked](backups.catalog)
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)
    assert statements
    with db.engine.connect() as connection:
        for statement, parameters in statements:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            for *_, detail in plan:
                of_ours = detail.startswith("SCAN hexhub_backup_")
                assert not of_ours or "USING" in detail, detail
