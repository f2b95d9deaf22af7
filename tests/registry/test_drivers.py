"""No value of a row is in what is told of a database's error, whichever driver raised it."""

from __future__ import annotations

import sqlite3
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from hexhub_backup.archive.records import USERS, Record
from hexhub_backup.databases import base
from hexhub_backup.databases.connections import connected, transaction
from hexhub_backup.errors import BackupError, DatabaseError, without_messages
from hexhub_backup.history.store import Catalog
from tests.support.mariadb import Server as MariaDBServer
from tests.support.postgres import Server, name_of
from tests.support.registries import (
    Base,
    engine_of,
    mariadb_engine,
    overwrites,
    postgresql_engine,
    records_of,
    restore,
    usual_registry,
)

DRIVERS = ("psycopg", "psycopg2", "pg8000")
# Every secret holds it, and nothing else does.
MARK = "".join(("c4n", "4ry"))
#: What is quoted, formatted or cut off in messages.
secrets = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12
) | st.sampled_from(["%s %(x)s {x}", 'is "quoted"', "'", "DETAIL: Failing row", "(x)=(y) already"])

#: Where a database can refuse a row: what a trigger on users says of the new one.
POSTGRESQL = {
    "raise": "RAISE EXCEPTION 'no: %', NEW.password_hash;",
    "raise with everything": "RAISE EXCEPTION USING MESSAGE = NEW.password_hash, "
    "DETAIL = NEW.password_hash, HINT = NEW.password_hash, CONSTRAINT = NEW.password_hash, "
    "TABLE = NEW.password_hash, COLUMN = NEW.password_hash;",
    "raise as data": "RAISE EXCEPTION USING ERRCODE = '22000', MESSAGE = NEW.password_hash;",
    "type": "PERFORM NEW.password_hash::int;",
    "json": "PERFORM NEW.password_hash::json;",
    "date": "PERFORM NEW.password_hash::timestamptz;",
    "too long": "INSERT INTO short VALUES (NEW.password_hash);",
    "unique": "INSERT INTO once VALUES (NEW.password_hash), (NEW.password_hash);",
    "foreign key": "INSERT INTO refers VALUES (NEW.password_hash);",
    "not null": "INSERT INTO whole VALUES (NEW.password_hash, NULL);",
    "check": "INSERT INTO checked VALUES (NEW.password_hash);",
    "exclusion": "INSERT INTO excluded VALUES (NEW.password_hash), (NEW.password_hash);",
    "no table": "EXECUTE 'SELECT ' || quote_literal(NEW.password_hash) || ' FROM nowhere';",
    "cancelled": "PERFORM pg_cancel_backend(pg_backend_pid()), pg_sleep(5), NEW.password_hash;",
    "ended": "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5), NEW.password_hash;",
    "deadlock": "RAISE EXCEPTION USING ERRCODE = '40P01', MESSAGE = NEW.password_hash;",
}
_TABLES = """
    CREATE TABLE short (v varchar(3));
    CREATE TABLE once (v text UNIQUE);
    CREATE TABLE refers (v text REFERENCES once (v));
    CREATE TABLE whole (v text, w text NOT NULL);
    CREATE TABLE checked (v text CHECK (length(v) < 3));
    CREATE TABLE excluded (v text, EXCLUDE (v WITH =));
"""
SQLITE = {
    "raise": "SELECT RAISE(ABORT, {secret})",
    "raise as a lock": "SELECT RAISE(FAIL, {secret})",
    "roll back": "SELECT RAISE(ROLLBACK, {secret})",
    "unique": "INSERT INTO once VALUES (new.password_hash), (new.password_hash)",
    "not null": "INSERT INTO whole VALUES (new.password_hash, NULL)",
    "check": "INSERT INTO checked VALUES (new.password_hash)",
    "json": "SELECT json_extract(new.password_hash, '$')",
    "no table": "INSERT INTO nowhere VALUES (new.password_hash)",
}


#: With all that a trigger may say in the words of another error.
MARIADB = {
    "raise": "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = NEW.password_hash;",
    "raise with everything": "SET @said = CONCAT('Duplicate entry for key ''', NEW.password_hash, "
    "''''); SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 1062, MESSAGE_TEXT = @said, "
    "CONSTRAINT_NAME = NEW.password_hash, TABLE_NAME = NEW.password_hash, "
    "COLUMN_NAME = NEW.password_hash;",
    "raise as a check": "SET @said = CONCAT('CONSTRAINT `', NEW.password_hash, '` failed'); "
    "SIGNAL SQLSTATE '23000' SET MYSQL_ERRNO = 4025, MESSAGE_TEXT = @said;",
    "raise as a lost connection": "SIGNAL SQLSTATE '08000' SET MYSQL_ERRNO = 2013, "
    "MESSAGE_TEXT = NEW.password_hash;",
    "type": "INSERT INTO numbers VALUES (NEW.password_hash);",
    "date": "INSERT INTO dates VALUES (NEW.password_hash);",
    "too long": "INSERT INTO short VALUES (NEW.password_hash);",
    "unique": "INSERT INTO once VALUES (NEW.password_hash), (NEW.password_hash);",
    "foreign key": "INSERT INTO refers VALUES (NEW.password_hash);",
    "not null": "INSERT INTO whole VALUES (NEW.password_hash, NULL);",
    "check": "INSERT INTO checked VALUES (NEW.password_hash);",
    "no table": "INSERT INTO nowhere VALUES (NEW.password_hash);",
}
_MARIADB_TABLES = (
    "CREATE TABLE numbers (v integer)",
    "CREATE TABLE dates (v date)",
    "CREATE TABLE short (v varchar(3))",
    "CREATE TABLE once (v varchar(200) UNIQUE)",
    "CREATE TABLE refers (v varchar(200), FOREIGN KEY (v) REFERENCES once (v))",
    "CREATE TABLE whole (v text, w text NOT NULL)",
    "CREATE TABLE checked (v varchar(200), CONSTRAINT few CHECK (length(v) < 3))",
)


@dataclass(frozen=True)
class Host:
    """A database with users, and the engine of the driver that is looked at."""

    engine: sa.Engine
    address: str | Path

    def say(self, *statements: str) -> None:
        """Say something beside the driver that is looked at."""
        if isinstance(self.address, Path):
            with sqlite3.connect(self.address) as connection:
                for statement in statements:
                    connection.execute(statement)
            connection.close()
        else:
            with psycopg.connect(self.address, autocommit=True) as on_server:
                for statement in statements:
                    on_server.execute(statement.encode())


def driven(postgresql: Server, driver: str) -> Host:
    """A host on PostgreSQL; pg8000 has its own word for a socket."""
    uri = postgresql.create()
    postgresql_engine(uri, Base.metadata).dispose()
    url = sa.make_url(uri).set(drivername=f"postgresql+{driver}")
    if driver == "pg8000":
        url = url.set(query={"unix_sock": f"{postgresql.folder}/.s.PGSQL.5432"})
    return Host(sa.create_engine(url), postgresql.address(name_of(uri)))


@pytest.fixture(scope="module", params=DRIVERS)
def on_postgresql(request: pytest.FixtureRequest, postgresql: Server) -> Iterator[Host]:
    host = driven(postgresql, request.param)
    host.say(*filter(str.strip, _TABLES.split(";")))
    yield host
    host.engine.dispose()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    path = tmp_path_factory.mktemp("sqlite") / "host.db"
    host = Host(engine_of(path, Base.metadata), path)
    host.say(*filter(str.strip, _TABLES.split("CREATE TABLE excluded", maxsplit=1)[0].split(";")))
    yield host
    host.engine.dispose()


@pytest.fixture(scope="module")
def on_mariadb(mariadb: MariaDBServer) -> Iterator[sa.Engine]:
    uri = mariadb.create()
    engine = mariadb_engine(uri, Base.metadata)
    mariadb.execute(*_MARIADB_TABLES, uri=uri)
    yield engine
    engine.dispose()


def user(secret: str) -> Record:
    return {"username": "eve", "email": f"{secret}@x", "password_hash": secret}


def refuse(host: Host, body: str) -> None:
    if isinstance(host.address, Path):
        when = "CREATE TRIGGER at_{0} BEFORE {0} ON users BEGIN {1}; END"
        host.say(*(when.format(event, body) for event in ("INSERT", "UPDATE")))
    else:
        host.say(
            "CREATE OR REPLACE FUNCTION point() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {body} RETURN NEW; END $$",
            "CREATE OR REPLACE TRIGGER point BEFORE INSERT OR UPDATE ON users "
            "FOR EACH ROW EXECUTE FUNCTION point()",
        )


def allow(host: Host) -> None:
    if isinstance(host.address, Path):
        host.say("DROP TRIGGER IF EXISTS at_insert", "DROP TRIGGER IF EXISTS at_update")
    else:
        host.say("DROP TRIGGER IF EXISTS point ON users")


def refused(host: Host, records: dict[str, list[Record]], decide: Any = overwrites) -> str:
    """All that is told of a restore that is refused: its message, faults and traceback."""
    with pytest.raises(BackupError) as caught:
        restore(usual_registry(host.engine), records, decide)
    return told(caught.value)


def told(error: BackupError) -> str:
    lines = traceback.format_exception(error)
    return "\n".join([str(error), str(error.as_json()), *lines])


def check(text: str) -> None:
    assert MARK not in text
    assert "PendingRollback" not in text
    assert "ResourceClosed" not in text


@pytest.mark.parametrize("point", POSTGRESQL)
@settings(max_examples=2)
@given(more=secrets)
def test_a_refusal_of_postgresql_holds_no_value(on_postgresql: Host, point: str, more: str) -> None:
    secret = f"{MARK}{more}"
    refuse(on_postgresql, POSTGRESQL[point])
    try:
        check(refused(on_postgresql, {"users": [user(secret)]}))
    finally:
        allow(on_postgresql)
    assert records_of(usual_registry(on_postgresql.engine))["users"] == []


@pytest.mark.parametrize("point", MARIADB)
@settings(max_examples=2)
@given(more=secrets)
def test_a_refusal_of_mariadb_holds_no_value(
    on_mariadb: sa.Engine, mariadb: MariaDBServer, point: str, more: str
) -> None:
    uri, on = on_mariadb.url.render_as_string(), ("INSERT", "UPDATE")
    when = "CREATE TRIGGER on_{0} BEFORE {0} ON users FOR EACH ROW BEGIN {1} END"
    mariadb.execute(*(when.format(event, MARIADB[point]) for event in on), uri=uri)
    registry = usual_registry(on_mariadb)
    try:
        with pytest.raises(BackupError) as caught:
            restore(registry, {"users": [user(f"{MARK}{more}")]}, overwrites)
        check(told(caught.value))
    finally:
        mariadb.execute(*(f"DROP TRIGGER on_{event}" for event in on), uri=uri)
    assert records_of(registry)["users"] == []


@pytest.mark.parametrize("point", SQLITE)
@settings(max_examples=2)
@given(more=secrets)
def test_a_refusal_of_sqlite_holds_no_value(on_sqlite: Host, point: str, more: str) -> None:
    secret = f"{MARK}{more}"
    quoted = "'" + secret.replace("'", "''") + "'"
    allow(on_sqlite)
    refuse(on_sqlite, SQLITE[point].replace("{secret}", quoted))
    try:
        check(refused(on_sqlite, {"users": [user(secret)]}))
    finally:
        allow(on_sqlite)
    assert records_of(usual_registry(on_sqlite.engine))["users"] == []


@pytest.mark.parametrize(
    ("beginning", "words"),
    [
        ("INSERT INTO hexhub_backup_in_users", "was lost"),
        ("SAVEPOINT", "was lost"),
        ("CREATE TEMPORARY TABLE", "was lost"),
        ("LOCK TABLE", "was lost"),
        ("INSERT INTO users", "was lost"),
        ("COMMIT", "was lost"),
    ],
)
def test_a_lost_connection_is_named_wherever_it_is_lost(
    on_postgresql: Host, postgresql: Server, beginning: str, words: str
) -> None:
    ended: list[str] = []

    def end(connection: sa.Connection, _: Any, statement: str, *more: Any) -> None:
        if statement.lstrip().startswith(beginning) and not ended:
            ended.append(statement)
            postgresql.disconnect(name_of(str(on_postgresql.address)))

    def at_commit(connection: sa.Connection) -> None:
        # The decision's: it is the one that has written.
        if beginning == "COMMIT" and wrote and not ended:
            ended.append("COMMIT")
            postgresql.disconnect(name_of(str(on_postgresql.address)))

    def write(connection: sa.Connection, _: Any, statement: str, *more: Any) -> None:
        if statement.startswith("INSERT INTO users"):
            wrote.append(statement)

    wrote: list[str] = []
    listeners: dict[str, Any] = {
        "before_cursor_execute": end,
        "after_cursor_execute": write,
        "commit": at_commit,
    }
    for name, listener in listeners.items():
        sa.event.listen(on_postgresql.engine, name, listener)
    try:
        text = refused(on_postgresql, {"users": [user(f"{MARK}!")]})
    finally:
        for name, listener in listeners.items():
            sa.event.remove(on_postgresql.engine, name, listener)
    assert ended
    assert words in text
    check(text)
    assert records_of(usual_registry(on_postgresql.engine))["users"] == []


@pytest.mark.sample
def test_a_connection_that_is_lost_while_a_backup_reads(
    on_postgresql: Host, postgresql: Server
) -> None:
    registry = usual_registry(on_postgresql.engine)
    restore(registry, {"users": [user(f"{MARK}!")]})

    def read() -> None:
        with registry.snapshot() as snapshot:
            assert snapshot.count(USERS) == 1
            postgresql.disconnect(name_of(str(on_postgresql.address)))
            list(snapshot.keys(USERS))

    try:
        with pytest.raises(DatabaseError, match="was lost") as caught:
            read()
        check(told(caught.value))
        assert len(records_of(registry)["users"]) == 1
    finally:
        on_postgresql.say("DELETE FROM users")


def test_a_lock_that_does_not_come_is_named(
    on_postgresql: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "LOCK_TIMEOUT", 50)
    assert isinstance(on_postgresql.address, str)
    with psycopg.connect(on_postgresql.address) as holder:
        holder.execute("LOCK TABLE users")
        text = refused(on_postgresql, {"users": [user(f"{MARK}!")]})
        holder.rollback()
    assert "kept the tables locked for 0.05 seconds" in text
    assert "pg_stat_activity" in text
    check(text)


def test_a_text_that_is_not_utf_8_is_not_shown(on_sqlite: Host) -> None:
    value = MARK.encode().hex()
    on_sqlite.say(
        "INSERT INTO users (username, password_hash, is_admin, totp_enabled, inserted_at, "
        f"updated_at, token) VALUES ('ann', CAST(x'ff{value}' AS TEXT), 0, 0, "
        "'2026-01-01 00:00:00', '2026-01-01 00:00:00', 't')"
    )
    try:
        with pytest.raises(BackupError) as caught:
            records_of(usual_registry(on_sqlite.engine))
        check(told(caught.value))
    finally:
        on_sqlite.say("DELETE FROM users")


def test_a_traceback_for_the_log_has_no_messages() -> None:
    def raise_it() -> None:
        try:
            int(MARK)
        except ValueError as error:
            raise RuntimeError(f"more of {MARK}") from error

    try:
        raise_it()
    except RuntimeError as error:
        hidden = without_messages(error)
        assert hidden is not None
        text = "".join(traceback.format_exception(hidden))
    assert MARK not in text
    assert "ValueError" in text
    assert "in raise_it" in text


def test_echo_shows_no_parameters_of_ours(
    on_postgresql: Host, caplog: pytest.LogCaptureFixture
) -> None:
    on_postgresql.engine.echo = True
    try:
        restore(usual_registry(on_postgresql.engine), {"users": [user(f"{MARK}!")]})
        records_of(usual_registry(on_postgresql.engine))
    finally:
        on_postgresql.engine.echo = False
        on_postgresql.say("DELETE FROM users")
    assert "INSERT INTO users" in caplog.text
    check(caplog.text)


@pytest.mark.parametrize("timeout", [0, 20])
def test_a_locked_sqlite_says_who_may_hold_it_after_one_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, timeout: int
) -> None:
    """Whatever the host would wait: for a read, and for a write."""
    monkeypatch.setattr(base, "LOCK_TIMEOUT", 200)
    path = tmp_path / "host.db"
    engine_of(path, Base.metadata).dispose()
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": timeout})
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = []
        with pytest.raises(DatabaseError) as reading:
            records_of(usual_registry(engine))
        said.append(str(reading.value))
        with (
            pytest.raises(DatabaseError) as staging,
            connected(engine) as connection,
            transaction(connection, "writing"),
        ):
            pass
        said.append(str(staging.value))
    other.close()
    for text in said:
        assert "has been kept locked for 0.2 seconds" in text
        assert "another process of the app, a backup tool, or a database browser" in text
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    assert kept == timeout * 1000
    engine.dispose()


#: Of Python 3.12 and newer: a connection that is always in a transaction.
_MODES: list[dict[str, Any]] = [
    {},
    {"isolation_level": None},
    *([{"autocommit": mode} for mode in (True, False)] if sys.version_info >= (3, 12) else []),
]


@pytest.mark.parametrize("mode", _MODES, ids=str)
def test_a_restore_and_its_tables_do_in_each_mode_of_sqlites_driver(
    tmp_path: Path, mode: dict[str, Any]
) -> None:
    path = tmp_path / "host.db"
    engine_of(path, Base.metadata).dispose()
    engine = sa.create_engine(f"sqlite:///{path}", connect_args=mode)
    Catalog(lambda: engine).create_tables()
    restore(usual_registry(engine), {"packages": [{"name": "a"}]})
    assert [each["name"] for each in records_of(usual_registry(engine))["packages"]] == ["a"]
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM packages")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM packages").scalar_one() == 0
    engine.dispose()
