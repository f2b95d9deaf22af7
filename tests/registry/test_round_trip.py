"""What is read from a host and written to an empty one of the same shape reads the same."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from hexhub_backup.archive.records import OWNERS, PACKAGES, RELEASES, USERS
from hexhub_backup.errors import RecordError
from tests.support.registries import (
    Account,
    Base,
    Level,
    NewEngine,
    Odd,
    Owner,
    Package,
    Project,
    Release,
    User,
    engine_of,
    holders,
    odd_registry,
    records_of,
    restore,
    rows_of,
    usual_registry,
    versions,
)


def fill_usual(engine: sa.Engine) -> None:
    with Session(engine) as session, session.begin():
        ann, bob = User(username="ann", email="a@x"), User(username="Bob", is_admin=True)
        jason = Package(name="jason", meta={"description": "ünïcode", "n": [1, 2.5, None]})
        cached = Package(name="cached", source="cached")
        session.add_all([ann, bob, jason, cached])
        session.flush()
        session.add_all(
            [
                Release(package=jason, version="1.0.0", retired={"reason": "security"}),
                Release(package=jason, version="1.0.0+b", retired=False, has_docs=True),
                Release(package=cached, version="0.1.0"),
                Owner(package_id=jason.id, user_id=ann.id, level="full"),
                Owner(package_id=cached.id, user_id=bob.id),
            ]
        )


def fill_odd(engine: sa.Engine) -> None:
    with Session(engine) as session, session.begin():
        ann = Account(
            uid=uuid.UUID(int=7),
            login="ann",
            since=dt.datetime(2026, 7, 1, 12, 0, 0, 5),  # noqa: DTZ001
            born=dt.date(1990, 2, 28),
            wakes=dt.time(6, 30),
            balance=decimal.Decimal("1.10"),
            avatar=b"\x00\xff",
            weight=71.5,
            tags="a,b",
        )
        gone = Account(uid=uuid.UUID(int=8), login="gone", shown=False, since=ann.since)
        session.add_all([ann, gone])
        session.flush()
        session.add_all(
            [
                Project(slug="p", meta={"x": True}, creator="ann", creator_uid=ann.uid),
                Project(slug="q", meta=None),
            ]
        )
        session.flush()
        session.execute(versions.insert(), {"project": "p", "number": "1", "tenant": "acme"})
        for account in ("ann", "gone", "nobody"):
            session.execute(
                holders.insert(), {"project": "p", "account": account, "level": Level.FULL}
            )


@pytest.mark.sample
def test_usual_host_comes_back_as_it_was(new_engine: NewEngine) -> None:
    one = new_engine(Base.metadata)
    two = new_engine(Base.metadata, "journal_mode = WAL")
    fill_usual(one)
    records = records_of(usual_registry(one))

    assert [each["name"] for each in records["packages"]] == ["jason"]
    assert [each["version"] for each in records["releases"]] == ["1.0.0", "1.0.0+b"]
    assert records["releases"][0]["package_name"] == "jason"
    assert records["releases"][0]["inserted_at"] == "2026-01-31T10:30:00.123456Z"
    assert records["owners"] == [{"package_name": "jason", "username": "ann", "level": "full"}]
    assert "totp_secret" not in records["users"][0]
    assert "id" not in records["users"][0]

    restore(usual_registry(two), records, protected=True)
    assert records_of(usual_registry(two)) == records


@pytest.mark.sample
def test_odd_host_comes_back_as_it_was(new_engine: NewEngine) -> None:
    one = new_engine(Odd.metadata)
    two = new_engine(Odd.metadata)
    fill_odd(one)
    records = records_of(odd_registry(one))

    assert records["users"] == [
        {
            "username": "ann",
            "inserted_at": "2026-07-01T10:00:00.000005Z",
            "uid": "00000000-0000-0000-0000-000000000007",
            "born": "1990-02-28",
            "wakes": "06:30:00",
            "balance": "1.10",
            "avatar": {"$bytes": "AP8="},
            "weight": 71.5,
            "tags": ["a", "b"],
        }
    ]
    assert records["packages"][0]["creator_name"] == "ann"
    # A natural key without foreign key: hidden with its parent, but not without one.
    assert [each["username"] for each in records["owners"]] == ["ann", "nobody"]
    assert records["owners"][0]["level"] == "FULL"

    records["owners"].pop()
    restore(odd_registry(two), records)
    assert records_of(odd_registry(two)) == records
    with two.connect() as connection:
        assert connection.execute(sa.select(versions.c.tenant)).scalars().all() == ["acme"]
        # JSON null where the column is nullable is SQL's, and JSON's where it is not.
        assert connection.exec_driver_sql("SELECT count(*) FROM versions WHERE retired IS NULL")
        kept = connection.exec_driver_sql(
            "SELECT CAST(meta AS char(9)) FROM projects WHERE slug = 'q'"
        )
        assert kept.scalar_one().rstrip() == "null"


def test_null_in_a_json_column_becomes_null(new_engine: NewEngine) -> None:
    engine = new_engine(Base.metadata)
    package = {"name": "p", "meta": None, "source": "local"}
    release = {"package_name": "p", "version": "1", "retired": None}
    restore(usual_registry(engine), {"packages": [package], "releases": [release]})
    with engine.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT p.meta IS NULL, r.retired IS NULL FROM packages p, releases r"
        ).one()
    assert tuple(found) == (1, 1)


def test_a_stored_value_that_does_not_fit_is_named(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata)
    fill_usual(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET inserted_at = 'soon' WHERE username = 'Bob'")
    with pytest.raises(RecordError, match=r"user Bob.*inserted_at.*correct the row"):
        records_of(usual_registry(engine))


def test_a_value_of_another_type_names_the_pair_as_the_fix(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata)
    fill_usual(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET email = x'ff' WHERE username = 'ann'")
    with pytest.raises(RecordError, match=r"user ann.*email.*type bytes.*encode=…"):
        records_of(usual_registry(engine))


@pytest.mark.parametrize("pragma", ["journal_mode = WAL", "journal_mode = DELETE"])
def test_a_snapshot_sees_one_moment(tmp_path: Path, pragma: str) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata, pragma, "busy_timeout = 0")
    fill_usual(engine)
    registry = usual_registry(engine)

    def write() -> None:
        with Session(engine) as session, session.begin():
            session.add(Package(name="late"))

    with registry.snapshot() as snapshot:
        users = list(rows_of(snapshot, USERS))
        if "WAL" in pragma:
            write()
        else:
            with pytest.raises(sa.exc.OperationalError, match="locked"):
                write()
        assert snapshot.count(PACKAGES) == 1
        assert [key for kind in (RELEASES, OWNERS) for key in snapshot.keys(kind)]
    if "WAL" not in pragma:
        write()
    assert len(users) == 2
    assert len(records_of(registry)["packages"]) == 2


def test_a_host_that_begins_transactions_itself(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata)
    fill_usual(engine)

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()
    registry = usual_registry(engine)
    records = records_of(registry)
    restore(registry, {"packages": [{"name": "new", "source": "local"}]})
    assert len(records_of(registry)["packages"]) == len(records["packages"]) + 1
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.isolation_level is None
