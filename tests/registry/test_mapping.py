"""Every mapping that can not work is refused with its mend, before the host serves anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hexhub_backup.archive.records import Record
from hexhub_backup.errors import MappingError
from hexhub_backup.registry.mapping import Field, ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.registry.hosts import (
    Account,
    Base,
    Owner,
    Package,
    Release,
    User,
    engine_of,
    host_of,
    odd_maps,
    records_of,
    restore,
    usual_maps,
)

NOWHERE: Any = None


def refusal(**maps: ModelMap) -> str:
    with pytest.raises(MappingError) as caught:
        SQLAlchemyRegistry(NOWHERE, **(usual_maps() | maps)).check()
    assert {fault.code for fault in caught.value.faults} == {"bad_mapping"}
    return str(caught.value)


def users_table(*columns: Any, key: Any = None) -> sa.Table:
    username = sa.Column("username", sa.String, unique=True) if key is None else key
    return sa.Table(
        "u", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), username, *columns
    )


def test_good_mappings_are_not_refused() -> None:
    SQLAlchemyRegistry(NOWHERE, **usual_maps()).check()
    SQLAlchemyRegistry(NOWHERE, **odd_maps()).check()


class Joined(Base):
    __tablename__ = "joined"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(unique=True)


class Admin(Joined):
    __tablename__ = "admins"
    id: Mapped[int] = mapped_column(sa.ForeignKey("joined.id"), primary_key=True)


class Twice(Base):
    __tablename__ = "twice"
    __table_args__ = (sa.UniqueConstraint("package_id", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str]
    package_id: Mapped[int] = mapped_column(sa.ForeignKey("packages.id"))
    fork_of_id: Mapped[int | None] = mapped_column(sa.ForeignKey("packages.id"))
    package: Mapped[Package] = relationship(foreign_keys=[package_id])


Mapping = Callable[[], ModelMap]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (lambda: ModelMap(dict), "is no model: give a mapped class, or a Table"),
        (lambda: ModelMap(Admin), r"Admin spreads over several tables \(admins, joined\)"),
        (
            lambda: ModelMap(users_table(key=sa.Column("login", sa.String))),
            r"field username: is of the key, and there is no such column: name it",
        ),
        (
            lambda: ModelMap(users_table(key=sa.Column("username", sa.String))),
            r"the key is not unique in the database: add a UniqueConstraint\(username\)",
        ),
        (
            lambda: ModelMap(
                users_table(
                    sa.Index("some", "username", unique=True, sqlite_where=sa.text("id > 1")),
                    key=sa.Column("username", sa.String),
                )
            ),
            "the key is not unique",
        ),
        (
            lambda: ModelMap(users_table(key=sa.Column("username", sa.Integer, unique=True))),
            r"field username: is of the key, which is a text or a UUID",
        ),
        (
            lambda: ModelMap(User, {"username": Field("username", encode=str, decode=str)}),
            "can not have an encode=/decode= pair",
        ),
        (lambda: ModelMap(User, {"email": "mail"}), r"field email: User has no column mail"),
        (lambda: ModelMap(User, {"emial": "email"}), r'no such field.*extra=\["emial"\]'),
        (lambda: ModelMap(User, extra=["nick"]), "field nick: there is no such column"),
        (lambda: ModelMap(User, protected=["role"]), "field role: there is no such column"),
        (lambda: ModelMap(User, volatile=["seen"]), "volatile= names what is no field"),
        (lambda: ModelMap(User, protected=["username"]), "is of the key, which can not be"),
        (lambda: ModelMap(User, extra=["token"], totp_secret="token"), "also travels: a secret"),
        (lambda: ModelMap(User, totp_secret="otp"), "User has no column otp"),
        (lambda: ModelMap(User, on_create={"nick": 1}), "on_create= names nick"),
        (lambda: ModelMap(User, {"email": Field("email", encode=str)}), "give both"),
        (lambda: ModelMap(User, where=User.email is None), r"where: is bool False.*is_\(None\)"),
        (lambda: ModelMap(User, where=Package.name == "x"), "reaches into another table"),
        (
            lambda: ModelMap(users_table(sa.Column("org", sa.Integer, nullable=False))),
            r'org.*NOT NULL, has no default and does not travel.*on_create=\{"org": …\}',
        ),
        (
            lambda: ModelMap(
                users_table(sa.Column("role", sa.String, nullable=False)), protected=["role"]
            ),
            "comes in only when granted.*on_create",
        ),
        (
            lambda: ModelMap(users_table(sa.Column("age", sa.Interval)), extra=["age"]),
            r"field age: there is no rule for a column of type Interval.*encode=…, decode=…",
        ),
        (
            lambda: ModelMap(users_table(sa.Column("x", sa.PickleType)), extra=["x"]),
            "no rule for a column of type PickleType",
        ),
        (
            lambda: ModelMap(users_table(sa.Column("totp_enabled", sa.Integer))),
            r"totp_enabled: is boolean in an archive, but a column of type Integer\(\) gives int",
        ),
        (
            lambda: ModelMap(
                users_table(sa.Column("c", sa.Integer, sa.Computed("1"))), extra=["c"]
            ),
            "computed by the database",
        ),
        (
            lambda: ModelMap(User, {"email": "token"}, extra=["token"]),
            "writes column token, and so",
        ),
    ],
)
def test_a_mapping_of_users_that_can_not_work(users: Mapping, message: str) -> None:
    text = refusal(users=users()).replace("\n", " ")
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(text)), text


@pytest.mark.parametrize(
    ("releases", "message"),
    [
        (lambda: ModelMap(Twice), r"more than one foreign key .*to packages: name the way"),
        (lambda: ModelMap(Release, {"package_name": "package.nam"}), "Package has no column nam"),
        (lambda: ModelMap(Release, {"package_name": "package.source"}), "has to reach the key of"),
        (lambda: ModelMap(Release, {"package_name": "version.name"}), "is not a foreign key"),
        (lambda: ModelMap(Release, totp_secret="version"), "only users have a second factor"),
        (lambda: ModelMap(Release, {"url": "package.source"}), "is not unique in the database"),
    ],
)
def test_a_mapping_of_releases_that_can_not_work(releases: Mapping, message: str) -> None:
    text = refusal(releases=releases())
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(text)), text


def test_models_on_two_binds_are_refused() -> None:
    metadata = sa.MetaData(info={"bind_key": "accounts"})
    table = sa.Table("u", metadata, sa.Column("username", sa.String, primary_key=True))
    text = refusal(users=ModelMap(table))
    assert "more than one bind (None, 'accounts')" in text or "('accounts', None)" in text


def test_all_mistakes_are_told_at_once() -> None:
    text = refusal(
        users=ModelMap(User, {"email": "mail"}, extra=["nick"]),
        owners=ModelMap(Owner, {"level": "rank"}),
    )
    for part in ("users, User", "mail", "nick", "owners, Owner", "rank"):
        assert part in text


def test_a_bind_of_flask_sqlalchemy_is_followed() -> None:
    engine = sa.create_engine("sqlite://")
    metadata = sa.MetaData(info={"bind_key": "registry"})
    maps = {}
    for kind, mapped in usual_maps().items():
        table: sa.Table = mapped.model.__table__
        maps[kind] = ModelMap(table.to_metadata(metadata))

    db = SimpleNamespace(engine=None, engines={None: None, "registry": engine})
    assert SQLAlchemyRegistry(db, **maps).engine is engine


def test_the_way_can_be_named_where_there_are_two(tmp_path: Path) -> None:
    for way in ("package.name", "package_id.name"):
        maps = usual_maps() | {"releases": ModelMap(Twice, {"package_name": way})}
        registry = SQLAlchemyRegistry(engine_of(tmp_path / "t.db", Base.metadata), **maps)
        records = {
            "packages": [{"name": way}],
            "releases": [{"package_name": way, "version": "1"}],
        }
        restore(registry, records)
        assert records["releases"][0] in records_of(registry)["releases"]


def test_a_class_of_a_shared_table_sees_and_makes_only_its_own_rows(tmp_path: Path) -> None:
    class Shared(DeclarativeBase):
        pass

    class Person(Shared):
        __tablename__ = "people"
        id: Mapped[int] = mapped_column(primary_key=True)
        type: Mapped[str]
        username: Mapped[str] = mapped_column(unique=True)
        __mapper_args__ = {  # noqa: RUF012
            "polymorphic_on": "type",
            "polymorphic_identity": "person",
        }

    class Member(Person):
        __mapper_args__ = {  # noqa: RUF012
            "polymorphic_identity": "member"
        }

    engine = engine_of(tmp_path / "host.db", Shared.metadata)
    Base.metadata.create_all(engine)
    maps = usual_maps() | {"users": ModelMap(Member)}
    maps["owners"] = ModelMap(
        sa.Table(
            "member_owners",
            Shared.metadata,
            sa.Column("package_name", sa.String, primary_key=True),
            sa.Column("username", sa.String, primary_key=True),
        )
    )
    Shared.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO people VALUES (1, 'person', 'root')")
    registry = SQLAlchemyRegistry(engine, **maps)
    restore(registry, {"users": [{"username": "ann"}]})
    assert records_of(registry)["users"] == [{"username": "ann"}]


def test_what_an_on_create_gives(tmp_path: Path) -> None:
    class Bare(DeclarativeBase):
        pass

    count = iter(range(100))
    engine, registry = host_of(
        tmp_path,
        Bare,
        sa.Column("a", sa.Integer, nullable=False),
        sa.Column("b", sa.Integer, nullable=False),
        sa.Column("c", sa.Integer, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("upper", sa.String, default=_upper),
        on_create={
            "a": 7,
            "b": lambda: next(count),
            "c": sa.func.abs(-3),
            "email": "none",
        },
    )
    users: list[Record] = [{"username": "ann"}, {"username": "bob", "email": None}]
    restore(registry, {"users": users})
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT a, c, email, upper FROM u ORDER BY 1").all()
        numbers = connection.exec_driver_sql("SELECT DISTINCT b FROM u").all()
    assert [tuple(row) for row in rows] == [(7, 3, "none", "ANN"), (7, 3, "none", "BOB")]
    assert len(numbers) == 2


def _upper(context: Any) -> str:
    return str(context.get_current_parameters()["username"]).upper()


def test_a_renamed_attribute_is_found_by_its_own_name() -> None:
    registry = SQLAlchemyRegistry(NOWHERE, **odd_maps())
    assert registry.kinds["users"].keys[0].own is Account.__table__.c.login_name
    assert registry.kinds["releases"].keys[0].reference is not None
