"""What a host's mappers can do: each works, or is refused by name before anything is served."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    column_property,
    composite,
    foreign,
    mapped_column,
    relationship,
    synonym,
)
from sqlalchemy.orm.exc import StaleDataError

from hexhub_backup.archive.records import Record
from hexhub_backup.errors import MappingError
from hexhub_backup.registry.mapping.model_map import ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import (
    NewEngine,
    compare,
    create_tables,
    overwrites,
    records_of,
    restore,
)

NOWHERE = sa.create_engine("sqlite:///nowhere.db")


def maps_beside(users: ModelMap, metadata: sa.MetaData, **more: ModelMap) -> dict[str, ModelMap]:
    """The maps of a host with `users`, and with the plainest tables that there can be."""
    package = sa.Column("package_name", sa.String, primary_key=True)
    owned = sa.Column("package_name", sa.String, primary_key=True)
    tables = {
        "packages": sa.Table("p", metadata, sa.Column("name", sa.String, primary_key=True)),
        "releases": sa.Table(
            "r", metadata, package, sa.Column("version", sa.String, primary_key=True)
        ),
        "owners": sa.Table(
            "o", metadata, owned, sa.Column("username", sa.String, primary_key=True)
        ),
    }
    return {"users": users, **{kind: ModelMap(each) for kind, each in tables.items()}, **more}


def refusal(users: ModelMap, metadata: sa.MetaData, **more: ModelMap) -> str:
    with pytest.raises(MappingError) as caught:
        SQLAlchemyRegistry(NOWHERE, **maps_beside(users, metadata, **more)).check()
    return str(caught.value)


# --- what is behind an attribute ---------------------------------------------------------


class Attributes(DeclarativeBase):
    """One of each sort of attribute."""


class Team(Attributes):
    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Person(Attributes):
    __tablename__ = "people"
    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column("Login Name", unique=True)
    mail: Mapped[str | None] = mapped_column("E-Mail")
    bio: Mapped[str | None] = mapped_column(deferred=True)
    nick: Mapped[str | None] = column_property(sa.Column("nick_name", sa.String))
    sealed: Mapped[str | None]
    first: Mapped[str | None]
    last: Mapped[str | None]
    team_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Team.id))
    team: Mapped[Team | None] = relationship()
    team_name: AssociationProxy[str | None] = association_proxy("team", "name")
    username: Mapped[str] = synonym("login")
    shout: Mapped[str | None] = column_property(sa.func.upper(mail))
    names: Mapped[Any] = composite(lambda first, last: (first, last), "first", "last")

    @hybrid_property
    def email(self) -> str | None:
        return self.mail

    @hybrid_property
    def secret(self) -> str | None:
        return None if self.sealed is None else self.sealed[::-1]

    @secret.inplace.expression
    @classmethod
    def _secret(cls) -> sa.ColumnElement[str]:
        return sa.func.unseal(cls.sealed)

    @secret.inplace.setter
    def _set_secret(self, value: str | None) -> None:
        self.sealed = None if value is None else value[::-1]


def test_attributes_that_stand_for_one_column_travel(new_engine: NewEngine) -> None:
    users = ModelMap(
        Person,
        {"team_name": "team.name"},
        extra=["bio", "nick", "first", "last", "team_name"],
    )
    registry = SQLAlchemyRegistry(NOWHERE, **maps_beside(users, sa.MetaData()))
    own = {field.name: field.own.name for field in registry.kinds["users"].fields}
    assert (own["username"], own["email"]) == ("Login Name", "E-Mail")
    assert own["nick"] == "nick_name"

    engine = new_engine(Attributes.metadata)
    maps = maps_beside(users, sa.MetaData())
    create_tables(engine, maps["releases"].model.metadata)
    registry = SQLAlchemyRegistry(engine, **maps)
    with Session(engine) as session, session.begin():
        session.add(Team(name="core"))
    ann: Record = {
        "username": "ann",
        "email": "a@x",
        "bio": "b",
        "nick": "n",
        "first": "A",
        "last": "B",
        "team_name": "core",
    }
    restore(registry, {"users": [ann]})
    assert records_of(registry)["users"] == [ann]
    assert [each.state for each in compare(registry, {"users": [ann]})["users"]] == ["unchanged"]
    restore(registry, {"users": [ann | {"email": "b@x", "bio": None}]}, overwrites)
    with Session(engine) as session:
        found = session.scalars(sa.select(Person)).one()
        assert (found.email, found.bio, found.nick, found.team_name) == ("b@x", None, "n", "core")


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (
            lambda: ModelMap(Person, extra=["secret"]),
            r"field secret: is a hybrid over SQL.*name the column that holds its value, "
            r'fields=\{"secret": "…"\}',
        ),
        (
            lambda: ModelMap(Person, {"email": cast(Any, Person.secret)}),
            "field email: is mapped onto what is no column",
        ),
        (
            lambda: ModelMap(Person, extra=["shout"]),
            "field shout: is a column_property over SQL, which can not be written: take it out",
        ),
        (
            lambda: ModelMap(Person, extra=["team_name"]),
            r'team_name: is an association proxy: name its way, fields=\{"team_name": "team.name"',
        ),
        (
            lambda: ModelMap(Person, extra=["names"]),
            r'is a composite of columns: let each of them travel instead, extra=\["first", "last"',
        ),
        (
            lambda: ModelMap(Person, extra=["team"]),
            r'is a relationship: name a column at its end, fields=\{"team": "team.…"\}',
        ),
        (
            lambda: ModelMap(Person, {"email": "shout"}),
            r"field email: Person.shout is a column_property over SQL",
        ),
        (
            lambda: ModelMap(Person, totp_secret="secret"),
            "field totp_secret: Person.secret is a hybrid over SQL",
        ),
    ],
)
def test_attributes_that_do_not_are_refused_by_name(
    users: Callable[[], ModelMap], message: str
) -> None:
    text = refusal(users(), sa.MetaData()).replace("\n", " ")
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(text)), text


def test_a_field_that_only_a_hybrid_can_set_is_not_left_out_in_silence() -> None:
    class Hidden(DeclarativeBase):
        pass

    class Sealed(Hidden):
        __tablename__ = "sealed"
        username: Mapped[str] = mapped_column(primary_key=True)
        email_sealed: Mapped[str | None]

        @hybrid_property
        def email(self) -> str | None:
            return self.email_sealed and self.email_sealed[::-1]

        @email.inplace.setter
        def _set_email(self, value: str | None) -> None:
            self.email_sealed = value and value[::-1]

        @email.inplace.expression
        @classmethod
        def _email(cls) -> sa.ColumnElement[str]:
            return sa.func.unseal(cls.email_sealed)

    text = refusal(ModelMap(Sealed), sa.MetaData())
    assert "users, Sealed, field email: is a hybrid over SQL" in text
    maps = maps_beside(ModelMap(Sealed, {"email": "email_sealed"}), sa.MetaData())
    SQLAlchemyRegistry(NOWHERE, **maps).check()


# --- classes that share a table ----------------------------------------------------------


class Family(DeclarativeBase):
    """Classes that share a table, or have a part in it."""


class Account(Family):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    username: Mapped[str] = mapped_column(unique=True)
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "type",
        "polymorphic_identity": "account",
    }


class Robot(Account):
    __mapper_args__ = {"polymorphic_identity": "robot"}  # noqa: RUF012


class Nameless(Account):
    __mapper_args__ = {"polymorphic_abstract": True}  # noqa: RUF012


class Thing(Family):
    __tablename__ = "things"
    username: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "thing",
    }


class Big(Thing):
    __tablename__ = "bigs"
    username: Mapped[str] = mapped_column(sa.ForeignKey(Thing.username), primary_key=True)
    size: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "big"}  # noqa: RUF012


class Lone(Family):
    __tablename__ = "lones"
    username: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "type"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (
            lambda: ModelMap(Account),
            r"column type tells Robot, Nameless from Account, and does not travel, so that a "
            r'restore would make all of them Account: let it travel, extra=\["type"\], or leave '
            r"them out, where=Account.type == …",
        ),
        (
            lambda: ModelMap(Nameless),
            r"Nameless has no polymorphic_identity.*give it one, or let it travel",
        ),
        (
            lambda: ModelMap(Lone),
            r"Lone has no polymorphic_identity.*give it one, or let it travel",
        ),
        (
            lambda: ModelMap(Thing, extra=["kind"]),
            r"rows of Big have a second part in a table of their own, which does not travel: "
            r"leave them out, where=Thing.kind == …",
        ),
        (lambda: ModelMap(Big), r"Big spreads over several tables \(bigs, things\)"),
    ],
)
def test_a_class_whose_rows_a_restore_would_change_is_refused(
    users: Callable[[], ModelMap], message: str
) -> None:
    text = refusal(users(), sa.MetaData()).replace("\n", " ")
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(text)), text


@pytest.mark.parametrize(
    "users",
    [
        ModelMap(Account, extra=["type"]),
        ModelMap(Account, where=Account.type == "account"),
        ModelMap(Robot),
        ModelMap(Lone, extra=["type"]),
        ModelMap(Thing, where=Thing.kind == "thing"),
    ],
)
def test_a_class_whose_rows_stay_what_they_are_is_not(users: ModelMap) -> None:
    SQLAlchemyRegistry(NOWHERE, **maps_beside(users, sa.MetaData())).check()


def test_rows_of_a_shared_table_stay_of_their_classes(new_engine: NewEngine) -> None:
    engine = new_engine(Family.metadata)
    maps = maps_beside(ModelMap(Account, extra=["type"]), sa.MetaData())
    create_tables(engine, maps["releases"].model.metadata)
    registry = SQLAlchemyRegistry(engine, **maps)
    users = [{"username": "ann", "type": "account"}, {"username": "bot", "type": "robot"}]
    restore(registry, {"users": [*users, {"username": "new"}]})
    with Session(engine) as session:
        found = {each.username: type(each) for each in session.scalars(sa.select(Account))}
    assert found == {"ann": Account, "bot": Robot, "new": Account}


# --- version counters --------------------------------------------------------------------


class Counted(DeclarativeBase):
    """Rows whose writes SQLAlchemy counts."""


class Number(Counted):
    __tablename__ = "numbers"
    username: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str | None]
    version: Mapped[int] = mapped_column("row_version")
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Word(Counted):
    __tablename__ = "words"
    username: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str | None]
    version: Mapped[str] = mapped_column()
    __mapper_args__ = {  # noqa: RUF012
        "version_id_col": version,
        "version_id_generator": lambda _: uuid.uuid4().hex,
    }


@pytest.mark.parametrize("model", [Number, Word])
def test_an_overwrite_makes_a_copy_that_was_read_before_stale(
    new_engine: NewEngine, model: Any
) -> None:
    engine = new_engine(Counted.metadata)
    maps = maps_beside(ModelMap(model), sa.MetaData())
    create_tables(engine, maps["releases"].model.metadata)
    registry = SQLAlchemyRegistry(engine, **maps)
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    with Session(engine) as session:
        ann = session.scalars(sa.select(model)).one()
        seen = ann.version
        session.commit()
        session.expunge(ann)
        restore(registry, {"users": [{"username": "ann", "email": "b@x"}]}, overwrites)
        assert session.scalars(sa.select(model.version)).one() != seen
        # A form that was opened before the restore.
        stale = model(username="ann", email="a@x", version=seen)
        sa.orm.make_transient_to_detached(stale)
        session.add(stale)
        stale.email = "c@x"
        with pytest.raises(StaleDataError):
            session.flush()


def test_a_version_counter_does_not_travel() -> None:
    text = refusal(ModelMap(Number, extra=["version"]), sa.MetaData())
    assert "field version: column row_version is the model's version_id_col" in text


# --- raw foreign keys --------------------------------------------------------------------


class Raw(DeclarativeBase):
    """Columns that refer to rows by numbers."""


class Author(Raw):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[uuid.UUID] = mapped_column(unique=True)
    username: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None] = mapped_column(unique=True)


class License(Raw):
    __tablename__ = "licenses"
    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)


class Nothing(Raw):
    __tablename__ = "nothings"
    id: Mapped[int] = mapped_column(primary_key=True)


class Package(Raw):
    __tablename__ = "packages"
    __table_args__ = (
        sa.UniqueConstraint("tenant", "id"),
        sa.ForeignKeyConstraint(["tenant", "twin"], ["packages.tenant", "packages.id"]),
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    publisher_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Author.id))
    publisher_uid: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey(Author.uid))
    publisher_name: Mapped[str | None] = mapped_column(sa.ForeignKey(Author.username))
    license_id: Mapped[int | None] = mapped_column("licence", sa.ForeignKey(License.id))
    license_code: Mapped[str | None] = mapped_column(sa.ForeignKey(License.code))
    nothing_id: Mapped[int | None] = mapped_column(sa.ForeignKey(Nothing.id))
    fork_of_id: Mapped[int | None] = mapped_column(sa.ForeignKey("packages.id"))
    fork_of: Mapped[str | None] = mapped_column(sa.ForeignKey("packages.name"))
    tenant: Mapped[int | None]
    twin: Mapped[int | None]
    loose_id: Mapped[int | None]
    loose: Mapped[Author | None] = relationship(
        primaryjoin=lambda: foreign(Package.loose_id) == Author.id
    )


def raw_maps(packages: ModelMap, users: ModelMap | None = None) -> dict[str, ModelMap]:
    users = users or ModelMap(Author, on_create={"uid": uuid.uuid4})
    return maps_beside(users, sa.MetaData(), packages=packages)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("publisher_id", r'fields={"publisher_id": "publisher_id.username"}'),
        ("publisher_uid", r'fields={"publisher_uid": "publisher_uid.username"}'),
        ("license_id", r'fields={"license_id": "licence.code"}'),
        ("nothing_id", "take it out"),
        ("fork_of_id", "take it out"),
        ("twin", "take it out"),
        ("loose_id", r'fields={"loose_id": "loose.username"}'),
    ],
)
def test_a_number_that_stands_for_another_row_does_not_travel(name: str, fix: str) -> None:
    maps = raw_maps(ModelMap(Package, extra=[name]))
    with pytest.raises(MappingError) as caught:
        SQLAlchemyRegistry(NOWHERE, **maps).check()
    (fault,) = caught.value.faults
    assert (fault.record, fault.field) == ("packages, Package", name)
    assert "does not tell the same row on another host" in fault.message
    assert fault.message.endswith(fix)
    # What it says works.
    if fix.startswith("fields="):
        way = fix.split('"')[3]
        maps = raw_maps(ModelMap(Package, {name: way}, extra=[name]))
        SQLAlchemyRegistry(NOWHERE, **maps).check()


def test_an_own_key_that_is_a_foreign_key_does_not_either() -> None:
    class Joined(DeclarativeBase):
        pass

    class Base(Joined):
        __tablename__ = "bases"
        id: Mapped[int] = mapped_column(primary_key=True)
        code: Mapped[str] = mapped_column(unique=True)

    part = sa.Table(
        "parts",
        Joined.metadata,
        sa.Column("id", sa.ForeignKey(Base.id), primary_key=True),
        sa.Column("username", sa.String, unique=True, nullable=False),
    )
    text = refusal(ModelMap(part, extra=["id"]), sa.MetaData())
    assert 'fields={"id": "id.code"}' in text
    maps = maps_beside(ModelMap(part, {"id": "id.code"}, extra=["id"]), sa.MetaData())
    SQLAlchemyRegistry(NOWHERE, **maps).check()


def test_what_says_by_itself_what_it_refers_to_travels_as_it_is(new_engine: NewEngine) -> None:
    engine = new_engine(Raw.metadata)
    maps = raw_maps(
        ModelMap(Package, extra=["publisher_uid", "publisher_name", "license_code", "fork_of"]),
        ModelMap(Author, extra=["uid"]),
    )
    create_tables(engine, maps["releases"].model.metadata)
    registry = SQLAlchemyRegistry(engine, **maps)
    with Session(engine) as session, session.begin():
        session.add(License(code="MIT"))
    uid = str(uuid.UUID(int=7))
    jason: Record = {
        "name": "jason",
        "publisher_uid": uid,
        "publisher_name": "ann",
        "license_code": "MIT",
        "fork_of": None,
    }
    records: dict[str, list[Record]] = {
        "users": [{"username": "ann", "uid": uid, "name": None}],
        "packages": [
            jason,
            jason | {"name": "fork", "fork_of": "jason"},
            jason | {"name": "lost", "publisher_name": "nobody"},
            jason | {"name": "free", "license_code": "GPL"},
        ],
    }
    found = compare(registry, records)["packages"]
    assert [each.state for each in found] == ["create", "create", "blocked", "blocked"]
    assert "its user nobody is neither in the registry nor in" in str(found[2].reason)
    assert "its license_code GPL is not in the registry: create it" in str(found[3].reason)
    restore(registry, records)
    assert [each["name"] for each in records_of(registry)["packages"]] == ["fork", "jason"]


@pytest.mark.sample
def test_a_release_finds_its_publisher_on_another_host_by_name(new_engine: NewEngine) -> None:
    maps = raw_maps(
        ModelMap(Package, {"publisher": "publisher_id.username"}, extra=["publisher"]),
        ModelMap(Author, on_create={"uid": uuid.uuid4}),
    )
    engine = new_engine(Raw.metadata)
    create_tables(engine, maps["releases"].model.metadata)
    with Session(engine) as session, session.begin():
        session.add(Author(uid=uuid.uuid4(), username="mallory"))
    registry = SQLAlchemyRegistry(engine, **maps)
    records: dict[str, list[Record]] = {
        "users": [{"username": "alice"}],
        "packages": [{"name": "jason", "publisher": "alice"}],
    }
    restore(registry, records)
    with engine.connect() as connection:
        publisher = connection.exec_driver_sql(
            "SELECT username FROM authors JOIN packages ON publisher_id = authors.id"
        ).scalar_one()
    assert publisher == "alice"
