"""What an undo removes where rows refer to each other, on both databases."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import sqlalchemy as sa

from hexhub_backup.archive.records import KINDS, Record
from hexhub_backup.errors import DatabaseError
from hexhub_backup.registry.base import Action
from hexhub_backup.registry.mapping.model_map import ModelMap
from hexhub_backup.registry.sqlalchemy import SQLAlchemyRegistry
from tests.support.registries import NewEngine

Staged = dict[str, list[tuple[Action, Record]]]


class Host:
    """A host whose tables refer to each other by what a test adds to them."""

    def __init__(self, new_engine: NewEngine, *others: sa.Table, **more: Any) -> None:
        """`more`: items of the table of a kind, by its name."""
        metadata = sa.MetaData()
        self.users = sa.Table(
            "users",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("username", sa.String, unique=True),
            sa.Column("email", sa.String, unique=True),
            *more.get("users", ()),
        )
        self.packages = sa.Table(
            "packages",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.String, unique=True),
            *more.get("packages", ()),
        )
        self.releases = sa.Table(
            "releases",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("package_id", sa.ForeignKey("packages.id"), nullable=False),
            sa.Column("version", sa.String, nullable=False),
            sa.Column("publisher_id", sa.ForeignKey("users.id")),
            sa.UniqueConstraint("package_id", "version"),
            *more.get("releases", ()),
        )
        self.owners = sa.Table(
            "owners",
            metadata,
            sa.Column("package_id", sa.ForeignKey("packages.id"), primary_key=True),
            sa.Column("user_id", sa.ForeignKey("users.id"), primary_key=True),
            *more.get("owners", ()),
        )
        for table in others:
            table.to_metadata(metadata)
        self.engine = new_engine(metadata)
        self.registry = SQLAlchemyRegistry(
            self.engine,
            users=ModelMap(self.users),
            packages=ModelMap(self.packages),
            releases=ModelMap(
                self.releases, {"publisher": "publisher_id.username"}, extra=["publisher"]
            ),
            owners=ModelMap(self.owners),
        )

    def run(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            found = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")
            return [tuple(row) for row in found]

    def undo(self, left: Staged, before: dict[str, list[tuple[int, Record]]] | None = None) -> Any:
        """The labels of what stays because it is referred to; as an undo does it."""
        with self.registry.undoing(protected=False, actor=None) as undoing:
            for kind in KINDS:
                records = [(n, r, a) for n, (a, r) in enumerate(left.get(kind.name, []))]
                undoing.left.stage(kind, records)
                overwritten = (before or {}).get(kind.name, [])
                undoing.before.stage(kind, [(n, record, "overwrite") for n, record in overwritten])
            with undoing.decision():
                removed = undoing.remove()
                for kind in KINDS:
                    assert {each.state for each in undoing.before.compare(kind)} <= {"conflict"}
                    undoing.before.write(kind)
                removed = removed or undoing.remove()
                stays = [kind.label(key) for kind in KINDS for _, key in undoing.referred(kind)]
                assert removed == (not stays)
        return stays


def created(*packages: str, users: Iterable[str] = ()) -> Staged:
    """Packages with a release each, and users, that a restore has created."""
    return {
        "users": [("create", {"username": name}) for name in users],
        "packages": [("create", {"name": name}) for name in packages],
        "releases": [("create", {"package_name": name, "version": "1"}) for name in packages],
    }


def latest(*, nullable: bool = True, **options: Any) -> sa.Column[Any]:
    return sa.Column(
        "latest_release_id",
        sa.ForeignKey("releases.id", use_alter=True, name="latest", **options),
        nullable=nullable,
        server_default=None if nullable else "0",
    )


TWO = (
    "INSERT INTO packages (id, name) VALUES (1, 'ecto'), (2, 'jason')",
    "INSERT INTO releases (id, package_id, version) VALUES (1, 1, '1'), (2, 2, '1')",
)
LATEST = "UPDATE packages SET latest_release_id = id"


@pytest.mark.parametrize("action", [None, "SET NULL", "CASCADE", "RESTRICT"])
def test_a_package_and_its_latest_release_go_together(
    new_engine: NewEngine, action: str | None
) -> None:
    host = Host(new_engine, packages=[latest(ondelete=action)])
    host.run(*TWO, LATEST)
    assert host.undo(created("jason")) == []
    assert host.rows("packages") == [(1, "ecto", 1)]
    assert [row[0] for row in host.rows("releases")] == [1]


def test_a_package_that_stays_keeps_its_latest_release(new_engine: NewEngine) -> None:
    host = Host(new_engine, packages=[latest()])
    host.run(*TWO, LATEST)
    left = created("jason")
    del left["packages"]
    assert host.undo(left) == ["release jason 1"]
    assert host.rows("packages") == [(1, "ecto", 1), (2, "jason", 2)]
    assert len(host.rows("releases")) == 2


def test_what_is_referred_to_from_outside_keeps_all_that_it_hangs_on(
    new_engine: NewEngine,
) -> None:
    """A row of the host's own refers to one release: it stays, so does its package, and that
    keeps its latest release. The other package goes."""
    stars = sa.Table(
        "stars",
        sa.MetaData(),
        sa.Column("release_id", sa.ForeignKey("releases.id", ondelete="CASCADE")),
    )
    sa.Table("releases", stars.metadata, sa.Column("id", sa.Integer, primary_key=True))
    host = Host(new_engine, stars, packages=[latest()])
    host.run(
        *TWO,
        "INSERT INTO releases (id, package_id, version) VALUES (3, 1, '2')",
        LATEST,
        "UPDATE packages SET latest_release_id = 3 WHERE id = 1",
        "INSERT INTO stars VALUES (1)",
    )
    left = created("ecto", "jason")
    left["releases"].append(("create", {"package_name": "ecto", "version": "2"}))
    assert host.undo(left) == ["package ecto", "release ecto 1", "release ecto 2"]
    assert host.rows("packages") == [(1, "ecto", 3)]
    assert [row[0] for row in host.rows("releases")] == [1, 3]
    assert host.rows("stars") == [(1,)]


@pytest.mark.sample
@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("action", [None, "RESTRICT", "CASCADE"])
def test_packages_that_refer_to_each_other_go_together(
    new_engine: NewEngine, action: str | None, nullable: bool
) -> None:
    parent: sa.Column[Any] = sa.Column(
        "parent_id",
        sa.ForeignKey("packages.id", ondelete=action),
        nullable=nullable,
        server_default=None if nullable else "0",
    )
    host = Host(new_engine, packages=[parent])
    host.run(
        "INSERT INTO packages (id, name, parent_id) VALUES (1, 'ecto', 1), (2, 'jason', 1), "
        "(3, 'plug', 2), (4, 'mint', 4)",
    )
    left = created("ecto", "jason", "plug")
    del left["releases"]
    # MariaDB looks at each row, and not at the end of the statement.
    at_once = action == "RESTRICT" or (action is None and host.engine.dialect.name == "mysql")
    if at_once and not nullable:
        # It refers to itself, for as long as it is there.
        assert host.undo(left) == ["package ecto"]
        return
    assert host.undo(left) == []
    assert host.rows("packages") == [(4, "mint", 4)]


def test_a_package_that_stays_keeps_its_parents(new_engine: NewEngine) -> None:
    host = Host(new_engine, packages=[sa.Column("parent_id", sa.ForeignKey("packages.id"))])
    host.run(
        "INSERT INTO packages (id, name, parent_id) VALUES "
        "(1, 'ecto', NULL), (2, 'jason', 1), (3, 'plug', 2)",
    )
    left = created("ecto", "jason")
    del left["releases"]
    assert host.undo(left) == ["package ecto", "package jason"]
    assert len(host.rows("packages")) == 3


def test_a_key_over_two_columns_is_cleared_too(new_engine: NewEngine) -> None:
    host = Host(
        new_engine,
        packages=[
            sa.Column("latest_of", sa.Integer, nullable=False, server_default="0"),
            sa.Column("latest_version", sa.String),
            sa.ForeignKeyConstraint(
                ["latest_of", "latest_version"],
                ["releases.package_id", "releases.version"],
                use_alter=True,
                name="latest",
            ),
        ],
    )
    host.run(*TWO, "UPDATE packages SET latest_of = id, latest_version = '1'")
    assert host.undo(created("jason")) == []
    assert host.rows("packages") == [(1, "ecto", 1, "1")]


@pytest.mark.gap(mariadb="no constraint waits for the commit")
def test_what_is_looked_at_only_at_the_end_needs_no_clearing(new_engine: NewEngine) -> None:
    host = Host(
        new_engine, packages=[latest(nullable=False, deferrable=True, initially="DEFERRED")]
    )
    host.run(
        "INSERT INTO packages (id, name, latest_release_id) VALUES (1, 'ecto', 1), (2, 'jason', 2)",
        TWO[1],
    )
    assert host.undo(created("jason")) == []
    assert host.rows("packages") == [(1, "ecto", 1)]


@pytest.mark.gap(mariadb="no constraint waits for the commit")
def test_what_can_be_neither_cleared_nor_deferred_stays_and_is_listed(
    new_engine: NewEngine,
) -> None:
    host = Host(
        new_engine, packages=[latest(nullable=False, deferrable=True, initially="IMMEDIATE")]
    )
    with host.engine.begin() as connection:
        sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql(
            "PRAGMA defer_foreign_keys = ON" if sqlite else "SET CONSTRAINTS ALL DEFERRED"
        )
        connection.exec_driver_sql(
            "INSERT INTO packages (id, name, latest_release_id) VALUES (2, 'jason', 2)"
        )
        connection.exec_driver_sql(
            "INSERT INTO releases (id, package_id, version) VALUES (2, 2, '1')"
        )
    assert host.undo(created("jason")) == ["package jason", "release jason 1"]
    assert host.rows("packages") == [(2, "jason", 2)]


def test_a_row_without_a_key_of_its_own_refers_too(new_engine: NewEngine) -> None:
    """A host may have such a row, which is in no backup: its username is null."""
    host = Host(new_engine, users=[sa.Column("sponsor_id", sa.ForeignKey("users.id"))])
    host.run(
        "INSERT INTO users (id, username) VALUES (1, 'ann')",
        "INSERT INTO users (id, sponsor_id) VALUES (2, 1)",
    )
    assert host.undo(created(users=["ann"])) == ["user ann"]
    assert len(host.rows("users")) == 2


def test_a_user_to_whom_only_what_is_brought_back_referred_goes(new_engine: NewEngine) -> None:
    """The restore gave the release another publisher, whom it had created."""
    host = Host(new_engine)
    host.run(
        "INSERT INTO users (id, username) VALUES (1, 'ann'), (2, 'bob')",
        "INSERT INTO packages (id, name) VALUES (1, 'ecto')",
        "INSERT INTO releases VALUES (1, 1, '1', 2)",
    )
    release = {"package_name": "ecto", "version": "1", "publisher": "bob"}
    left: Staged = {**created(users=["bob"]), "releases": [("overwrite", release)]}
    assert host.undo(left, {"releases": [(0, release | {"publisher": "ann"})]}) == []
    assert host.rows("users") == [(1, "ann", None)]
    assert host.rows("releases") == [(1, 1, "1", 1)]


@pytest.mark.sample
@pytest.mark.gap(mariadb="no trigger keeps a row without an error")
def test_a_row_that_a_trigger_keeps_ends_the_undo(new_engine: NewEngine) -> None:
    host = Host(new_engine)
    host.run(*TWO)
    if host.engine.dialect.name == "sqlite":
        host.run("CREATE TRIGGER keep BEFORE DELETE ON releases BEGIN SELECT RAISE(IGNORE); END")
    else:
        host.run(
            "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            "CREATE TRIGGER keep BEFORE DELETE ON releases FOR EACH ROW EXECUTE FUNCTION keep()",
        )
    with pytest.raises(DatabaseError, match=r"1 releases could not be removed, and nothing was"):
        host.undo(created("jason"))
    assert len(host.rows("releases")) == 2
