"""What a plan has of the records, joined with the records: a row that is missing is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, db
from hexhub_backup import verbs
from hexhub_backup.errors import ArchiveError, ChangedError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.joining import joined
from tests.support.directory import depot_of
from tests.support.hosts import ADA

pytestmark = pytest.mark.usefixtures("host")


def _missing(value: str) -> ChangedError:
    return ChangedError(f"{value} is missing")


def test_rows_that_nobody_wants_are_passed_over_and_one_may_be_wanted_twice() -> None:
    wanted = [(2, "b"), (2, "b again"), (5, "e")]
    rows = [(1, 10), (2, 20), (4, 40), (5, 50), (6, 60)]
    assert list(joined(wanted, rows, _missing)) == [("b", 20), ("b again", 20), ("e", 50)]


@pytest.mark.parametrize("rows", [[], [(1, 10)], [(1, 10), (3, 30)], [(3, 30)]])
def test_a_missing_row_is_named(rows: list[tuple[int, int]]) -> None:
    with pytest.raises(ChangedError, match=r"^b is missing$"):
        list(joined([(2, "b")], rows, _missing))


def test_a_restore_names_the_record_that_the_index_has_lost(
    app: Flask, backups: Backups, backup: str
) -> None:
    db.session.execute(sa.update(Package).values(private=~Package.private))
    db.session.commit()
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, backup, Choice(strategy="overwrite"))
    ).operation
    index = depot_of(backups).plan(plan) / "index.sqlite"
    with closing(sqlite3.connect(index)) as database, database:
        assert database.execute("DELETE FROM records WHERE kind = 1 AND n = 1").rowcount == 1
    before = db.session.execute(sa.select(Package.name, Package.private)).all()
    with pytest.raises(ArchiveError, match=r"^package .* is in the plan, and not in the archive"):
        backups.orders.run(app, verbs.restore.order(backups.plans, ADA, plan))
    db.session.rollback()
    assert db.session.execute(sa.select(Package.name, Package.private)).all() == before
