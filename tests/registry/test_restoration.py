"""What a restore finds out about each record, and what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from hexhub_backup.archive.records import PACKAGES, RELEASES, USERS, Record
from hexhub_backup.errors import DatabaseError
from hexhub_backup.registry.mapping.model_map import Field
from tests.support.registries import (
    TIME,
    Base,
    NewEngine,
    compare,
    create_tables,
    host_of,
    overwrites,
    records_of,
    restore,
    states,
    user,
    usual_registry,
    value,
)

USER, PACKAGE = Base.metadata.tables["users"], Base.metadata.tables["packages"]


# --- states ------------------------------------------------------------------------------


@pytest.mark.sample
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
    create_tables(engine, Base.metadata)
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


@pytest.mark.sample
def test_a_time_is_compared_as_an_instant(engine: sa.Engine) -> None:
    release = records_of(usual_registry(engine))["releases"][0]
    assert release["inserted_at"] == "2026-01-31T10:30:00.123456Z"
    release["inserted_at"] = "2026-01-31T12:30:00.123456+02:00"
    assert states(engine, {"releases": [release]}) == ["unchanged"]


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


@pytest.mark.sample
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
    assert "its user ann can't be restored" in str(found["owners"][0].reason)

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
    assert "its package new can't be restored" in str(found["releases"][0].reason)


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


@pytest.mark.gap(mariadb="no index over an expression, or of a part of the rows")
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


@pytest.mark.gap(mariadb="no index over an expression")
def test_an_index_over_what_no_record_has_counts_in_an_empty_table_too(
    new_engine: NewEngine,
) -> None:
    class Bare(DeclarativeBase):
        pass

    other = sa.Column("other", sa.String)
    index = sa.Index("one_without", sa.func.coalesce(other, "none"), unique=True)
    _, registry = host_of(new_engine, Bare, other, index)
    found = compare(registry, {"users": [{"username": "ann"}, {"username": "bob"}]})["users"]
    assert [each.state for each in found] == ["blocked", "blocked"]
    assert "one_without" in str(found[0].reason)


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
