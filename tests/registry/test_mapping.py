"""Every mapping that can not work is refused with its fix, before the host serves anything."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from hexhub_backup.archive.records import Record
from hexhub_backup.errors import MappingError
from hexhub_backup.registry.mapping.model_map import Field, ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import (
    Account,
    Base,
    NewEngine,
    Owner,
    Package,
    Release,
    User,
    create_tables,
    host_of,
    odd_maps,
    records_of,
    restore,
    usual_maps,
)

pytestmark = pytest.mark.sample

NOWHERE = sa.create_engine("sqlite:///nowhere.db")


def check(**maps: ModelMap) -> None:
    SQLAlchemyRegistry(NOWHERE, **(usual_maps() | maps)).check()


def refusal(**maps: ModelMap) -> str:
    with pytest.raises(MappingError) as caught:
        check(**maps)
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
            r"org.*NOT NULL, has no default and does not travel.*: let it travel "
            r'\(fields= or extra=\), or give it a value, on_create=\{"org": …\}',
        ),
        (
            lambda: ModelMap(
                users_table(sa.Column("role", sa.String, nullable=False)), protected=["role"]
            ),
            "comes in only when granted.*: give it a value, on_create",
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
        (lambda: ModelMap(User, {"email": Field("email", encode="a", decode="b")}), "functions"),  # type: ignore[arg-type]
        (lambda: ModelMap(User, timezone="UTC"), r"field timezone: is str 'UTC', not a tzinfo"),  # type: ignore[arg-type]
        (lambda: ModelMap(User, extra="token"), r"field extra: is str 'token', not a list of the"),
        (lambda: ModelMap(User, protected=[User.is_admin]), r'write protected=\["one", "two"\]'),  # type: ignore[list-item]
        (lambda: ModelMap(User, volatile=None), "field volatile: is NoneType None"),  # type: ignore[arg-type]
        (lambda: ModelMap(User, on_create=["token"]), r'write on_create=\{"name": …\}'),  # type: ignore[arg-type]
        (lambda: ModelMap(User, [User.email]), "field fields: is of type list"),  # type: ignore[arg-type]
        (lambda: User, r"users: is DeclarativeAttributeIntercept .*write users=ModelMap\("),
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


def test_a_mistake_is_told_once_and_not_with_what_follows_from_it() -> None:
    key = sa.Column("login", sa.String, nullable=False, unique=True)
    needed = sa.Column("org", sa.Integer, nullable=False)
    with pytest.raises(MappingError) as caught:
        check(users=ModelMap(users_table(needed, key=key)))
    (fault,) = caught.value.faults
    assert (fault.record, fault.field) == ("users, table u", "username")


def test_a_key_that_is_not_unique_is_told_with_its_own_kind_only() -> None:
    metadata = sa.MetaData()
    users = sa.Table(
        "u",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("username", sa.String),
    )
    owners = sa.Table(
        "o",
        metadata,
        sa.Column("package_name", sa.String, primary_key=True),
        sa.Column("user_id", sa.ForeignKey("u.id"), primary_key=True),
    )
    with pytest.raises(MappingError) as caught:
        check(users=ModelMap(users), owners=ModelMap(owners))
    (fault,) = caught.value.faults
    assert fault.record == "users, table u"
    assert "the key is not unique" in fault.message


@pytest.mark.parametrize("db", [None, "sqlite:///host.db", SimpleNamespace(engine="sqlite://")])
def test_a_db_without_an_engine_is_refused(db: Any) -> None:
    with pytest.raises(MappingError, match=r"has no engine: give Flask-SQLAlchemy's db, or an"):
        SQLAlchemyRegistry(db, **usual_maps()).check()


def test_flask_sqlalchemy_has_its_engine_only_in_an_apps_context() -> None:
    SQLAlchemyRegistry(SQLAlchemy(), **usual_maps()).check()


def test_a_database_of_another_kind_is_refused() -> None:
    driver = SimpleNamespace(paramstyle="pyformat", __version__="2.3")
    registry = SQLAlchemyRegistry(
        sa.create_engine("mssql+pymssql://", module=driver), **usual_maps()
    )
    with pytest.raises(MappingError, match=r"is one of mssql.*SQLite, PostgreSQL and MariaDB can"):
        registry.check()
    with pytest.raises(MappingError, match="mssql"), registry.snapshot():
        pass


def test_an_sqlite_without_update_from_is_refused() -> None:
    engine = sa.create_engine("sqlite:///host.db")
    engine.dialect.dbapi = SimpleNamespace(sqlite_version_info=(3, 31, 1))  # type: ignore[assignment]
    with pytest.raises(MappingError, match=r"SQLite 3\.31\.1 is too old.*use 3\.33 or newer"):
        SQLAlchemyRegistry(engine, **usual_maps()).check()


def test_a_bind_of_flask_sqlalchemy_is_followed() -> None:
    engine = sa.create_engine("sqlite:///host.db")
    metadata = sa.MetaData(info={"bind_key": "registry"})
    maps = {}
    for kind, mapped in usual_maps().items():
        table: sa.Table = mapped.model.__table__
        maps[kind] = ModelMap(table.to_metadata(metadata))

    db = SimpleNamespace(engine=None, engines={None: None, "registry": engine})
    assert SQLAlchemyRegistry(db, **maps).engine is engine
    del db.engines["registry"]
    with pytest.raises(MappingError, match="has no engine for the bind 'registry'"):
        SQLAlchemyRegistry(db, **maps).check()


def test_the_way_can_be_named_where_there_are_two(new_engine: NewEngine) -> None:
    for way in ("package.name", "package_id.name"):
        maps = usual_maps() | {"releases": ModelMap(Twice, {"package_name": way})}
        registry = SQLAlchemyRegistry(new_engine(Base.metadata), **maps)
        records = {
            "packages": [{"name": way}],
            "releases": [{"package_name": way, "version": "1"}],
        }
        restore(registry, records)
        assert records["releases"][0] in records_of(registry)["releases"]


def test_a_class_of_a_shared_table_sees_and_makes_only_its_own_rows(
    new_engine: NewEngine,
) -> None:
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

    engine = new_engine(Shared.metadata)
    create_tables(engine, Base.metadata)
    maps = usual_maps() | {"users": ModelMap(Member)}
    maps["owners"] = ModelMap(
        sa.Table(
            "member_owners",
            Shared.metadata,
            sa.Column("package_name", sa.String, primary_key=True),
            sa.Column("username", sa.String, primary_key=True),
        )
    )
    create_tables(engine, Shared.metadata)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO people (type, username) VALUES ('person', 'root')")
    registry = SQLAlchemyRegistry(engine, **maps)
    restore(registry, {"users": [{"username": "ann"}]})
    assert records_of(registry)["users"] == [{"username": "ann"}]


def test_what_an_on_create_gives(new_engine: NewEngine) -> None:
    class Bare(DeclarativeBase):
        pass

    count = iter(range(100))
    engine, registry = host_of(
        new_engine,
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
