"""Two hosts: one as Flask-SQLAlchemy's users write it, and one that does all otherwise."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

from hexhub_backup.archive.records import KINDS, Kind, Record
from hexhub_backup.registry.base import Action, Comparison, Snapshot
from hexhub_backup.registry.mapping.model_map import Field, ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.postgres import name_of

MOMENT = dt.datetime(2026, 1, 31, 10, 30, 0, 123456)  # noqa: DTZ001 (naive, as hosts store it)


class Base(DeclarativeBase):
    """The usual shape: integer keys, foreign keys."""


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    username: Mapped[str] = mapped_column(sa.String(80, collation="NOCASE"), unique=True)
    email: Mapped[str | None] = mapped_column(sa.String(120), unique=True)
    password_hash: Mapped[str | None]
    is_admin: Mapped[bool] = mapped_column(default=False)
    totp_enabled: Mapped[bool] = mapped_column(default=False)
    totp_secret: Mapped[str | None]
    deactivated_at: Mapped[dt.datetime | None]
    inserted_at: Mapped[dt.datetime] = mapped_column(default=lambda: MOMENT)
    updated_at: Mapped[dt.datetime] = mapped_column(
        default=lambda: MOMENT,
        onupdate=lambda: dt.datetime(1999, 1, 1),  # noqa: DTZ001
    )
    token: Mapped[str] = mapped_column(default=lambda: uuid.uuid4().hex, unique=True)


class Package(Base):
    __tablename__ = "packages"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    meta: Mapped[dict[str, Any] | None] = mapped_column(sa.JSON)
    private: Mapped[bool] = mapped_column(server_default=sa.false())
    downloads: Mapped[int] = mapped_column(default=0)
    source: Mapped[str] = mapped_column(default="local")


class Release(Base):
    __tablename__ = "releases"
    __table_args__ = (sa.UniqueConstraint("package_id", "version"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(sa.ForeignKey("packages.id"))
    version: Mapped[str]
    has_docs: Mapped[bool] = mapped_column(default=False)
    retired: Mapped[Any] = mapped_column(sa.JSON, nullable=True)
    downloads: Mapped[int] = mapped_column(default=0)
    inserted_at: Mapped[dt.datetime] = mapped_column(default=lambda: MOMENT)
    package: Mapped[Package] = relationship()


class Owner(Base):
    __tablename__ = "owners"
    __table_args__ = (sa.UniqueConstraint("package_id", "user_id"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    package_id: Mapped[int] = mapped_column(sa.ForeignKey("packages.id"))
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"))
    level: Mapped[str] = mapped_column(default="maintainer")


def usual_maps(**users: Any) -> dict[str, ModelMap]:
    return {
        "users": ModelMap(
            User, **({"protected": ["is_admin"], "totp_secret": "totp_secret"} | users)
        ),
        "packages": ModelMap(Package, where=Package.source == "local"),
        "releases": ModelMap(Release),
        "owners": ModelMap(Owner),
    }


def usual_registry(engine: sa.Engine, **users: Any) -> SQLAlchemyRegistry:
    return SQLAlchemyRegistry(engine, **usual_maps(**users))


class Level(enum.Enum):
    FULL = "f"
    MAINTAINER = "m"


class Text(TypeDecorator[decimal.Decimal]):
    """A decimal kept as text, as SQLite has no decimals."""

    impl = sa.String(80)
    cache_ok = True
    python_type = decimal.Decimal

    def process_bind_param(self, value: decimal.Decimal | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> decimal.Decimal | None:
        return None if value is None else decimal.Decimal(value)


class Odd(DeclarativeBase):
    """No integer key anywhere, other names, rich types; owners without foreign keys."""


class Account(Odd):
    __tablename__ = "accounts"
    uid: Mapped[uuid.UUID] = mapped_column(sa.Uuid, primary_key=True)
    login: Mapped[str] = mapped_column("login_name", sa.Text, unique=True)
    shown: Mapped[bool] = mapped_column(default=True)
    since: Mapped[dt.datetime]
    born: Mapped[dt.date | None]
    wakes: Mapped[dt.time | None]
    balance: Mapped[decimal.Decimal | None] = mapped_column(Text)
    avatar: Mapped[bytes | None]
    weight: Mapped[float | None]
    tags: Mapped[str | None]


class Project(Odd):
    __tablename__ = "projects"
    slug: Mapped[str] = mapped_column(primary_key=True)
    meta: Mapped[Any] = mapped_column(sa.JSON)
    creator: Mapped[str | None] = mapped_column(sa.ForeignKey("accounts.login_name"))
    creator_uid: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("accounts.uid"))


versions = sa.Table(
    "versions",
    Odd.metadata,
    sa.Column("project", sa.Text, sa.ForeignKey("projects.slug"), primary_key=True),
    sa.Column("number", sa.Text, primary_key=True),
    sa.Column("retired", sa.JSON(none_as_null=True)),
    sa.Column("tenant", sa.Text, nullable=False),
)
holders = sa.Table(
    "holders",
    Odd.metadata,
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("level", sa.Enum(Level)),
    sa.UniqueConstraint("project", "account"),
)


def odd_maps() -> dict[str, ModelMap]:
    split = Field(Account.tags, encode=lambda text: text.split(","), decode=",".join)
    return {
        "users": ModelMap(
            Account,
            {"username": Account.login, "inserted_at": "since", "tags": split},
            extra=["uid", "born", "wakes", "balance", "avatar", "weight", "tags"],
            where=Account.shown,
            timezone=ZoneInfo("Europe/Berlin"),
        ),
        "packages": ModelMap(
            Project,
            {"name": "slug", "creator_name": "creator_uid.login"},
            extra=["creator_name", "creator"],
        ),
        "releases": ModelMap(
            versions,
            {"package_name": "project", "version": versions.c.number},
            on_create={"tenant": lambda: "acme"},
        ),
        "owners": ModelMap(holders, {"package_name": "project", "username": "account"}),
    }


def odd_registry(engine: sa.Engine) -> SQLAlchemyRegistry:
    return SQLAlchemyRegistry(engine, **odd_maps())


def engine_of(path: Path, metadata: sa.MetaData, *pragmas: str) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _record: object) -> None:
        for pragma in ("foreign_keys = ON", "synchronous = OFF", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    metadata.create_all(engine)
    return engine


def postgresql_engine(uri: str, metadata: sa.MetaData, **options: Any) -> sa.Engine:
    engine = sa.create_engine(uri, **options)
    with engine.begin() as connection:
        # As SQLite's own collation of that name.
        connection.exec_driver_sql(
            'CREATE COLLATION "NOCASE" '
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    metadata.create_all(engine)
    return engine


def mariadb_engine(uri: str, metadata: sa.MetaData, **options: Any) -> sa.Engine:
    """Its texts compare as SQLite's do, and its sessions quote as the other databases do."""
    ansi = "SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')"
    engine = sa.create_engine(uri, connect_args={"init_command": ansi}, **options)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name_of(uri)} COLLATE utf8mb4_nopad_bin")
    create_tables(engine, metadata)
    return engine


def create_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Create the tables. On MariaDB each text has a length, without which there is no key, and
    each time its microseconds."""
    if engine.dialect.name == "mysql":
        for column in [each for table in metadata.sorted_tables for each in table.columns]:
            if not column.info:
                column.type = _on_mariadb(column)
                column.info["on MariaDB"] = True
    metadata.create_all(engine)


def _on_mariadb(column: sa.Column[Any]) -> Any:
    type_: Any = column.type
    for key in column.foreign_keys if isinstance(type_, sa.types.NullType) else ():
        type_ = key.column.type
    if isinstance(type_, sa.String) and not isinstance(type_, sa.Enum):
        collation = "utf8mb4_general_ci" if type_.collation else None
        text = sa.String(type_.length or 255, collation=collation)
        return type_.with_variant(text, "mysql", "mariadb")
    if isinstance(type_, sa.DateTime):
        return type_.with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    if isinstance(type_, sa.Float):
        return type_.with_variant(mysql.DOUBLE(asdecimal=False), "mysql", "mariadb")
    return column.type


#: `new_engine(metadata, *pragmas)`, the pragmas for SQLite.
NewEngine = Callable[..., sa.Engine]


def host_of(
    new_engine: NewEngine, base: type[DeclarativeBase], *columns: Any, **options: Any
) -> tuple[sa.Engine, SQLAlchemyRegistry]:
    """A host whose users are a table of `columns` beside the username, all in one database."""
    metadata = base.metadata
    users = sa.Table("u", metadata, sa.Column("username", sa.String, primary_key=True), *columns)
    packages = sa.Table("p", metadata, sa.Column("name", sa.String, primary_key=True))
    releases = sa.Table(
        "r",
        metadata,
        sa.Column("package_name", sa.ForeignKey("p.name"), primary_key=True),
        sa.Column("version", sa.String, primary_key=True),
    )
    owners = sa.Table(
        "o",
        metadata,
        sa.Column("package_name", sa.ForeignKey("p.name"), primary_key=True),
        sa.Column("username", sa.ForeignKey("u.username"), primary_key=True),
    )
    engine = new_engine(metadata)
    registry = SQLAlchemyRegistry(
        engine,
        users=ModelMap(users, **options),
        packages=ModelMap(packages),
        releases=ModelMap(releases),
        owners=ModelMap(owners),
    )
    return engine, registry


def rows_of(snapshot: Snapshot, kind: Kind) -> Iterator[Record]:
    for batch in snapshot.batches(kind):
        yield from batch.records()


def records_of(registry: SQLAlchemyRegistry) -> dict[str, list[Record]]:
    with registry.snapshot() as snapshot:
        found = {kind.name: list(rows_of(snapshot, kind)) for kind in KINDS}
        for kind in KINDS:
            assert snapshot.count(kind) == len(found[kind.name])
            assert list(snapshot.keys(kind)) == [kind.key_of(each) for each in found[kind.name]]
    return found


Decide = Callable[[Comparison], Action | None]


def creates(comparison: Comparison) -> Action | None:
    return "create" if comparison.state == "create" else None


def overwrites(comparison: Comparison) -> Action | None:
    if comparison.state == "conflict" and not comparison.own:
        return "overwrite"
    return creates(comparison)


def compare(
    registry: SQLAlchemyRegistry,
    records: dict[str, list[Record]],
    *,
    protected: bool = False,
    actor: str | None = None,
    overwrite: bool = False,
) -> dict[str, list[Comparison]]:
    with registry.restoration(protected=protected, actor=actor, overwrite=overwrite) as restoration:
        found = {}
        for kind in KINDS:
            restoration.stage(kind, numbered(records.get(kind.name, [])))
            found[kind.name] = list(restoration.compare(kind))
    return found


def numbered(rows: Iterable[Record]) -> list[tuple[int, Record, Action | None]]:
    return [(n, record, None) for n, record in enumerate(rows, 1)]


def restore(
    registry: SQLAlchemyRegistry,
    records: dict[str, list[Record]],
    decide: Decide = creates,
    *,
    protected: bool = False,
    actor: str | None = None,
) -> list[tuple[Kind, tuple[str, ...]]]:
    """Plan, stage, compare again and write, as an operation does; what is still hidden."""
    overwrite = decide is overwrites
    planned = compare(registry, records, protected=protected, actor=actor, overwrite=overwrite)
    with registry.restoration(protected=protected, actor=actor, overwrite=overwrite) as restoration:
        for kind in KINDS:
            rows = zip(numbered(records.get(kind.name, [])), planned[kind.name], strict=True)
            restoration.stage(kind, [(n, record, decide(plan)) for (n, record, _), plan in rows])
        with restoration.decision():
            for kind in KINDS:
                assert list(restoration.compare(kind)) == planned[kind.name]
            for kind in KINDS:
                restoration.write(kind)
            return [(kind, key) for kind in KINDS for key in restoration.still_hidden(kind)]


TIME = "2026-01-01T00:00:00.000000Z"


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
