"""What a protected right is: in columns of every sort, here, in a record and after a write."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Session

from hexhub_backup.archive.records import USERS, Record
from hexhub_backup.errors import RightsError
from tests.support.registries import (
    Base,
    NewEngine,
    User,
    compare,
    host_of,
    overwrites,
    restore,
    usual_registry,
)


@pytest.fixture
def engine(new_engine: NewEngine) -> sa.Engine:
    """A host with an admin called ann; usernames are compared without case."""
    engine = new_engine(Base.metadata)
    with Session(engine) as session, session.begin():
        session.add(User(username="ann", email="ann@x", is_admin=True))
    return engine


def role(*arguments: Any, **options: Any) -> sa.Column[Any]:
    return sa.Column("role", *arguments, **options)


class Role(enum.Enum):
    USER = "u"
    ADMIN = "a"


@pytest.mark.parametrize(
    ("column", "rights", "none"),
    [
        (partial(role, sa.Boolean), [True], [None, False]),
        (partial(role, sa.Boolean, server_default=sa.true()), [], [None, False, True]),
        (partial(role, sa.Integer), [1, 20, -1], [None, 0]),
        (partial(role, sa.Integer, default=10), [20], [None, 0, 10]),
        (partial(role, sa.String), ["admin", "user"], [None, ""]),
        (
            partial(role, sa.String, default="user"),
            ["admin", "banned"],
            [None, "", "user"],
        ),
        (partial(role, sa.String, server_default="user"), ["admin"], [None, "user"]),
        (
            partial(role, sa.String, server_default=sa.text("'user'")),
            ["admin"],
            ["user"],
        ),
        (partial(role, sa.Enum(Role), default=Role.USER), ["ADMIN"], [None, "USER"]),
        (
            partial(role, sa.JSON),
            [["admin"], {"all": True}, "x"],
            [None, [], {}, "", False],
        ),
        (partial(role, sa.JSON, default=["read"]), [["write"]], [["read"], []]),
        # A default that is made anew is no usual one.
        (partial(role, sa.String, default=lambda: "user"), ["user"], [None]),
    ],
)
def test_what_a_right_is(
    new_engine: NewEngine, column: Callable[[], sa.Column[Any]], rights: list[Any], none: list[Any]
) -> None:
    class Bare(DeclarativeBase):
        pass

    engine, registry = host_of(
        new_engine, Bare, column(), sa.Column("email", sa.String), protected=["role"]
    )
    values = [*rights, *none]
    names = [f"u{number}" for number in range(len(values))]
    records: list[Record] = [
        {"username": name, "email": "old", "role": value}
        for name, value in zip(names, values, strict=True)
    ]
    expected = [True] * len(rights) + [False] * len(none)
    found = compare(registry, {"users": records})["users"]
    assert [each.would_hold == ("role",) for each in found] == expected
    # Of a new account nothing else is worth a word.
    assert [each.protected == ("role",) for each in found] == expected
    assert not any(each.holds for each in found)
    restore(registry, {"users": records}, protected=True)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        assert sum(restoration.rights().values()) == len(rights)
    # Of records without the field too.
    moved: list[Record] = [{"username": name, "email": "new"} for name in names]
    found = compare(registry, {"users": moved})["users"]
    assert [each.holds for each in found] == expected
    assert not any(each.would_hold for each in found)
    engine.dispose()


def test_a_host_that_protects_nothing_has_no_privileged_accounts(engine: sa.Engine) -> None:
    registry = usual_registry(engine, protected=(), extra=["is_admin"])
    (found,) = compare(registry, {"users": [{"username": "ann", "email": "new@x"}]})["users"]
    assert not found.privileged
    restore(registry, {"users": [{"username": "ann", "email": "new@x"}]}, overwrites)
    with registry.restoration(protected=False, actor=None, overwrite=False) as restoration:
        assert restoration.rights() == {}


def test_an_account_is_told_of_where_there_is_none_and_nothing_is_protected(
    new_engine: NewEngine,
) -> None:
    engine = new_engine(Base.metadata)
    registry = usual_registry(engine, protected=(), extra=["is_admin"])
    archived: Record = {"username": "ann", "password_hash": "md5:0", "totp_enabled": True}
    (found,) = compare(registry, {"users": [archived]})["users"]
    assert (found.state, found.totp_dropped, found.unknown_password) == ("create", True, True)
    engine.dispose()


@pytest.mark.sample
def test_whatever_was_staged_a_privileged_account_is_not_written_without_a_grant(
    engine: sa.Engine,
) -> None:
    """Also one that is spelled otherwise: the database's collation tells whose record it is."""
    registry = usual_registry(engine)
    record: Record = {"username": "ANN", "email": "mine@x"}
    (found,) = compare(registry, {"users": [record]}, overwrite=True)["users"]
    assert (found.state, found.holds) == ("conflict", True)
    with registry.restoration(protected=False, actor=None, overwrite=True) as restoration:
        restoration.stage(USERS, [(1, record, "overwrite")])
        with pytest.raises(RightsError), restoration.decision():
            restoration.write(USERS)
    with engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT email FROM users WHERE username = 'ann'")
        assert kept.scalar_one() == "ann@x"


def test_rights_are_counted_of_who_is_active_and_seen(new_engine: NewEngine) -> None:
    class Bare(DeclarativeBase):
        pass

    removed = sa.Column("removed", sa.Boolean)
    columns = [sa.Column("role", sa.String), sa.Column("deactivated_at", sa.DateTime), removed]
    engine, registry = host_of(
        new_engine, Bare, *columns, protected=["role"], extra=["removed"], where=removed.isnot(True)
    )
    people: list[Record] = [
        {"username": "ann", "role": "admin", "deactivated_at": None, "removed": False},
        {"username": "bob", "role": "admin", "deactivated_at": None, "removed": True},
        {"username": "eve", "role": "admin", "deactivated_at": "2026-01-01T00:00:00.000000Z"},
        {"username": "zoe", "role": "editor", "deactivated_at": None, "removed": None},
    ]
    restore(registry, {"users": people}, protected=True)
    with registry.restoration(protected=True, actor=None, overwrite=True) as restoration:
        assert restoration.rights() == {("role", "admin"): 1, ("role", "editor"): 1}
    after: list[Record] = [
        {"username": "ann", "removed": True},
        {"username": "bob", "removed": False},
        {"username": "eve", "role": "editor"},
        {"username": "zoe", "role": None},
        {"username": "new", "role": "admin"},
    ]
    found = compare(registry, {"users": after}, protected=True, overwrite=True)["users"]
    assert [each.rights["role"] for each in found] == [
        ("admin", None),
        (None, "admin"),
        (None, None),
        ("editor", None),
        (None, "admin"),
    ]
    found = compare(registry, {"users": after[2:]}, overwrite=True)["users"]
    assert [each.rights["role"] for each in found] == [
        (None, None),
        ("editor", "editor"),
        (None, None),
    ]
    engine.dispose()
