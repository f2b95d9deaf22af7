"""What only the database holds unique blocks a record before it is refused."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hexhub_backup.archive.records import Record
from hexhub_backup.databases.sqlite import parts_of
from hexhub_backup.registry.mapping.model_map import ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import (
    Base,
    NewEngine,
    compare,
    host_of,
    overwrites,
    records_of,
    restore,
    usual_registry,
)

POSTGRESQL = pytest.mark.parametrize("database", ["postgresql"], indirect=True)
NO_EXPRESSION = pytest.mark.gap(mariadb="no index over an expression, or of a part of the rows")
MARIADB = pytest.mark.parametrize("database", ["mariadb"], indirect=True)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def host(
    new_engine: NewEngine, *columns: Any, sql: tuple[str, ...] = (), **options: Any
) -> SQLAlchemyRegistry:
    """A host whose users are a table of `columns`, and whose migrations have said `sql` since."""

    class Bare(DeclarativeBase):
        pass

    engine, registry = host_of(new_engine, Bare, *columns, **options)
    with engine.begin() as connection:
        for each in sql:
            connection.execute(sa.text(each))
    return registry


def reasons(
    registry: SQLAlchemyRegistry, users: list[Record], **options: Any
) -> dict[str, str | None]:
    """Why each user is blocked. The others are restored, which shows that they could be."""
    found = compare(registry, {"users": users}, **options)["users"]
    restore(registry, {"users": users}, overwrites)
    return {each.key[0]: each.reason for each in found}


@NO_EXPRESSION
def test_an_index_over_an_expression(new_engine: NewEngine) -> None:
    registry = host(new_engine, sql=("CREATE UNIQUE INDEX one_name ON u (lower(username), (1))",))
    restore(registry, {"users": [{"username": "Ann"}]})
    names = ("ANN", "bob", "BOB", "eve")
    found = reasons(registry, [{"username": name} for name in names])
    assert str(found["ANN"]).startswith(
        "user Ann of the registry has the same username (by the unique index one_name): change"
    )
    assert "it has the same username (by the unique index one_name) as user BOB" in str(
        found["bob"]
    )
    assert found["BOB"] is not None
    assert [each["username"] for each in records_of(registry)["users"]] == ["Ann", "eve"]


@NO_EXPRESSION
def test_an_overwritten_row_fights_too_but_not_with_itself(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=("CREATE UNIQUE INDEX one_email ON u (lower(email))",),
    )
    restore(registry, {"users": [{"username": n, "email": f"{n}@x"} for n in ("ann", "bob")]})
    users: list[Record] = [
        {"username": "ann", "email": "ANN@x"},
        {"username": "bob", "email": "Ann@X"},
    ]
    found = reasons(registry, users, overwrite=True)
    assert found["ann"] is not None
    assert "user ann of the registry has the same email" in str(found["bob"])
    assert reasons(registry, users[:1], overwrite=True) == {"ann": None}
    assert records_of(registry)["users"][0]["email"] == "ANN@x"


@NO_EXPRESSION
def test_a_part_of_the_rows_by_a_column_that_the_database_fills(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sa.Column("state", sa.String, server_default="live"),
        sql=(
            "CREATE UNIQUE INDEX live_email ON u (email) WHERE state = 'live' AND email <> 'a,)'",
        ),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = reasons(
        registry, [{"username": "bob", "email": "a@x"}, {"username": "eve", "email": "b@x"}]
    )
    assert "user ann of the registry has the same email (by the unique index live_email)" in str(
        found["bob"]
    )
    assert found["eve"] is None


def test_columns_that_the_model_does_not_have(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            'ALTER TABLE u ADD COLUMN "Org %" INTEGER DEFAULT 1',
            'CREATE UNIQUE INDEX of_org ON u ("Org %", email)',
        ),
    )
    restore(registry, {"users": [{"username": n, "email": f"{n}@x"} for n in ("ann", "bob")]})
    found = reasons(
        registry,
        [{"username": "bob", "email": "ann@x"}, {"username": "eve", "email": "ann@x"}],
        overwrite=True,
    )
    assert all("has the same Org % and email" in str(each) for each in found.values())


def test_a_column_that_is_generated_from_others(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sa.Column("folded", sa.String, sa.Computed("lower(email)", persisted=True), unique=True),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    users: list[Record] = [
        {"username": "ann", "email": "A@X"},
        {"username": "bob", "email": "A@x"},
        {"username": "eve", "email": "e@x"},
        {"username": "Eve", "email": "E@x"},
    ]
    found = reasons(registry, users)
    assert all("the same folded" in str(found[name]) for name in ("bob", "eve", "Eve"))


@NO_EXPRESSION
@pytest.mark.parametrize("sql", ["UNIQUE INDEX", "INDEX"])
def test_an_index_that_is_not_unique_blocks_nobody(new_engine: NewEngine, sql: str) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            f"CREATE {sql} any_one ON u (email, username)",
            "CREATE INDEX more ON u (lower(email))",
        ),
    )
    users: list[Record] = [{"username": n, "email": "a@x"} for n in ("ann", "bob")]
    assert set(reasons(registry, users).values()) == {None}


@pytest.mark.sample
def test_an_index_that_came_or_went_since_the_last_restoration(new_engine: NewEngine) -> None:
    class Bare(DeclarativeBase):
        pass

    email = sa.Column("email", sa.String(40))
    engine, registry = host_of(new_engine, Bare, email)
    users: list[Record] = [{"username": n, "email": "a@x"} for n in ("ann", "bob")]
    index = sa.Index("one_email", email, unique=True)

    def blocked() -> list[str]:
        found = compare(registry, {"users": users})["users"]
        return [each.key[0] for each in found if each.reason is not None]

    assert blocked() == []
    index.create(engine)
    assert blocked() == ["ann", "bob"]
    index.drop(engine)
    assert blocked() == []


@NO_EXPRESSION
def test_new_children_of_new_parents(new_engine: NewEngine) -> None:
    engine = new_engine(Base.metadata)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE UNIQUE INDEX one_version ON releases (package_id, lower(version))"
        )
    registry = usual_registry(engine)
    versions = ("1.0.0-rc", "1.0.0-RC", "2.0.0")
    records: dict[str, list[Record]] = {
        "packages": [{"name": "jason"}, {"name": "plug"}],
        "releases": [
            {"package_name": name, "version": version}
            for name, version in [("plug", "1.0.0-rc"), *(("jason", each) for each in versions)]
        ],
    }
    found = compare(registry, records)["releases"]
    assert [each.state for each in found] == ["create", "blocked", "blocked", "create"]
    assert (
        "it has the same package_name and version (by the unique index one_version) as release "
        "jason 1.0.0-RC of the archive"
    ) in str(found[1].reason)


@pytest.mark.sample
@NO_EXPRESSION
def test_names_that_have_to_be_quoted(new_engine: NewEngine) -> None:
    class Named(DeclarativeBase):
        pass

    class Person(Named):
        __tablename__ = "Peo ple"
        login: Mapped[str] = mapped_column("Order", primary_key=True)
        mail: Mapped[str | None] = mapped_column('E-"Mail"')

    engine, _ = host_of(new_engine, Named)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            'CREATE UNIQUE INDEX "One ""(Mail,"  ON "Peo ple" (lower("E-""Mail"""), "Order")'
        )
        connection.exec_driver_sql('CREATE UNIQUE INDEX two ON "Peo ple" (upper("E-""Mail"""))')
    registry = SQLAlchemyRegistry(
        engine,
        users=ModelMap(Person, {"username": "login", "email": "mail"}),
        packages=ModelMap(Named.metadata.tables["p"]),
        releases=ModelMap(Named.metadata.tables["r"]),
        owners=ModelMap(Named.metadata.tables["o"]),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = reasons(registry, [{"username": "bob", "email": "A@x"}])
    assert "user ann of the registry has the same email (by the unique index two)" in str(
        found["bob"]
    )


# --- one database's own ------------------------------------------------------------------


@SQLITE
def test_a_collation_of_the_index_alone(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=("CREATE UNIQUE INDEX one_email ON u (email COLLATE NOCASE DESC)",),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = reasons(registry, [{"username": "bob", "email": "A@X"}])
    assert "user ann of the registry has the same email" in str(found["bob"])


@POSTGRESQL
def test_a_collation_of_the_index_alone_on_postgresql(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=('CREATE UNIQUE INDEX one_email ON u (email COLLATE "NOCASE")',),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = reasons(registry, [{"username": "bob", "email": "A@X"}])
    assert "user ann of the registry has the same email" in str(found["bob"])


@POSTGRESQL
def test_types_and_collations_that_only_the_database_knows(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sa.Column("nick", sa.String),
        sa.Column("level", sa.String),
        sql=(
            "CREATE EXTENSION citext",
            "ALTER TABLE u ALTER email TYPE citext",
            'ALTER TABLE u ALTER nick TYPE text COLLATE "NOCASE"',
            "ALTER TABLE u ADD UNIQUE (email), ADD UNIQUE (nick)",
        ),
        extra=["nick"],
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x", "nick": "a"}]})
    found = reasons(
        registry,
        [
            {"username": "bob", "email": "A@X", "nick": "b"},
            {"username": "eve", "email": "e@x", "nick": "A"},
        ],
    )
    assert "has the same email" in str(found["bob"])
    assert "has the same nick" in str(found["eve"])


@POSTGRESQL
def test_nulls_that_are_not_distinct(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sa.Column("number", sa.Integer),
        sql=(
            "ALTER TABLE u ADD UNIQUE NULLS NOT DISTINCT (email)",
            "CREATE SEQUENCE numbers",
            "ALTER TABLE u ALTER number SET DEFAULT nextval('numbers')",
            "ALTER TABLE u ADD UNIQUE NULLS NOT DISTINCT (number)",
        ),
    )
    restore(registry, {"users": [{"username": "ann"}, {"username": "bob", "email": "b@x"}]})
    found = reasons(registry, [{"username": "eve"}, {"username": "joe", "email": "j@x"}])
    assert "user ann of the registry has the same email" in str(found["eve"])
    assert found["joe"] is None


@pytest.mark.sample
@POSTGRESQL
def test_a_constraint_that_is_looked_at_on_commit(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=("ALTER TABLE u ADD CONSTRAINT later UNIQUE (email) DEFERRABLE INITIALLY DEFERRED",),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = reasons(registry, [{"username": "bob", "email": "a@x"}])
    assert "user ann of the registry has the same email" in str(found["bob"])


@MARIADB
def test_an_index_over_the_beginning_of_a_column(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=("CREATE UNIQUE INDEX one_beginning ON u (email(3))",),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x.org"}]})
    found = reasons(
        registry, [{"username": "bob", "email": "a@x.net"}, {"username": "eve", "email": "e@x"}]
    )
    assert (
        "user ann of the registry has the same email (by the unique index one_beginning): change"
    ) in str(found["bob"])
    assert found["eve"] is None


@pytest.mark.sample
@MARIADB
def test_a_collation_that_folds_case_makes_one_key_of_two(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sql=(
            "ALTER TABLE o DROP FOREIGN KEY o_ibfk_2",
            "ALTER TABLE u MODIFY username varchar(255) COLLATE utf8mb4_general_ci",
        ),
    )
    users: list[Record] = [{"username": name} for name in ("JSONStream", "jsonstream", "ann ")]
    found = compare(registry, {"users": users})["users"]
    assert [each.state for each in found] == ["blocked", "blocked", "create"]
    assert (
        "to the database it is user jsonstream of the archive, only spelled otherwise: take one"
    ) in str(found[0].reason)
    restore(registry, {"users": users[:1]})
    # It ignores spaces at the end too.
    found = compare(registry, {"users": [{"username": "JsonStream "}]})["users"]
    assert [each.state for each in found] == ["unchanged"]


@MARIADB
def test_a_column_that_an_index_folds(new_engine: NewEngine) -> None:
    registry = host(
        new_engine,
        sa.Column("email", sa.String),
        sql=(
            "ALTER TABLE u MODIFY email varchar(80) COLLATE utf8mb4_unicode_ci",
            "ALTER TABLE u ADD UNIQUE one_email (email)",
        ),
    )
    restore(registry, {"users": [{"username": "ann", "email": "a@x"}]})
    found = reasons(
        registry,
        [{"username": "bob", "email": "A@x "}, {"username": "eve", "email": "e@x"}],
    )
    assert "user ann of the registry has the same email: change" in str(found["bob"])
    assert found["eve"] is None


@pytest.mark.parametrize(
    ("sql", "parts", "condition"),
    [
        ("CREATE UNIQUE INDEX i ON t (a, b DESC)", ["a", "b"], None),
        ("create unique index i on t(lower(a) collate NOCASE asc)", ["lower(a)"], None),
        (
            'CREATE INDEX "i(,)" ON "t(" ( a -- )\n || \',)\' , /* ( */ "b,)" )where a>\'(\';',
            ["a  \n || ',)'", '"b,)"'],
            "a>'('",
        ),
        (
            "CREATE UNIQUE INDEX i ON t ((a), coalesce(b, (c), ''))",
            ["(a)", "coalesce(b, (c), '')"],
            None,
        ),
        (
            "CREATE UNIQUE INDEX i ON [t (] (`b)`, [c,]) WHERE (a IN (1, 2))",
            ["`b)`", "[c,]"],
            "(a IN (1, 2))",
        ),
    ],
)
def test_the_sql_of_an_index_is_taken_apart(
    sql: str, parts: list[str], condition: str | None
) -> None:
    assert parts_of(sql) == (parts, condition)
