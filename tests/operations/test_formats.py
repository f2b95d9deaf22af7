"""Plans, indexes, undo sets and lists of names have a version, and another one is never read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, db
from hexhub_backup import verbs
from hexhub_backup.archive.reading.index import Index
from hexhub_backup.errors import VersionError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.changed import changed_names
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.contents import Contents
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.undo_set import UndoSet, placed_by
from tests.support.directory import depot_of
from tests.support.hosts import ADA, restored

pytestmark = pytest.mark.usefixtures("host")


#: The undo set of the first release, which had no version.
VERSION_0 = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE records (
  kind TEXT NOT NULL, n INTEGER NOT NULL, action TEXT NOT NULL, left TEXT NOT NULL, before TEXT,
  PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE files (
  type TEXT NOT NULL, n INTEGER NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL,
  action TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (type, n)
) WITHOUT ROWID;
"""


def private() -> list[bool]:
    db.session.rollback()
    return list(db.session.scalars(sa.select(Package.private).order_by(Package.id)))


def change() -> list[bool]:
    """Change each package; gives what it is then."""
    db.session.execute(sa.update(Package).values(private=~Package.private))
    db.session.commit()
    return private()


def versioned(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version={version}")


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


@pytest.mark.parametrize(
    ("name", "read", "oldest", "newest", "fix"),
    [
        ("plan", Plan, 3, 3, "inspect the archive again"),
        ("index of an archive", lambda path: Index(path, make=False), 2, 2, "inspect the archive"),
        ("list of an archive's contents", Contents, 1, 1, "remove the file, and verify the backup"),
        ("undo set", UndoSet, 0, 1, "undo the restore with the release that made it"),
        ("undo set", lambda path: list(placed_by(path)), 0, 1, "undo the restore with the release"),
        ("list of changed names", lambda path: len(changed_names(path)["users"]), 0, 1, "use the"),
    ],
)
def test_a_file_of_another_version_is_refused_by_its_name(
    app: Flask,
    backups: Backups,
    backup: str,
    name: str,
    read: Callable[[Path], object],
    oldest: int,
    newest: int,
    fix: str,
) -> None:
    change()
    done = restored(app, backup).operation
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, backup, Choice())
    ).operation
    path = {
        "plan": depot_of(backups).plan(plan) / "plan.sqlite",
        "index of an archive": depot_of(backups).plan(plan) / "index.sqlite",
        "list of an archive's contents": depot_of(backups).kept("contents", backup).here(),
        "undo set": depot_of(backups).undo_set(done),
        "list of changed names": depot_of(backups).kept("changed", done).here(),
    }[name]
    assert version_of(path) == newest
    for version in (newest + 1, 99, *range(oldest)):
        versioned(path, version)
        known = f"version {newest}" if oldest == newest else f"versions {oldest} to {newest}"
        says = rf"^The {name} in {path} is of version {version}, and this .* reads {known}: {fix}"
        with pytest.raises(VersionError, match=says):
            read(path)


def test_a_restore_by_a_plan_of_another_version_changes_nothing(
    app: Flask, backups: Backups, backup: str
) -> None:
    before = change()
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, backup, Choice(strategy="overwrite"))
    ).operation
    versioned(depot_of(backups).plan(plan) / "plan.sqlite", 99)
    with pytest.raises(VersionError, match="inspect the archive again"):
        backups.orders.run(app, verbs.restore.order(backups.plans, ADA, plan))
    assert private() == before


def test_an_undo_set_of_the_first_release_is_undone(
    app: Flask, backups: Backups, backup: str
) -> None:
    changed = change()
    done = restored(app, backup).operation
    path = depot_of(backups).undo_set(done)
    assert private() != changed
    with closing(sqlite3.connect(path)) as database:
        rows = {
            name: database.execute(f"SELECT * FROM {name}").fetchall()
            for name in ("about", "records", "files")
        }
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(VERSION_0)
        for name, found in rows.items():
            marks = ", ".join("?" * {"about": 2, "records": 5, "files": 6}[name])
            database.executemany(f"INSERT INTO {name} VALUES ({marks})", found)
    assert version_of(path) == 0
    backups.orders.run(app, verbs.undo.order(backups.history, ADA, done, granted=True))
    assert private() == changed
