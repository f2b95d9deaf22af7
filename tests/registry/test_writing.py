"""What a decision writes, and what it leaves behind."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session

from hexhub_backup.archive.records import Record
from hexhub_backup.errors import DatabaseError
from tests.support.registries import (
    MOMENT,
    Base,
    NewEngine,
    User,
    compare,
    create_tables,
    engine_of,
    host_of,
    overwrites,
    records_of,
    restore,
    user,
    usual_registry,
    value,
)

USER, PACKAGE = Base.metadata.tables["users"], Base.metadata.tables["packages"]


def test_overwriting_updates_the_row_in_place(engine: sa.Engine) -> None:
    package = {"name": "jason", "meta": {"b": 2}, "downloads": 5}
    restore(usual_registry(engine), {"packages": [package]}, overwrites)
    with engine.connect() as connection:
        row = connection.execute(sa.select(PACKAGE).where(PACKAGE.c.name == "jason")).one()
    assert (row.id, row.downloads, row.source, row.meta) == (1, 5, "local", {"b": 2})


def test_what_other_rows_point_at_is_written_once_and_never_again(
    new_engine: NewEngine,
) -> None:
    class Bare(DeclarativeBase):
        pass

    guid, nick = sa.Column("guid", sa.String, unique=True), sa.Column("nick", sa.String)
    sa.Table("tokens", Bare.metadata, sa.Column("of", sa.ForeignKey("u.guid")))
    engine, registry = host_of(new_engine, Bare, guid, nick, extra=["guid", "nick"])
    ann, bob = {"username": "ann", "guid": "g1"}, {"username": "bob", "guid": "g2"}
    restore(registry, {"users": [ann, bob]})
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO tokens VALUES ('g1')")

    # Elsewhere ann has another one, and it is what bob has here.
    archived: list[Record] = [ann | {"guid": "g2"}, bob | {"guid": "g3", "nick": "b"}]
    found = compare(registry, {"users": archived})["users"]
    assert [(each.state, each.differs) for each in found] == [
        ("unchanged", ()),
        ("conflict", ("nick",)),
    ]
    archived[0]["nick"] = "a"
    restore(registry, {"users": archived}, overwrites)
    assert records_of(registry)["users"] == [ann | {"nick": "a"}, bob | {"nick": "b"}]


def test_absent_fields_keep_their_value_or_get_the_default(engine: sa.Engine) -> None:
    registry = usual_registry(engine)
    archived = [{"username": "ann", "email": "new@x"}, {"username": "eve"}, {"username": "mal"}]
    restore(registry, {"users": archived}, overwrites)
    restore(registry, {"packages": [{"name": "new"}]})
    with engine.connect() as connection:
        others = sa.select(USER).where(USER.c.username != "bob").order_by(USER.c.id)
        ann, eve, mal = connection.execute(others).all()
        new = connection.execute(sa.select(PACKAGE).where(PACKAGE.c.name == "new")).one()
    assert (ann.id, ann.token, ann.email) == (1, "t1", "new@x")
    assert ann.updated_at == eve.inserted_at == MOMENT
    assert eve.token != mal.token
    assert (new.private, new.downloads, new.source) == (0, 0, "local")


def test_onupdate_of_the_host_does_not_fire(engine: sa.Engine) -> None:
    restore(usual_registry(engine), {"users": [user("ann", email="n@x")]}, overwrites)
    assert str(value(engine, "SELECT updated_at FROM users WHERE id = 1"))[:10] == "2026-01-01"


def test_a_new_package_brings_its_releases_and_owners(engine: sa.Engine) -> None:
    records = {
        "users": [user("eve")],
        "packages": [{"name": "new", "meta": {}}],
        "releases": [{"package_name": "new", "version": str(n)} for n in range(3)],
        "owners": [{"package_name": "new", "username": "EVE", "level": "full"}],
    }
    restore(usual_registry(engine), records)
    found = records_of(usual_registry(engine))
    assert [each["version"] for each in found["releases"]] == ["1.0.0", "0", "1", "2"]
    assert found["owners"][1] == {"package_name": "new", "username": "eve", "level": "full"}


def test_more_rows_than_one_batch(engine: sa.Engine) -> None:
    names = [f"p{n:05}" for n in range(2500)]
    packages: list[Record] = [
        {"name": name, "meta": None if n % 2 else {}} for n, name in enumerate(names)
    ]
    restore(usual_registry(engine), {"packages": packages})
    found = compare(usual_registry(engine), {"packages": packages})["packages"]
    assert [each.key for each in found] == [(name,) for name in names]
    assert {each.state for each in found} == {"unchanged"}


REFUSE = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE INSERT ON users WHEN new.username = 'mal' "
        "BEGIN SELECT RAISE(ABORT, 'no mal here'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''no mal here''; END'",
        "CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW "
        "WHEN (new.username = 'mal') EXECUTE FUNCTION refuse()",
    ],
    "mysql": [
        "CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW BEGIN "
        "IF new.username = 'mal' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no mal here'; "
        "END IF; END"
    ],
}


@pytest.mark.sample
def test_a_failing_decision_rolls_back_and_shows_no_secret(engine: sa.Engine) -> None:
    before = records_of(usual_registry(engine))
    with engine.begin() as connection:
        for sql in REFUSE[engine.dialect.name]:
            connection.exec_driver_sql(sql)
    archived = [user("eve", password_hash="$2b$12$" + "a" * 53), user("mal")]
    with pytest.raises(
        DatabaseError, match=r"nothing was changed: (a|the) .*(trigger|refused)"
    ) as caught:
        restore(usual_registry(engine), {"users": archived})
    assert "$2b$" not in str(caught.value)
    assert "no mal here" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert records_of(usual_registry(engine)) == before


def test_a_decision_is_on_the_disk_when_it_is_over(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata, "journal_mode = WAL")
    registry = usual_registry(engine)
    with (
        registry.restoration(protected=False, actor=None, overwrite=False) as restoration,
        restoration.decision() as connection,
    ):
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_pragmas_are_put_back_and_nothing_staged_is_left(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata)
    with engine.connect() as connection:
        before = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("synchronous", "busy_timeout", "foreign_keys")
        ]
    restore(usual_registry(engine), {"users": [user("eve")]})
    with engine.connect() as connection:
        after = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("synchronous", "busy_timeout", "foreign_keys")
        ]
        left = connection.exec_driver_sql("SELECT count(*) FROM sqlite_temp_master").scalar_one()
    assert (after, left) == (before, 0)


def test_a_shared_connection_in_a_transaction_is_refused(tmp_path: Path) -> None:
    """A thread has but one, and the host is in the middle of a transaction on it."""
    url = f"sqlite:///{tmp_path / 'host.db'}"
    engine = sa.create_engine(url, poolclass=sa.pool.SingletonThreadPool)
    create_tables(engine, Base.metadata)
    registry = usual_registry(engine)
    with Session(engine) as session:
        session.add(User(username="ann", inserted_at=dt.datetime(2026, 1, 1)))  # noqa: DTZ001
        session.flush()
        with pytest.raises(DatabaseError, match="commit or roll back first"):
            records_of(registry)
