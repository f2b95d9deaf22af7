"""What only PostgreSQL has: its types, collations and locks, and that it can go away."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import CITEXT, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from hexhub_backup.archive.records import KINDS, PACKAGES, USERS, Record
from hexhub_backup.databases import base
from hexhub_backup.errors import DatabaseError
from hexhub_backup.registry.mapping.model_map import ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.postgres import Server
from tests.support.registries import (
    Base,
    Package,
    User,
    compare,
    overwrites,
    postgresql_engine,
    records_of,
    restore,
    rows_of,
    usual_registry,
)

pytestmark = pytest.mark.sample

ANN: Record = {"username": "ann", "email": "ann@x"}


class Rich(DeclarativeBase):
    """The types that hosts on PostgreSQL like, in a schema of their own."""

    metadata = sa.MetaData(schema="hex")


class Level(enum.Enum):
    FULL = "full"
    LIMITED = "limited"


class Account(Rich):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    username: Mapped[str] = mapped_column(CITEXT, unique=True)
    email: Mapped[str] = mapped_column(
        sa.String(80, collation="nowhere").with_variant(
            sa.String(20, collation="folded"), "postgresql"
        ),
        unique=True,
    )
    inserted_at: Mapped[dt.datetime] = mapped_column(sa.DateTime(timezone=True))


class Project(Rich):
    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(sa.Integer, sa.Sequence("project_ids"), primary_key=True)
    name: Mapped[uuid.UUID] = mapped_column(unique=True)
    meta: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Version(Rich):
    __tablename__ = "versions"
    __table_args__ = (sa.UniqueConstraint("project_id", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(sa.ForeignKey(Project.id))
    version: Mapped[str] = mapped_column(sa.Text(collation="folded"))
    requirements: Mapped[dict[str, Any]] = mapped_column(sa.JSON)


class Holder(Rich):
    __tablename__ = "holders"
    project_id: Mapped[int] = mapped_column(sa.ForeignKey(Project.id), primary_key=True)
    account_id: Mapped[int] = mapped_column(sa.ForeignKey(Account.id), primary_key=True)
    level: Mapped[Level]
    account: Mapped[Account] = relationship()


def rich_registry(engine: sa.Engine) -> SQLAlchemyRegistry:
    return SQLAlchemyRegistry(
        engine,
        users=ModelMap(Account),
        packages=ModelMap(Project),
        releases=ModelMap(Version),
        owners=ModelMap(Holder),
    )


@pytest.fixture
def rich(postgresql: Server) -> Iterator[sa.Engine]:
    engine = sa.create_engine(postgresql.create())
    with engine.begin() as connection:
        for sql in (
            "CREATE EXTENSION citext",
            "CREATE SCHEMA hex",
            "CREATE COLLATION folded "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        ):
            connection.exec_driver_sql(sql)
    Rich.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def usual(postgresql: Server) -> Iterator[sa.Engine]:
    engine = postgresql_engine(postgresql.create(), Base.metadata)
    yield engine
    engine.dispose()


def rich_records() -> dict[str, list[Record]]:
    first, second = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    time = "2026-01-31T10:30:00.123456Z"
    return {
        "users": [
            {"username": name, "email": f"{name}@x", "inserted_at": time}
            for name in ("Zoe", "ann", "Élan")
        ],
        "packages": [
            {"name": first, "meta": {"b": [1, 2.5, None], "a": "é"}},
            {"name": second, "meta": {}},
        ],
        "releases": [
            {"package_name": first, "version": each, "requirements": {"z": 1, "a": {}}}
            for each in ("1.0.0", "1.0.0-RC")
        ],
        "owners": [{"package_name": first, "username": "ann", "level": "FULL"}],
    }


def test_the_types_of_postgresql_come_back_in_byte_order(rich: sa.Engine) -> None:
    records = rich_records()
    restore(rich_registry(rich), records)
    assert records_of(rich_registry(rich)) == records
    found = compare(rich_registry(rich), records)
    assert {each.state for kind in KINDS for each in found[kind.name]} == {"unchanged"}


def test_keys_and_unique_columns_are_compared_as_the_database_does(rich: sa.Engine) -> None:
    registry, records = rich_registry(rich), rich_records()
    restore(registry, records)
    ann, release = records["users"][1], records["releases"][1]
    found = compare(
        registry,
        {
            "users": [
                ann | {"username": "ANN"},
                ann | {"username": "bob", "email": "ZOE@X"},
                ann | {"username": "eve", "email": "same@x"},
                ann | {"username": "mal", "email": "SAME@x"},
                ann | {"username": "tom", "email": "t" * 21},
            ],
            "releases": [release | {"version": "1.0.0-rc"}],
            "owners": [records["owners"][0] | {"username": "Ann"}],
        },
    )
    states = [each.state for each in found["users"]]
    assert states == ["unchanged", "blocked", "blocked", "blocked", "blocked"]
    reasons = [str(each.reason) for each in found["users"]]
    assert "user Zoe of the registry has the same email" in reasons[1]
    assert "it has the same email as user mal" in reasons[2]
    assert "has 21 characters, and the column holds 20" in reasons[4]
    assert found["releases"][0].state == found["owners"][0].state == "unchanged"


def test_ids_go_on_after_a_restore(rich: sa.Engine) -> None:
    restore(rich_registry(rich), rich_records())
    with Session(rich) as session, session.begin():
        session.add(
            Account(username="new", email="new@x", inserted_at=dt.datetime.now(dt.timezone.utc))
        )
        session.add(Project(name=uuid.UUID(int=3), meta={}))
        session.flush()
        project = session.scalar(sa.select(Project).where(Project.name == uuid.UUID(int=3)))
        assert project is not None
        session.add(Version(project_id=project.id, version="1", requirements={}))


def test_a_time_that_python_does_not_have_is_refused_with_its_kind(rich: sa.Engine) -> None:
    restore(rich_registry(rich), rich_records())
    with rich.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE hex.accounts SET inserted_at = 'infinity' WHERE username = 'ann'"
        )
    with pytest.raises(Exception, match=r"ann.*inserted_at.*correct the row"):
        records_of(rich_registry(rich))


def test_a_snapshot_sees_one_moment_and_streams(usual: sa.Engine) -> None:
    registry = usual_registry(usual)
    restore(registry, {"packages": [{"name": f"p{n:04}"} for n in range(2500)]})
    with registry.snapshot() as snapshot:
        records = rows_of(snapshot, PACKAGES)
        next(records)
        with usual.connect() as connection:
            last = "SELECT query FROM pg_stat_activity WHERE state = 'idle in transaction'"
            assert "FETCH FORWARD" in str(connection.exec_driver_sql(last).scalar_one())
        with Session(usual) as session, session.begin():
            session.add(Package(name="late"))
        assert sum(1 for _ in records) == 2499
        assert snapshot.count(PACKAGES) == 2500
        next(snapshot.keys(PACKAGES))
    assert len(records_of(registry)["packages"]) == 2501


def test_nobody_else_writes_during_a_decision_and_everybody_reads(usual: sa.Engine) -> None:
    other = sa.create_engine(usual.url, connect_args={"options": "-c lock_timeout=50"})

    def write() -> None:
        with other.begin() as connection:
            connection.exec_driver_sql("UPDATE packages SET downloads = 1")

    registry = usual_registry(usual)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        restoration.stage(USERS, [(1, ANN, "create")])
        write()
        with restoration.decision():
            restoration.write(USERS)
            with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
                write()
            with other.connect() as connection:
                count = connection.exec_driver_sql("SELECT count(*) FROM users").scalar_one()
                assert count == 0
    write()
    assert len(records_of(registry)["users"]) == 1
    other.dispose()


def test_a_decision_does_not_wait_for_ever(
    usual: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "LOCK_TIMEOUT", 50)
    with usual.begin() as connection:
        connection.exec_driver_sql("UPDATE packages SET downloads = 1")
        with pytest.raises(DatabaseError, match=r"kept the tables locked.*pg_stat_activity"):
            restore(usual_registry(usual), {"users": [ANN]})
    restore(usual_registry(usual), {"users": [ANN]})


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_decision_is_one_transaction_whatever_the_host_works_with(
    usual: sa.Engine, level: str
) -> None:
    host = sa.create_engine(usual.url, isolation_level=level)
    registry = usual_registry(host)
    before = records_of(registry)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        restoration.stage(USERS, [(1, ANN, "create")])
        with Session(usual) as session, session.begin():
            session.add(User(username="meanwhile"))
        with pytest.raises(KeyboardInterrupt), restoration.decision():  # noqa: PT012
            restoration.write(USERS)
            raise KeyboardInterrupt
        with restoration.decision():
            restoration.write(USERS)
    assert len(records_of(registry)["users"]) == len(before["users"]) + 2
    with host.connect() as connection:
        driver: Any = connection.connection.driver_connection
        assert driver.autocommit == (level == "AUTOCOMMIT")
        if not driver.autocommit:
            assert connection.get_isolation_level() == level
    host.dispose()


def test_a_connection_that_is_lost_ends_the_restore_and_not_the_next(
    usual: sa.Engine, postgresql: Server
) -> None:
    registry = usual_registry(usual)
    uri = str(usual.url)
    with (  # noqa: PT012
        pytest.raises(DatabaseError, match=r"was lost .*Start again when it is back"),
        registry.restoration(protected=False, actor=None, overwrite=False) as restoration,
    ):
        restoration.stage(USERS, [(1, ANN, "create")])
        with restoration.decision():
            restoration.write(USERS)
            assert postgresql.disconnect(uri)
    assert records_of(registry)["users"] == []
    assert postgresql.disconnect(uri)
    restore(registry, {"users": [ANN]}, overwrites)
    assert len(records_of(registry)["users"]) == 1
