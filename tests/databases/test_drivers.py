"""Every driver does every verb, and no value of a row is in anything that a failed one leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import User, db
from examples.host_app.seed import ADMIN
from hexhub_backup import signals, verbs
from hexhub_backup.errors import BackupError
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.verbs.base import Order
from tests.support.directory import coordinator_of
from tests.support.hosts import ADA, planned
from tests.support.people import sign_in
from tests.support.postgres import Server, name_of

pytestmark = pytest.mark.host(file_size=50)

# psycopg 3 is what all other tests use.
DRIVERS = ("psycopg2", "pg8000")
# Every secret holds it, and nothing else does.
MARK = "".join(("c4n", "4ry"))


@pytest.fixture(params=DRIVERS)
def uri(request: pytest.FixtureRequest, postgresql: Server) -> str:
    url = sa.make_url(postgresql.create()).set(drivername=f"postgresql+{request.param}")
    if request.param == "pg8000":
        url = url.set(query={"unix_sock": f"{postgresql.folder}/.s.PGSQL.5432"})
    return url.render_as_string(hide_password=False)


@pytest.fixture(autouse=True)
def marked(host: Flask) -> None:
    """Secrets and addresses that can be told from all else."""
    with db.engine.begin() as connection:
        secret = sa.literal(MARK) + User.username
        changed = sa.update(User).where(User.username != ADMIN)
        connection.execute(changed.values(password_hash=secret, email=secret + "@x.example"))


def change(app: Flask) -> None:
    with db.engine.begin() as connection:
        changed = sa.update(User).where(User.username != ADMIN)
        connection.execute(changed.values(email=User.username + "@elsewhere.example"))
        connection.exec_driver_sql("DELETE FROM releases WHERE id = 1")


@pytest.mark.sample
def test_every_verb_is_done(app: Flask) -> None:
    backups = backups_of(app)
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    change(app)
    restored = backups.orders.run(app, planned(app, backup))
    assert restored.outcome["records"]["releases"]["created"] == 1
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, restored.operation))
    assert undone.outcome["records"]["releases"]["removed"] == 1
    backups.orders.run(app, verbs.prune.order(ADA))
    assert {each.state for each in backups.history.operations()} == {"completed"}


RAISE = "RAISE EXCEPTION 'no: %', NEW USING DETAIL = NEW::text;"
END = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5), NEW;"


def refuse(server: Server, table: str, body: str, event: str = "INSERT OR UPDATE") -> None:
    execute(
        server,
        "CREATE OR REPLACE FUNCTION point() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NEW; END $$",
        f"CREATE TRIGGER point BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION point()",
    )


def execute(server: Server, *statements: str) -> None:
    """Say something by another driver than the one that is looked at."""
    engine = sa.create_engine(server.uri(name_of(str(db.engine.url))), poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"), ())


def create(app: Flask, server: Server) -> Order:
    def lose(*_: Any, event: dict[str, Any], **extra: Any) -> None:
        if event["step"] == "export_users" and event["state"] == "running":
            server.disconnect(str(db.engine.url))

    signals.operation_step.connect(lose, app)
    app.extensions["kept"] = lose
    return verbs.create.order(ADA)


def without_a_column(app: Flask, server: Server) -> Order:
    backup = backups_of(app).orders.run(app, verbs.create.order(ADA)).operation
    change(app)
    job = planned(app, backup)
    execute(server, "ALTER TABLE packages DROP COLUMN updated_at")
    return job


def restore(body: str, table: str = "users") -> Callable[[Flask, Server], Order]:
    def prepare(app: Flask, server: Server) -> Order:
        backup = backups_of(app).orders.run(app, verbs.create.order(ADA)).operation
        change(app)
        job = planned(app, backup)
        refuse(server, table, body)
        return job

    return prepare


def undo(app: Flask, server: Server) -> Order:
    backup = backups_of(app).orders.run(app, verbs.create.order(ADA)).operation
    change(app)
    restored = backups_of(app).orders.run(app, planned(app, backup)).operation
    refuse(server, "users", RAISE)
    return verbs.undo.order(backups_of(app).history, ADA, restored)


POINTS: dict[str, Callable[[Flask, Server], Order]] = {
    "create, lost": create,
    "restore, a column went": without_a_column,
    "restore, raised": restore(RAISE),
    "restore, type": restore("PERFORM NEW.password_hash::int;"),
    "restore, lost": restore(END),
    "restore, the history refuses": restore(
        f"IF NEW.decided_at IS NOT NULL THEN RAISE EXCEPTION '{MARK}'; END IF;",
        "hexhub_backup_operations",
    ),
    "undo, raised": undo,
}


@pytest.mark.parametrize("point", POINTS)
# Of all drivers it is the one whose errors hold everything.
@pytest.mark.parametrize("app", ["pg8000"], indirect=True)
def test_nothing_that_is_left_holds_a_value(
    app: Flask, postgresql: Server, caplog: pytest.LogCaptureFixture, point: str
) -> None:
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    backups = backups_of(app)
    job = POINTS[point](app, postgresql)
    payloads: list[str] = []

    def hear(_: Flask, **payload: Any) -> None:
        payloads.append(repr(payload))

    for signal in signals.SIGNALS.values():
        signal.connect(hear, app)
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "hexhub_backup"), pytest.raises(BackupError) as caught:
        backups.orders.run(app, job)
    operation = backups.history.operations()[0]
    assert operation.state in ("failed", "interrupted")
    assert operation.reason == str(caught.value)
    left = {
        "error": str(caught.value.as_json()),
        "row": repr(operation),
        "signals": "\n".join(payloads),
        "log": caplog.text,
        "events": coordinator_of(backups).events(operation.id).read_text(),
        "page": client.get(f"/admin/backups/operations/{operation.id}").text,
        "json": client.get(f"/admin/backups/operations/{operation.id}/events").text,
    }
    assert [where for where, text in left.items() if MARK in text] == []
    assert [where for where, text in left.items() if "PendingRollback" in text] == []
    if "lost" in point:
        assert "was lost" in str(operation.reason)
    assert payloads
