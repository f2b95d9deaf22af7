"""What is MariaDB's own: who waits for a decision, how sessions are left, what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pymysql  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from hexhub_backup.archive.records import PACKAGES
from hexhub_backup.databases import base
from hexhub_backup.databases.connections import connected, decision, transaction
from hexhub_backup.databases.known import database_of
from hexhub_backup.errors import DatabaseError, MappingError
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.history.tables import operations
from hexhub_backup.operations.decisions import JournalEntry
from hexhub_backup.registry.comparing.staging import Staged
from tests.support.mariadb import Server
from tests.support.registries import (
    Base,
    NewEngine,
    compare,
    host_of,
    mariadb_engine,
    overwrites,
    records_of,
    restore,
    usual_registry,
)

pytestmark = pytest.mark.sample
_TIMED_OUT, _TWICE = 1205, 1062


@pytest.fixture
def uri(mariadb: Server) -> str:
    return mariadb.create()


@pytest.fixture
def engine(uri: str) -> Iterator[sa.Engine]:
    made = mariadb_engine(uri, Base.metadata)
    yield made
    made.dispose()


def said(mariadb: Server, uri: str, *statements: str) -> int | None:
    """The number of the error of what another session says, which waits for a second only."""
    try:
        patience = "SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1"
        mariadb.execute(patience, *statements, uri=uri)
    except pymysql.MySQLError as error:
        return int(error.args[0])
    return None


INSERT = "INSERT INTO packages (name, downloads, source) VALUES ('{}', 0, 'local')"


ROWS = ("b", "d")


@pytest.mark.parametrize(
    ("rows", "statement"),
    [
        ((), INSERT.format("a")),
        *((ROWS, INSERT.format(name)) for name in "ace"),
        (ROWS, "UPDATE packages SET downloads = 7 WHERE name = 'b'"),
        (ROWS, "DELETE FROM packages WHERE name = 'd'"),
        (ROWS, "ALTER TABLE packages ADD COLUMN more INTEGER"),
    ],
)
def test_others_write_only_after_a_decision_and_read_meanwhile(
    mariadb: Server, uri: str, engine: sa.Engine, rows: tuple[str, ...], statement: str
) -> None:
    mariadb.execute("SELECT 1", *map(INSERT.format, rows), uri=uri)
    tables = [Base.metadata.tables[name] for name in ("users", "packages", "releases")]
    with connected(engine) as connection, decision(connection, tables):
        assert said(mariadb, uri, statement) == _TIMED_OUT
        read = mariadb.execute("SELECT count(*) FROM packages", uri=uri)
        assert read == [(len(rows),)]
    assert said(mariadb, uri, statement) is None


def test_a_table_without_a_primary_key_is_locked_too(mariadb: Server, uri: str) -> None:
    engine = sa.create_engine(uri)
    metadata = sa.MetaData()
    table = sa.Table("t", metadata, sa.Column("a", sa.String(9)), sa.Column("b", sa.Integer))
    sa.Index("by_b", table.c.b)
    metadata.create_all(engine)
    mariadb.execute("INSERT INTO t VALUES ('x', 5)", uri=uri)
    with connected(engine) as connection, decision(connection, [table]):
        for statement in ("INSERT INTO t VALUES ('y', 1)", "UPDATE t SET a = 'z'", "DELETE FROM t"):
            assert said(mariadb, uri, statement) == _TIMED_OUT
    engine.dispose()


def test_a_decision_that_can_not_begin_names_the_lock(
    mariadb: Server, uri: str, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "LOCK_TIMEOUT", 1000)
    mariadb.execute(INSERT.format("a"), uri=uri)
    other = mariadb.connect(uri, autocommit=False)
    other.cursor().execute("UPDATE packages SET downloads = 1")
    with pytest.raises(DatabaseError, match=r"kept the tables locked for 1 seconds \(1205\)"):
        restore(usual_registry(engine), {"packages": [{"name": "b"}]})
    other.close()


def test_a_snapshot_sees_one_moment_and_can_not_write(
    mariadb: Server, uri: str, engine: sa.Engine
) -> None:
    registry = usual_registry(engine)
    with registry.snapshot() as snapshot:
        mariadb.execute(INSERT.format("later"), uri=uri)
        assert list(snapshot.keys(PACKAGES)) == []
        with pytest.raises(sa.exc.DBAPIError, match="READ ONLY"):
            snapshot._connection.exec_driver_sql(INSERT.format("never"))
    assert [each["name"] for each in records_of(registry)["packages"]] == ["later"]


SESSION = (
    "SELECT @@sql_mode, @@wait_timeout, @@innodb_lock_wait_timeout, @@autocommit, @@tx_isolation"
)


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_connection_is_given_back_as_it_was(uri: str, autocommit: bool) -> None:
    mode = "SET sql_mode = 'NO_BACKSLASH_ESCAPES', wait_timeout = 77"
    engine = sa.create_engine(
        uri,
        pool_size=1,
        max_overflow=0,
        connect_args={"autocommit": autocommit, "init_command": mode},
    )
    with engine.connect() as connection:
        before = connection.exec_driver_sql(SESSION).one()
        encoders = connection.connection.driver_connection.encoders  # type: ignore[union-attr]
    with connected(engine) as connection, transaction(connection):
        ours = connection.exec_driver_sql(SESSION).one()
        assert {"STRICT_ALL_TABLES", "NO_BACKSLASH_ESCAPES"} <= set(ours[0].split(","))
        assert ours[1] > 77
    with engine.connect() as connection:
        assert connection.exec_driver_sql(SESSION).one() == before
        driver: Any = connection.connection.driver_connection
        assert driver.encoders is encoders
    engine.dispose()


def test_times_of_whole_seconds_are_unchanged_after_a_restore(mariadb: Server) -> None:
    """A plain DATETIME drops microseconds, of what is compared too."""

    class Bare(DeclarativeBase):
        pass

    engines = []

    def new_engine(metadata: sa.MetaData) -> sa.Engine:
        engines.append(mariadb_engine(mariadb.create(), metadata))
        with engines[-1].begin() as connection:
            connection.exec_driver_sql("ALTER TABLE u MODIFY inserted_at datetime")
        return engines[-1]

    made: NewEngine = new_engine
    _, registry = host_of(made, Bare, sa.Column("inserted_at", sa.DateTime))
    users: dict[str, Any] = {
        "users": [{"username": "ann", "inserted_at": "2026-01-31T10:30:00.123456Z"}]
    }
    restore(registry, users)
    assert [each.state for each in compare(registry, users)["users"]] == ["unchanged"]
    assert records_of(registry)["users"][0]["inserted_at"] == "2026-01-31T10:30:00.000000Z"
    engines[0].dispose()


def test_an_id_that_is_zero_stays_so(mariadb: Server) -> None:
    class Bare(DeclarativeBase):
        pass

    engines = []

    def new_engine(metadata: sa.MetaData) -> sa.Engine:
        engines.append(mariadb_engine(mariadb.create(), metadata))
        with engines[-1].begin() as connection:
            connection.exec_driver_sql(
                "ALTER TABLE u MODIFY number integer NOT NULL AUTO_INCREMENT, ADD KEY (number)"
            )
        return engines[-1]

    _, registry = host_of(new_engine, Bare, sa.Column("number", sa.Integer), extra=["number"])
    users: dict[str, Any] = {"users": [{"username": "ann", "number": 0}]}
    restore(registry, users)
    assert records_of(registry)["users"] == users["users"]
    engines[0].dispose()


def test_a_text_is_never_cut_off(mariadb: Server, uri: str, engine: sa.Engine) -> None:
    """Whatever the host's own sessions let pass."""
    lax = sa.create_engine(uri, connect_args={"init_command": "SET sql_mode = ''"})
    mariadb.execute("ALTER TABLE users MODIFY email varchar(5)", uri=uri)
    users: dict[str, Any] = {"users": [{"username": "ann", "email": "ann@example.org"}]}
    found = compare(usual_registry(lax), users)["users"]
    assert [each.state for each in found] == ["blocked"]
    assert "the database refuses its email" in str(found[0].reason)
    lax.dispose()


def test_the_lock_is_of_one_database_and_dies_with_its_holder(mariadb: Server, uri: str) -> None:
    one, other = sa.create_engine(uri), sa.create_engine(mariadb.create())
    database = database_of(one)
    with connected(one) as holder, connected(one) as second, connected(other) as elsewhere:
        assert database.take_lock(holder, operations)
        assert not database.take_lock(second, operations)
        assert database.take_lock(elsewhere, operations)
        number = holder.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        mariadb.execute(f"KILL CONNECTION {number}")
        deadline = dt.datetime.now() + dt.timedelta(seconds=20)  # noqa: DTZ005
        while not database.take_lock(second, operations):
            assert dt.datetime.now() < deadline  # noqa: DTZ005
    one.dispose()
    other.dispose()


WITHOUT_TRANSACTIONS = ("DROP TABLE owners", "CREATE TABLE owners (id integer) ENGINE = MyISAM")


def test_a_table_without_transactions_is_refused(
    mariadb: Server, uri: str, engine: sa.Engine
) -> None:
    usual_registry(engine).check()
    mariadb.execute("SET foreign_key_checks = 0", *WITHOUT_TRANSACTIONS, uri=uri)
    with pytest.raises(MappingError, match=r"Table owners is one of MyISAM, .* ENGINE=InnoDB"):
        usual_registry(engine).check()


def test_a_server_that_is_too_old_is_refused(engine: sa.Engine) -> None:
    engine.connect().close()
    engine.dialect.server_version_info = (10, 5, 23)
    with pytest.raises(MappingError, match=r"MariaDB 10\.5, which is too old: use 10\.6 or newer"):
        usual_registry(engine).check()


def test_a_connection_that_can_not_say_every_text_is_refused(uri: str) -> None:
    engine = sa.create_engine(uri.replace("utf8mb4", "latin1"))
    with pytest.raises(MappingError, match=r"speak latin1, .* charset=utf8mb4"):
        usual_registry(engine).check()
    engine.dispose()


def test_a_server_that_is_down_is_looked_at_when_it_is_back(
    mariadb: Server, uri: str, engine: sa.Engine
) -> None:
    mariadb.execute("SET foreign_key_checks = 0", *WITHOUT_TRANSACTIONS, uri=uri)
    registry = usual_registry(engine)

    def fail(*_arguments: Any) -> None:
        raise engine.dialect.loaded_dbapi.OperationalError(2003, "no")

    engine.dispose()
    sa.event.listen(engine, "do_connect", fail)
    registry.check()
    sa.event.remove(engine, "do_connect", fail)
    with pytest.raises(MappingError, match="MyISAM"):
        registry.check()


def test_sequences_are_moved_on(mariadb: Server) -> None:
    class Bare(DeclarativeBase):
        pass

    engines = []

    def new_engine(metadata: sa.MetaData) -> sa.Engine:
        engines.append(mariadb_engine(mariadb.create(), metadata))
        with engines[-1].begin() as connection:
            connection.exec_driver_sql("CREATE SEQUENCE numbers")
            connection.exec_driver_sql("ALTER TABLE u MODIFY n integer DEFAULT nextval(numbers)")
        return engines[-1]

    engine, registry = host_of(new_engine, Bare, sa.Column("n", sa.Integer), extra=["n"])
    restore(registry, {"users": [{"username": "ann", "n": 41}]}, overwrites)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO u (username) VALUES ('bob')")
    assert [each["n"] for each in records_of(registry)["users"]] == [41, 42]
    engine.dispose()


def test_what_could_not_be_staged_is_in_nobodys_way(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB rolls back no temporary table, and the pool gives the connection to the next one."""
    engine = mariadb_engine(uri, Base.metadata, pool_size=1, max_overflow=0)
    registry, create = usual_registry(engine), Staged.create

    def fails(staged: Staged, connection: sa.Connection) -> None:
        create(staged, connection)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Staged, "create", fails)
        with pytest.raises(MemoryError):
            restore(registry, {"packages": [{"name": "a"}]})
    restore(registry, {"packages": [{"name": "a"}]})

    def entries(count: int) -> Iterator[tuple[int, JournalEntry]]:
        yield from ()
        if not count:
            raise MemoryError

    decisions = RunDecisions(lambda: engine, "a-token")
    with connected(engine) as connection:
        with pytest.raises(MemoryError), decisions.staged(connection, entries(0)):
            pass
        with decisions.staged(connection, entries(1)):
            pass
    engine.dispose()
