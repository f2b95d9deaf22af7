"""What a restore finds out about each record, and what it writes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session

from hexhub_backup.archive.records import PACKAGES, RELEASES, USERS, Record
from hexhub_backup.errors import DatabaseError
from hexhub_backup.registry.mapping import Field
from tests.registry.hosts import (
    MOMENT,
    Base,
    NewEngine,
    Owner,
    Package,
    Release,
    User,
    compare,
    creates,
    engine_of,
    host_of,
    overwrites,
    records_of,
    restore,
    usual_registry,
)

TIME = "2026-01-01T00:00:00.000000Z"
USER, PACKAGE = Base.metadata.tables["users"], Base.metadata.tables["packages"]


@pytest.fixture
def engine(new_engine: NewEngine) -> sa.Engine:
    engine = new_engine(Base.metadata)
    with Session(engine) as session, session.begin():
        session.add_all(
            [
                User(username="ann", email="ann@x", token="t1"),
                User(username="bob", email="bob@x", token="t2", totp_enabled=True, totp_secret="S"),
                Package(name="jason", meta={"a": 1}),
                Package(name="cached", source="cached"),
            ]
        )
        session.flush()
        session.add_all(
            [
                Release(package_id=1, version="1.0.0", retired=False),
                Release(package_id=2, version="0.1.0"),
                Owner(package_id=1, user_id=1),
            ]
        )
    return engine


def user(name: str, **fields: Any) -> Record:
    return {
        "username": name,
        "email": f"{name}@x",
        "inserted_at": TIME,
        "updated_at": TIME,
    } | fields


def states(engine: sa.Engine, records: dict[str, list[Record]], **options: Any) -> list[str]:
    found = compare(usual_registry(engine), records, **options)
    return [each.state for kind in records for each in found[kind]]


def value(engine: sa.Engine, sql: str) -> Any:
    with engine.connect() as connection:
        return connection.exec_driver_sql(sql).scalar_one()


# --- states ------------------------------------------------------------------------------


def test_a_registry_is_unchanged_beside_its_own_records(engine: sa.Engine) -> None:
    records = records_of(usual_registry(engine))
    assert set(states(engine, records, protected=True)) == {"unchanged"}


def test_keys_are_matched_with_the_columns_collation(engine: sa.Engine) -> None:
    ann = records_of(usual_registry(engine))["users"][0] | {"username": "ANN"}
    (found,) = compare(usual_registry(engine), {"users": [ann]})["users"]
    assert (found.state, found.key) == ("unchanged", ("ANN",))
    restore(usual_registry(engine), {"users": [ann | {"email": "new@x"}]}, overwrites)
    assert value(engine, "SELECT username FROM users WHERE email = 'new@x'") == "ann"


def test_a_collation_that_only_the_database_knows_counts(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'host.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE packages (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE, "
            "meta JSON, private BOOLEAN DEFAULT 0, downloads INTEGER, source TEXT)"
        )
        connection.exec_driver_sql("INSERT INTO packages VALUES (1, 'Jason', '{}', 0, 0, 'local')")
    Base.metadata.create_all(engine)
    records: dict[str, list[Record]] = {
        "packages": [{"name": "JASON", "meta": {"new": 1}}],
        "releases": [{"package_name": "jason", "version": "1"}],
    }
    assert states(engine, records) == ["conflict", "create"]
    restore(usual_registry(engine), records, overwrites)
    found = records_of(usual_registry(engine))
    assert (found["packages"][0]["name"], found["packages"][0]["meta"]) == ("Jason", {"new": 1})
    assert found["releases"][0]["package_name"] == "Jason"


def test_a_conflict_names_the_fields_that_differ(engine: sa.Engine) -> None:
    records = records_of(usual_registry(engine))
    package = records["packages"][0] | {"meta": {"a": True}, "downloads": 99}
    release = records["releases"][0] | {"retired": None, "inserted_at": TIME}
    found = compare(usual_registry(engine), {"packages": [package], "releases": [release]})
    assert found["packages"][0].differs == ("meta",)
    assert found["releases"][0].differs == ("retired", "inserted_at")


def test_a_time_is_compared_as_an_instant(engine: sa.Engine) -> None:
    release = records_of(usual_registry(engine))["releases"][0]
    assert release["inserted_at"] == "2026-01-31T10:30:00.123456Z"
    release["inserted_at"] = "2026-01-31T12:30:00.123456+02:00"
    assert states(engine, {"releases": [release]}) == ["unchanged"]


def test_a_field_that_is_not_in_the_record_is_not_compared(engine: sa.Engine) -> None:
    assert states(engine, {"packages": [{"name": "jason"}]}) == ["unchanged"]


def test_a_hidden_row_is_a_conflict(engine: sa.Engine) -> None:
    records = {
        "packages": [{"name": "cached", "source": "cached"}],
        "releases": [{"package_name": "cached", "version": "0.1.0"}],
    }
    found = compare(usual_registry(engine), records, overwrite=True)
    assert [(each.state, each.hidden, each.differs) for each in found["packages"]] == [
        ("conflict", True, ())
    ]
    assert found["releases"][0].hidden
    hidden = restore(usual_registry(engine), records, overwrites)
    assert hidden == [(PACKAGES, ("cached",)), (RELEASES, ("cached", "0.1.0"))]

    records["packages"][0]["source"] = "local"
    assert restore(usual_registry(engine), records, overwrites) == []


# --- blocked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        (
            {"users": [user("eve", email="ann@x")]},
            "user ann of the registry has the same email",
        ),
        (
            {"users": [user("eve", email="same@x"), user("mal", email="same@x")]},
            "it has the same email as user mal of the archive",
        ),
        ({"users": [user("eve"), user("EVE", email="2@x")]}, "to the database it is user EVE"),
        ({"users": [user("eve", username=7, password_hash=5)]}, "its username is not a text"),
        ({"users": [user("eve", inserted_at=None)]}, "its inserted_at is null"),
        ({"users": [user("eve", inserted_at="soon")]}, "its inserted_at is not a time"),
        (
            {"users": [user("eve", password_hash="scrypt:1048576:15:1$salt$00")]},
            "its password_hash is malformed, or would cost too much",
        ),
        (
            {"releases": [{"package_name": "nowhere", "version": "1"}]},
            "its package nowhere is neither in the registry nor in what is restored",
        ),
        (
            {"releases": [{"package_name": "cached", "version": "9"}]},
            "its package cached is in the registry, but the host hides it",
        ),
        (
            {"owners": [{"package_name": "jason", "username": "nobody"}]},
            "its user nobody is neither in the registry nor in what is restored",
        ),
    ],
)
def test_what_can_not_be_written_is_blocked(
    engine: sa.Engine, records: dict[str, list[Record]], reason: str
) -> None:
    before = records_of(usual_registry(engine))
    found = compare(usual_registry(engine), records)
    (kind,) = records
    assert {each.state for each in found[kind]} == {"blocked"}
    assert reason in str(found[kind][0].reason)
    restore(usual_registry(engine), records)
    assert records_of(usual_registry(engine)) == before


def test_a_value_that_the_database_refuses_blocks_its_own_record_only(
    new_engine: NewEngine,
) -> None:
    class Bare(DeclarativeBase):
        pass

    odd = Field("nick", encode=str, decode=lambda text: object() if text == "odd" else text)
    column = sa.Column("nick", sa.String)
    _, registry = host_of(new_engine, Bare, column, fields={"nick": odd}, extra=["nick"])
    users = [{"username": name, "nick": name} for name in ("ann", "odd", "zoe")]
    found = compare(registry, {"users": users})["users"]
    assert [each.state for each in found] == ["create", "blocked", "create"]
    assert "the database refuses its nick: correct it" in str(found[1].reason)
    restore(registry, {"users": users})
    assert [each["username"] for each in records_of(registry)["users"]] == ["ann", "zoe"]


def test_what_belongs_to_a_record_that_the_database_refuses_is_told_so(
    new_engine: NewEngine,
) -> None:
    class Bare(DeclarativeBase):
        pass

    odd = Field("nick", encode=str, decode=lambda text: object() if text == "odd" else text)
    extra = [sa.Column("nick", sa.String), sa.Column("age", sa.Integer)]
    _, registry = host_of(
        new_engine, Bare, *extra, fields={"nick": odd}, extra=["nick", "age"], protected=["nick"]
    )
    records: dict[str, list[Record]] = {
        "users": [{"username": "ann", "nick": "odd", "age": 7}],
        "packages": [{"name": "jason"}],
        "owners": [{"package_name": "jason", "username": "ann"}],
    }
    found = compare(registry, records, protected=True)
    assert "the database refuses its nick" in str(found["users"][0].reason)
    assert "its user ann is blocked itself" in str(found["owners"][0].reason)

    # What is not granted does not come in, and so is in nobody's way; the rest is compared.
    restore(registry, records)
    assert records_of(registry)["users"] == [{"username": "ann", "nick": None, "age": 7}]
    records["users"][0]["age"] = 8
    assert compare(registry, records)["users"][0].differs == ("age",)


@pytest.mark.parametrize(
    ("default", "on_create", "reason"),
    [
        (
            object,
            None,
            "the default of column x gives a value that the database refuses: correct the default",
        ),
        (
            None,
            {"x": object},
            "what on_create= says for column x gives a value that the database refuses: correct it",
        ),
        (
            None,
            {"x": lambda: 1 // 0},
            "what on_create= says for column x raised ZeroDivisionError: correct it there",
        ),
    ],
)
def test_a_value_for_new_rows_that_does_not_work_blocks_only_them(
    new_engine: NewEngine, default: Any, on_create: Any, reason: str
) -> None:
    class Bare(DeclarativeBase):
        pass

    column, nick = sa.Column("x", sa.String, default=default), sa.Column("nick", sa.String)
    engine, registry = host_of(new_engine, Bare, column, nick, extra=["nick"], on_create=on_create)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO u (username) VALUES ('ann')")
    users: list[Record] = [{"username": "ann", "nick": "a"}, {"username": "bob", "nick": "b"}]
    found = compare(registry, {"users": users})["users"]
    assert [each.state for each in found] == ["conflict", "blocked"]
    assert reason in str(found[1].reason)
    restore(registry, {"users": users}, overwrites)
    assert records_of(registry)["users"] == [{"username": "ann", "nick": "a"}]


def test_a_secret_is_not_in_the_reason(engine: sa.Engine) -> None:
    secret = "pbkdf2:md4000$salt$secret"
    (found,) = compare(usual_registry(engine), {"users": [user("eve", password_hash=secret)]})[
        "users"
    ]
    assert found.state == "blocked"
    assert "secret" not in str(found.reason)


def test_what_is_blocked_takes_its_children_with_it(engine: sa.Engine) -> None:
    records = {
        "packages": [{"name": "new", "downloads": "many"}],
        "releases": [{"package_name": "new", "version": "1"}],
    }
    found = compare(usual_registry(engine), records)
    assert "its package new is blocked itself" in str(found["releases"][0].reason)


def test_a_field_that_a_new_row_needs_is_only_missed_on_create(new_engine: NewEngine) -> None:
    class Bare(DeclarativeBase):
        pass

    engine, registry = host_of(
        new_engine, Bare, sa.Column("email", sa.String, nullable=False, unique=True)
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = compare(registry, {"users": [{"username": "ann"}, {"username": "bob"}]})["users"]
    assert [each.state for each in found] == ["unchanged", "blocked"]
    assert "it has no email" in str(found[1].reason)
    assert 'or give it a value, on_create={"email": …}' in str(found[1].reason)
    assert value(engine, "SELECT count(*) FROM u") == 1


def test_a_conditional_unique_index_counts_where_its_condition_holds(
    new_engine: NewEngine,
) -> None:
    class Bare(DeclarativeBase):
        pass

    email, live = sa.Column("email", sa.String), sa.Column("live", sa.Boolean)
    index = sa.Index(
        "live_email", sa.func.lower(email), unique=True, sqlite_where=live, postgresql_where=live
    )
    _, registry = host_of(new_engine, Bare, email, live, index, extra=["live"])
    restore(registry, {"users": [{"username": "ann", "email": "A@x", "live": True}]})
    found = compare(
        registry,
        {
            "users": [
                {"username": "bob", "email": "a@X", "live": True},
                {"username": "eve", "email": "a@x", "live": False},
            ]
        },
    )["users"]
    assert [each.state for each in found] == ["blocked", "create"]
    assert "user ann of the registry has the same email" in str(found[0].reason)


# --- users -------------------------------------------------------------------------------


def test_a_second_factor_never_comes_from_an_archive(engine: sa.Engine) -> None:
    archived = [
        user("ann", totp_enabled=True, inserted_at="2026-01-31T10:30:00.123456Z"),
        user("bob", totp_enabled=False, inserted_at="2026-01-31T10:30:00.123456Z"),
        user("eve", totp_enabled=True),
    ]
    found = compare(usual_registry(engine), {"users": archived})["users"]
    assert [(each.state, each.totp_dropped) for each in found] == [
        ("unchanged", True),
        ("unchanged", False),
        ("create", True),
    ]
    archived[1]["email"] = "new@x"
    restore(usual_registry(engine), {"users": archived}, overwrites)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT username, totp_enabled FROM users ORDER BY 1")
        assert [tuple(row) for row in rows] == [("ann", 0), ("bob", 1), ("eve", 0)]


def test_an_account_without_secret_is_never_left_with_a_factor(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE users SET totp_enabled = true, totp_secret = ''")
    ann = records_of(usual_registry(engine))["users"][0]
    (found,) = compare(usual_registry(engine), {"users": [ann]})["users"]
    assert (found.differs, found.totp_dropped) == (("totp_enabled",), True)
    restore(usual_registry(engine), {"users": [ann]}, overwrites)
    assert value(engine, "SELECT totp_enabled FROM users WHERE username = 'ann'") == 0


def test_protected_columns_come_in_only_when_granted(engine: sa.Engine) -> None:
    registry = usual_registry(engine)
    ann = records_of(registry)["users"][0] | {"is_admin": True}
    archived = {"users": [ann, user("eve", is_admin=True)]}
    found = compare(registry, archived)["users"]
    assert [each.state for each in found] == ["unchanged", "create"]
    assert [each.protected for each in found] == [("is_admin",)] * 2
    restore(registry, archived, overwrites)
    assert value(engine, "SELECT count(*) FROM users WHERE is_admin") == 0

    found = compare(registry, archived, protected=True)["users"]
    assert [each.differs for each in found] == [("is_admin",)] * 2
    restore(registry, archived, overwrites, protected=True)
    assert value(engine, "SELECT count(*) FROM users WHERE is_admin") == 2


def test_the_acting_admins_account_is_never_written(engine: sa.Engine) -> None:
    registry = usual_registry(engine)
    archived = {"users": [user("Ann", email="stolen@x")]}
    (found,) = compare(registry, archived, actor="ann")["users"]
    assert (found.state, found.own) == ("conflict", True)
    with registry.restoration(protected=True, actor="ann", overwrite=True) as restoration:
        restoration.stage(USERS, [(1, archived["users"][0], "overwrite")])
        with (
            restoration.decision(),
            pytest.raises(DatabaseError, match="Only 0 instead of 1 users could be written"),
        ):
            restoration.write(USERS)
    assert value(engine, "SELECT email FROM users WHERE username = 'ann'") == "ann@x"


def test_an_unknown_password_scheme_is_told(engine: sa.Engine) -> None:
    archived = [user("eve", password_hash="md5:0"), user("mal", password_hash=None)]
    found = compare(usual_registry(engine), {"users": archived})["users"]
    assert [each.unknown_password for each in found] == [True, False]


# --- writing -----------------------------------------------------------------------------


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


def test_skipping_leaves_conflicts_as_they_are(engine: sa.Engine) -> None:
    before = records_of(usual_registry(engine))
    restore(usual_registry(engine), {"users": [user("ann", email="n@x")]}, creates)
    assert records_of(usual_registry(engine)) == before


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
}


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


def test_an_exception_of_the_caller_rolls_back(engine: sa.Engine) -> None:
    registry = usual_registry(engine)
    before = records_of(registry)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        restoration.stage(USERS, [(1, user("eve"), "create")])
        with pytest.raises(KeyboardInterrupt), restoration.decision():  # noqa: PT012
            restoration.write(USERS)
            raise KeyboardInterrupt
    assert records_of(registry) == before


def test_a_row_that_came_meanwhile_is_seen_inside_the_decision(engine: sa.Engine) -> None:
    registry = usual_registry(engine)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        restoration.stage(USERS, [(1, user("eve"), "create")])
        assert [each.state for each in restoration.compare(USERS)] == ["create"]
        with Session(engine) as session, session.begin():
            session.add(User(username="Eve", token="t9"))
        with restoration.decision():
            assert [each.state for each in restoration.compare(USERS)] == ["conflict"]
            with pytest.raises(DatabaseError, match="nothing was changed"):
                restoration.write(USERS)


def test_nobody_else_writes_during_a_decision_and_everybody_does_before(tmp_path: Path) -> None:
    engine = engine_of(tmp_path / "host.db", Base.metadata, "journal_mode = WAL")
    other = sa.create_engine(f"sqlite:///{tmp_path / 'host.db'}", connect_args={"timeout": 0})

    def write() -> None:
        with other.begin() as connection:
            connection.exec_driver_sql("UPDATE users SET is_admin = 0")

    registry = usual_registry(engine)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        restoration.stage(USERS, [(1, user("eve"), "create")])
        comparing = restoration.compare(USERS)
        next(comparing)
        write()
        with restoration.decision() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
            restoration.write(USERS)
            with pytest.raises(sa.exc.OperationalError, match="locked"):
                write()
    write()
    assert [each["username"] for each in records_of(registry)["users"]] == ["eve"]


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
    Base.metadata.create_all(engine)
    registry = usual_registry(engine)
    with Session(engine) as session:
        session.add(User(username="ann", inserted_at=dt.datetime(2026, 1, 1)))  # noqa: DTZ001
        session.flush()
        with pytest.raises(DatabaseError, match="commit or roll back first"):
            records_of(registry)
