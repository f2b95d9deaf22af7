"""Tables of an older release are upgraded with all that they hold, and those of a newer refused."""

from __future__ import annotations

import sqlite3
import tarfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import db
from hexhub_backup import signals, verbs
from hexhub_backup.errors import VersionError
from hexhub_backup.history.migrations import VERSION, found_version, upgrade
from hexhub_backup.history.models import Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.tables import TABLE_PREFIX, metadata, version
from hexhub_backup.history.transactions import begin
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.choice import Choice
from tests.support.databases import NewDatabase
from tests.support.hosts import ADA
from tests.support.postgres import Server

pytestmark = [
    pytest.mark.gap(mariadb="0.1.0 did not run on it"),
    pytest.mark.usefixtures("served", "host"),
]


DATA = Path(__file__).parent.parent / "data/0.1.0"
ADMIN = Who(actor="admin")
OURS = ("operations", "backups", "journal", "audit_events", "schedule")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> NewDatabase:
    """What 0.1.0 knew."""
    if request.param == "sqlite":
        return lambda: None
    running: Server = request.getfixturevalue("postgresql")
    return running.create


@pytest.fixture
def uri(tmp_path: Path, database: NewDatabase) -> str:
    """An instance of 0.1.0, of which nothing has been touched yet."""
    folder, made = tmp_path / "host", database()
    folder.mkdir()
    name = "sqlite" if made is None else "postgresql"
    with tarfile.open(DATA / f"{name}.tar.xz") as tar:
        tar.extractall(folder)
    dump = (DATA / f"{name}.sql").read_text()
    if made is None:
        made = f"sqlite:///{folder / 'host_app.sqlite3'}"
        connection = sqlite3.connect(folder / "host_app.sqlite3")
        connection.executescript(dump)
        connection.close()
    else:
        with psycopg.connect(made.replace("+psycopg", ""), autocommit=True) as server:
            server.execute(dump.encode())
    return made


@pytest.fixture
def engine(uri: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(uri, poolclass=sa.NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def served(tmp_path: Path, uri: str) -> Flask:
    return create_app(tmp_path / "host", {"SQLALCHEMY_DATABASE_URI": uri})


def rows(engine: sa.Engine) -> dict[str, list[dict[str, Any]]]:
    """All that our tables hold, as it is stored."""
    with engine.connect() as connection:
        return {
            name: [
                {column: str(value) for column, value in row._mapping.items()}
                for row in connection.exec_driver_sql(
                    f"SELECT * FROM {TABLE_PREFIX}{name} ORDER BY 1"
                )
            ]
            for name in OURS
        }


@pytest.mark.sample
def test_an_upgrade_keeps_every_value_of_every_row(engine: sa.Engine) -> None:
    before = rows(engine)
    assert {name: len(found) for name, found in before.items()} == {
        "operations": 11,
        "backups": 5,
        "journal": 1,
        "audit_events": 1,
        "schedule": 1,
    }
    with engine.begin() as connection:
        assert found_version(connection) == 1
        upgrade(connection)
        assert found_version(connection) == VERSION
    after = rows(engine)
    for old, new in zip(before["backups"], after["backups"], strict=True):
        # What holds a backup is not written down any more, and who was adopted is known by a time.
        del old["expires_at"]
        assert (old.pop("adopted") in ("1", "True")) == (new["adopted_at"] != "None")
    for name, found in before.items():
        for old, new in zip(found, after[name], strict=True):
            assert new.items() >= old.items()
    for each in after["operations"]:
        assert each["queued_at"] == each["started_at"]
        assert each["exclusive"] == each["run_token"] == "None"
    with engine.begin() as connection:
        upgrade(connection)
    assert rows(engine) == after


def schema(engine: sa.Engine) -> dict[str, Any]:
    inspector = sa.inspect(engine)
    return {
        name: (
            {
                column["name"]: (str(column["type"]), column["nullable"], column["default"])
                for column in inspector.get_columns(name)
            },
            {
                index["name"]: (index["column_names"], index["unique"])
                for index in inspector.get_indexes(name)
            },
            inspector.get_pk_constraint(name)["constrained_columns"],
        )
        for name in sorted(metadata.tables)
    }


def test_upgraded_tables_are_those_that_are_made_anew(
    engine: sa.Engine, tmp_path: Path, database: NewDatabase
) -> None:
    with engine.begin() as connection:
        upgrade(connection)
    new = sa.create_engine(database() or f"sqlite:///{tmp_path / 'new.sqlite'}")
    with new.begin() as connection:
        assert found_version(connection) is None
        upgrade(connection)
    try:
        assert schema(engine) == schema(new)
    finally:
        new.dispose()


@pytest.mark.sample
def test_the_history_of_an_older_release_goes_on(app: Flask, backups: Backups) -> None:
    told: list[dict[str, Any]] = []

    def restored(_: Any, **payload: Any) -> None:
        told.append(payload)

    signals.restore_completed.connect(restored, app)
    backups.prepare(app)
    states = sorted(each.state for each in backups.history.backups())
    assert states == ["completed"] * 4 + ["failed"]
    kept, found = (
        next(filter(condition, backups.history.backups()))
        for condition in (lambda each: each.kept, lambda each: each.adopted)
    )
    assert "kept" in kept.held
    assert kept.expires_at is None
    assert found.id == "found"
    assert found.expires_at is not None
    assert found.expires_at > utc_now() + timedelta(days=29)
    assert backups.catalog.due_at("prune") is not None
    # The restore that was decided when its process was killed.
    last, first = (each for each in backups.history.operations() if each.verb == "restore")
    assert [last.state, first.state] == ["completed", "completed"]
    finished = backups.catalog.operation(last.id)
    assert finished.outcome is not None
    assert [each["code"] for each in finished.outcome["warnings"]] == ["recovered"]
    (payload,) = told
    assert list(payload["packages"]) == ["billing_core"]
    assert verbs.restore.carried_out_by(backups.catalog, str(first.follows_id)) is not None
    # An undo set of 0.1.0.
    for restore in (first, last):
        assert backups.history.undoable(backups.catalog.operation(restore.id))
        order = verbs.undo.order(backups.history, ADMIN, restore.id)
        outcome = backups.orders.run(app, order).outcome
        assert outcome["records"]["packages"] == {"removed": 0, "brought_back": 1, "left": 0}
        assert outcome["files"] == {"removed": 0, "brought_back": 1}
        assert outcome["warnings"] == []
        assert verbs.undo.undone_by(backups.catalog, restore.id) is not None
    storage = Path(app.config["HOST_APP_STORAGE"]) / "hosted/packages"
    for package in ("auth_gate", "billing_core"):
        file = storage / package / f"{package}-1.0.0-rc.1.tar.gz"
        assert file.read_bytes() == b"another content"
    again = backups.orders.run(app, verbs.create.order(ADA)).operation
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, kept.id, Choice())
    ).operation
    assert backups.history.backup(again).good
    assert backups.plans.exists(backups.catalog.operation(plan))


def test_tables_of_a_newer_release_are_refused(app: Flask, backups: Backups) -> None:
    backups.prepare(app)
    with db.engine.begin() as connection:
        connection.execute(sa.update(version).values(version=VERSION + 1))
    newer = create_app(
        Path(app.instance_path), {"SQLALCHEMY_DATABASE_URI": app.config["SQLALCHEMY_DATABASE_URI"]}
    )
    with newer.app_context():
        with pytest.raises(VersionError, match=rf"have version {VERSION + 1}.*Install that one"):
            backups_of(newer).prepare(newer)
        db.session.remove()
        db.engine.dispose()


def test_without_create_tables_older_ones_are_refused_until_they_are_upgraded(
    tmp_path: Path, uri: str, engine: sa.Engine
) -> None:
    config = {"SQLALCHEMY_DATABASE_URI": uri, "HEXHUB_BACKUP_CREATE_TABLES": False}
    app = create_app(tmp_path / "host", config)
    with app.app_context():
        backups = backups_of(app)
        with pytest.raises(VersionError, match=r"have version 1.*init-db"):
            backups.prepare(app)
        # As a revision of Alembic's does, with `op.get_bind()`.
        with engine.begin() as connection:
            upgrade(connection)
        backups.prepare(app)
        assert backups.catalog.due_at("prune") is not None
        db.session.remove()
        db.engine.dispose()


def test_an_upgrade_that_fails_leaves_the_older_tables(engine: sa.Engine) -> None:
    before = rows(engine)

    def fail() -> None:
        with begin(lambda: engine, "writing") as connection:
            upgrade(connection)
            raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        fail()
    assert rows(engine) == before
    with engine.connect() as connection:
        assert found_version(connection) == 1
