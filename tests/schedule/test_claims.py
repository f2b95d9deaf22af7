"""Many processes that tick at once: what is due is run by one of them, on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import db
from hexhub_backup.history.migrations import VERSION, found_version, upgrade
from hexhub_backup.history.runs import Run
from hexhub_backup.history.tables import backups as backups_table
from hexhub_backup.history.tables import copies, operations, schedule, version
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.schedule.tick import tick
from hexhub_backup.verbs.base import Order
from tests.support.instance import Instance
from tests.support.patience import PATIENCE
from tests.support.ticking import Ticking

NIGHTLY = {"HEXHUB_BACKUP_SCHEDULE": "daily 03:00"}
pytestmark = [
    pytest.mark.host(config=NIGHTLY),
    pytest.mark.usefixtures("database", "host"),
]


@pytest.mark.sample
def test_of_many_who_tick_at_once_one_runs_what_is_due(ticking: Ticking) -> None:
    app, many, rounds = ticking.app, 6, 10
    barrier, lock = threading.Barrier(many), threading.Lock()
    due = [ticking.due("backup") + timedelta(days=number) for number in range(rounds)]
    ordered: list[Order] = []

    def start(_: Any, order: Order) -> None:
        with lock:
            ordered.append(order)

    def one() -> None:
        with app.app_context():
            for at in due:
                barrier.wait(PATIENCE)
                tick(app, start, lambda at=at: at)  # type: ignore[misc]

    with ThreadPoolExecutor(many) as pool:
        for each in [pool.submit(one) for _ in range(many)]:
            each.result(PATIENCE)
    ran = [each.options["due_at"] for each in ordered if each.verb == "create"]
    assert ran == [at.isoformat() for at in due]


def test_commands_that_cron_starts_at_once_make_one_backup(
    ticking: Ticking, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_APP_SCHEDULE", "daily 03:00")
    run, past = ticking.run("backup"), datetime.now(timezone.utc) - timedelta(hours=1)
    assert ticking.runs.change(run, Run(name="backup", spec=run.spec, due_at=past))
    db.session.remove()
    started = [instance.start("backups", "tick") for _ in range(4)]
    said = [each.communicate(timeout=PATIENCE) for each in started]
    assert [each.returncode for each in started] == [0] * 4, said
    (backup,) = ticking.backups.history.backups()
    assert backup.state == "completed"
    assert sum("The backup is complete" in output for output, _ in said) == 1


#: Those of our tables of operations that were there before the clock, and are still.
OLD_INDEXES = {f"ix_{operations.name}_{column}" for column in ("state", "follows_id", "exclusive")}


@pytest.mark.sample
def test_tables_of_the_version_before_the_clock_are_upgraded(app: Flask, backups: Backups) -> None:
    made = datetime(2026, 1, 31, 3, tzinfo=timezone.utc)
    backups.catalog.set_due("prune", made)
    with db.engine.begin() as connection:
        run = connection.exec_driver_sql
        run(f"DROP TABLE {copies.name}")
        for index in (*backups_table.indexes, *operations.indexes):
            if str(index.name) not in OLD_INDEXES:
                index.drop(connection)
        run(f"CREATE INDEX ix_{backups_table.name}_created_at ON {backups_table.name} (created_at)")
        run(f"CREATE INDEX ix_{operations.name}_queued_at ON {operations.name} (queued_at)")
        for name in ("spec", "try_at", "operation_id"):
            run(f"ALTER TABLE {schedule.name} DROP COLUMN {name}")
        boolean = sa.Boolean().compile(connection.dialect)
        run(f"ALTER TABLE {backups_table.name} ADD COLUMN adopted {boolean}")
        run(f"ALTER TABLE {backups_table.name} ADD COLUMN expires_at {boolean}")
        later = (
            *("adopted_at", "origin", "deleting", "sha256", "since", "changed_files"),
            *("acknowledged_at", "acknowledged_by", "acknowledged_note", "label", "note"),
            *("rehearsed_at", "restorable"),
        )
        for name in later:
            run(f"ALTER TABLE {backups_table.name} DROP COLUMN {name}")
        run(
            f"INSERT INTO {backups_table.name} "
            "(id, state, created_at, created_by, warning_count, kept, adopted) VALUES "
            "('made', 'completed', '2026-01-31 03:00:00', 'ada', 0, FALSE, FALSE), "
            "('found', 'completed', '2025-01-31 03:00:00', 'unknown', 0, TRUE, TRUE)"
        )
        run(f"ALTER TABLE {operations.name} DROP COLUMN stop_wished")
        connection.execute(sa.update(version).values(version=2))
    with db.engine.begin() as connection:
        upgrade(connection)
        assert found_version(connection) == VERSION
    found, ours = (backups.catalog.backup(name) for name in ("found", "made"))
    assert (found.adopted, found.kept, ours.adopted, ours.kept) == (True, True, False, False)
    assert abs(datetime.now(timezone.utc) - found.age_from) < timedelta(hours=1)
    assert backups.catalog.due_at("prune") == made
