"""Undo after the world moved: the storage was copied, a host wrote over what the restore stored."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, Release, db
from hexhub_backup import verbs
from hexhub_backup.errors import (
    ChangedError,
    DatabaseError,
    InterruptedOperationError,
    StorageError,
)
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.changed import changed_names
from tests.support import matrix
from tests.support.directory import depot_of
from tests.support.hosts import ADA, dump, leftovers, planned, restored
from tests.support.moved import OTHER, Registry, before_the_decision, in_place, told, when
from tests.support.stored import root_of

pytestmark = [pytest.mark.host(users=2), pytest.mark.usefixtures("storages", "host")]


@pytest.fixture
def registry(app: Flask, backup: str) -> Registry:
    return Registry(app)


def copied(backups: Backups, *options: str) -> None:
    """The storage on another disk: all inodes are others."""
    root = root_of(backups.storage)
    old = root.with_name("old")
    root.rename(old)
    subprocess.run(["cp", *options, old, root], check=True)
    shutil.rmtree(old)


#: With hard links, without them, and without the times too.
COPIES = [("-a",), ("-R", "--preserve=timestamps"), ("-R",)]


@pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(each, id=" ".join(each)) for each in COPIES[:2]),
        # What is kept for an undo is known by its tag alone there.
        pytest.param(
            COPIES[2], id="-R", marks=pytest.mark.gap(bucket="what is kept has no seal of its own")
        ),
    ],
)
@pytest.mark.parametrize("same_size", [True, False])
def test_an_undo_knows_the_files_of_a_storage_that_was_copied(
    app: Flask, backup: str, registry: Registry, options: tuple[str, ...], same_size: bool
) -> None:
    if not same_size:
        registry.file.write_bytes(OTHER)
    before = dump(app)
    done = restored(app, backup)
    copied(registry.backups, *options)
    outcome = registry.undo(done.operation)
    assert told(outcome) == []
    assert dump(app) == before
    assert outcome["files"]["brought_back"] == 1
    assert outcome["files"]["removed"] >= 2
    assert leftovers(registry.backups) == []


def anew(path: Path, content: bytes = OTHER) -> None:
    path.unlink()
    path.touch()
    in_place(path, content)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "write", [in_place, anew, pytest.param(folder, marks=pytest.mark.gap(bucket="no folders"))]
)
@pytest.mark.parametrize("copy", [False, True])
def test_a_release_whose_file_the_host_changed_stays_whole(
    app: Flask,
    backup: str,
    registry: Registry,
    write: Callable[[Path], None],
    copy: bool,
) -> None:
    """Its row stays with it, also where that is as the restore left it."""
    done = restored(app, backup)
    for path in (registry.file, registry.created, registry.put_back):
        write(path)
    if copy:
        copied(registry.backups, "-a")
    after = dump(app)
    outcome = registry.undo(done.operation)
    assert sorted(told(outcome)) == sorted(
        ("changed_since", each) for each in (registry.differs, registry.gone, registry.lost)
    )
    assert dump(app) == after
    assert outcome["files"] == {"removed": 0, "brought_back": 0}
    assert outcome["records"]["releases"] == {"removed": 0, "brought_back": 0, "left": 2}


def test_one_changed_file_of_two_keeps_both(app: Flask, backups: Backups, backup: str) -> None:
    root = root_of(backups.storage)
    docs = next(root.rglob("docs/*/*.tar.gz"))
    (package,) = root.rglob(f"packages/*/{docs.name}")
    for path in (docs, package):
        path.write_bytes(OTHER)
    done = restored(app, backup)
    in_place(docs, b"once more")
    after = dump(app)
    outcome = backups.orders.run(
        app, verbs.undo.order(backups.history, ADA, done.operation)
    ).outcome
    assert [code for code, _ in told(outcome)] == ["changed_since"]
    assert dump(app) == after


def test_a_host_that_writes_the_same_again_has_changed_nothing(
    app: Flask, backup: str, registry: Registry
) -> None:
    before = dump(app)
    done = restored(app, backup)
    anew(registry.file, registry.archived)
    assert told(registry.undo(done.operation)) == []
    assert dump(app) == before


def test_what_is_gone_already_is_not_counted(app: Flask, backup: str, registry: Registry) -> None:
    """What was created and is gone is as it was. What was replaced and is gone stays gone."""
    done = restored(app, backup)
    for path in (registry.file, registry.created, registry.put_back):
        path.unlink()
    outcome = registry.undo(done.operation)
    assert told(outcome) == [("changed_since", registry.differs)]
    assert not registry.is_as_before()
    assert outcome["records"]["releases"] == {"removed": 1, "brought_back": 0, "left": 1}
    assert outcome["files"]["brought_back"] == 0
    assert not registry.file.exists()


def test_the_file_of_a_row_that_the_host_has_removed_goes(
    app: Flask, backup: str, registry: Registry
) -> None:
    before = dump(app)
    done = restored(app, backup)
    _, name, version = registry.gone.split()
    release = db.session.scalars(
        sa.select(Release).join(Package).where(Package.name == name, Release.version == version)
    ).one()
    db.session.delete(release)
    db.session.commit()
    outcome = registry.undo(done.operation)
    assert told(outcome) == []
    assert dump(app) == before
    assert outcome["records"]["releases"]["removed"] == 0


@pytest.mark.parametrize("damage", ["rewritten", "gone"])
def test_a_kept_file_that_is_not_what_was_kept_is_not_brought_back(
    app: Flask, backup: str, registry: Registry, damage: str
) -> None:
    done = restored(app, backup)
    (kept,) = (root_of(registry.backups.storage) / ".hexhub-backup/undo").rglob("*.tar.gz")
    if damage == "gone":
        kept.unlink()
    else:
        in_place(kept)
    outcome = registry.undo(done.operation)
    assert told(outcome) == [("not_kept", registry.differs)]
    assert registry.file.read_bytes() == registry.archived
    assert not registry.is_as_before()
    assert outcome["records"]["releases"]["brought_back"] == 0


def test_restores_one_on_top_of_the_other_are_undone_in_any_order(
    app: Flask, backup: str, registry: Registry
) -> None:
    before = dump(app)
    first = restored(app, backup).operation
    between = dump(app)
    in_place(registry.file)
    registry.created.unlink()
    changed = dump(app)
    second = restored(app, backup).operation
    # The second one has put back what the first had left.
    assert dump(app) == between
    copied(registry.backups, "-a")
    assert told(registry.undo(second)) == []
    assert dump(app) == changed
    outcome = registry.undo(first)
    assert told(outcome) == [("changed_since", registry.differs)]
    anew(registry.file, registry.archived)
    assert dump(app) != before
    assert leftovers(registry.backups) == []


def test_an_undo_set_without_checksums_still_works(
    app: Flask, backup: str, registry: Registry
) -> None:
    """As the version before this one left them."""
    before = dump(app)
    done = restored(app, backup)
    with closing(sqlite3.connect(depot_of(registry.backups).undo_set(done.operation))) as old, old:
        old.execute("UPDATE files SET tag = substr(tag, 1, instr(tag, ' ') - 1)")
    assert told(registry.undo(done.operation)) == []
    assert dump(app) == before


def test_a_file_is_looked_at_once_more_when_the_tables_are_locked(
    app: Flask, backup: str, registry: Registry
) -> None:
    done = restored(app, backup)
    with when(app, "stage_records", lambda: in_place(registry.file)):
        outcome = registry.undo(done.operation)
    assert told(outcome) == [("changed_since", registry.differs)]
    assert registry.file.read_bytes() == OTHER
    assert not registry.is_as_before()


def test_what_changes_when_all_is_ready_is_neither_counted_nor_carried_out(
    app: Flask, backup: str, registry: Registry
) -> None:
    """What is made ready while nobody waits, the journal and the names, knew nothing of it."""
    done = restored(app, backup)
    with before_the_decision(app, lambda: in_place(registry.file)):
        outcome = registry.undo(done.operation)
    assert told(outcome) == [("changed_since", registry.differs)]
    assert registry.file.read_bytes() == OTHER
    assert not registry.is_as_before()
    assert outcome["files"]["brought_back"] == 0
    assert outcome["records"]["releases"]["left"] == 1
    kept = registry.backups.depot.kept("changed", outcome["operation"])
    names = changed_names(kept.here())["packages"]
    package, other = (label.split()[1] for label in (registry.differs, registry.gone))
    assert other in names
    assert package not in names
    assert outcome["changed"]["packages"] == {"count": len(names), "names": list(names)}


def test_nothing_is_left_on_the_connection(app: Flask, backup: str, registry: Registry) -> None:
    """The pool hands it to the host next."""
    registry.undo(restored(app, backup).operation)
    with db.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT name FROM sqlite_temp_master").all()
    assert left == []


# --- after the decision ------------------------------------------------------------------


def test_what_the_host_changes_after_the_decision_is_not_counted(
    app: Flask, backup: str, registry: Registry
) -> None:
    job = planned(app, backup)
    with when(app, "place_files", lambda: in_place(registry.file)):
        outcome = registry.backups.orders.run(app, job).outcome
    assert told(outcome) == [("file_changed", registry.differs)]
    assert outcome["files"]["replaced"] == 0
    assert outcome["files"]["placed"] >= 2
    assert registry.file.read_bytes() == OTHER
    undone = registry.undo(outcome["operation"])
    assert ("changed_since", registry.differs) in told(undone)
    assert registry.file.read_bytes() == OTHER


def interrupted(app: Flask, job: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """An operation that was decided, and whose process ended before any file was put in place."""
    backups = backups_of(app)

    def refuse(self: RunDecisions, operation_id: str) -> Any:
        raise DatabaseError("the server is gone")

    with monkeypatch.context() as patch:
        patch.setattr(RunDecisions, "journal", refuse)
        with pytest.raises(InterruptedOperationError):
            backups.orders.run(app, job)
    return backups.history.operations()[0].id


@pytest.mark.parametrize("verb", ["restore", "undo"])
@pytest.mark.parametrize("options", matrix.first(COPIES), ids=" ".join)
def test_recovery_knows_the_files_of_a_storage_that_was_copied(
    app: Flask,
    backup: str,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    options: tuple[str, ...],
) -> None:
    before = dump(app)
    if verb == "undo":
        restore = restored(app, backup).operation
        operation = interrupted(
            app, verbs.undo.order(registry.backups.history, ADA, restore), monkeypatch
        )
    else:
        operation = interrupted(app, planned(app, backup), monkeypatch)
    copied(registry.backups, *options)
    registry.backups.prepare(app)
    found = registry.backups.catalog.operation(operation)
    assert found.outcome is not None
    assert found.state == "completed"
    assert [code for code, _ in told(found.outcome)] == ["recovered"]
    if verb == "undo":
        assert dump(app) == before
    else:
        assert registry.file.read_bytes() == registry.archived


def test_recovery_counts_only_what_it_does(
    app: Flask, backup: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = restored(app, backup)
    removed = 3
    operation = interrupted(
        app, verbs.undo.order(registry.backups.history, ADA, done.operation), monkeypatch
    )
    in_place(registry.file)
    in_place(registry.put_back)
    registry.backups.prepare(app)
    found = registry.backups.catalog.operation(operation).outcome
    assert found is not None
    assert told(found) == [
        ("file_changed", registry.differs),
        ("file_changed", registry.lost),
        ("recovered", None),
    ]
    assert found["warning_count"] == 3
    assert found["files"] == {"removed": removed - 1, "brought_back": 0}
    assert registry.put_back.read_bytes() == registry.file.read_bytes() == OTHER


def test_recovery_leaves_the_file_of_a_release_that_was_published_again(
    app: Flask, backup: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host had the row, saw that the very file was there, and relies on it."""
    done = restored(app, backup)
    interrupted(app, verbs.undo.order(registry.backups.history, ADA, done.operation), monkeypatch)
    _, name, version = registry.gone.split()
    package = db.session.scalars(sa.select(Package).where(Package.name == name)).one()
    db.session.add(Release(package=package, version=version, meta={}, requirements={}))
    db.session.commit()
    registry.backups.prepare(app)
    assert registry.created.exists()
    assert not registry.put_back.exists()


# --- without a decision ------------------------------------------------------------------


@pytest.mark.parametrize("content", [OTHER, None], ids=["other", "the same"])
@pytest.mark.parametrize("write", [in_place, anew])
def test_a_restore_that_fails_takes_back_nothing_that_the_host_has_written(
    app: Flask,
    backup: str,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, bytes], None],
    content: bytes | None,
) -> None:
    """A host that stores a file does so before its row: what it wrote over is its own, whatever
    it wrote."""
    storage = registry.backups.storage
    flush = type(storage).flush

    def write_and_flush(self: Any) -> None:
        if registry.created.exists():
            write(registry.created, content or registry.created.read_bytes())
        flush(self)

    job = planned(app, backup)
    before = dump(app)
    with monkeypatch.context() as patch:
        patch.setattr(type(storage), "flush", write_and_flush)
        with pytest.raises(ChangedError, match=r"changed the package file of release .* while"):
            registry.backups.orders.run(app, job)
    assert registry.created.exists()
    if content is not None:
        assert registry.created.read_bytes() == content
    registry.created.unlink()
    assert dump(app) == before
    assert list(storage.staged()) == []


@pytest.mark.parametrize("options", matrix.first([(), *COPIES]), ids=" ".join)
def test_a_process_that_dies_undecided_is_taken_back_but_for_what_the_host_wrote(
    app: Flask,
    backup: str,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
) -> None:
    job = planned(app, backup)
    before = dump(app)
    child = os.fork()
    if child == 0:
        storage = registry.backups.storage
        place = type(storage).place

        def die(self: Any, *arguments: Any) -> None:
            place(self, *arguments)
            os._exit(7)

        monkeypatch.setattr(type(storage), "place", die)
        try:
            registry.backups.orders.run(app, job)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert registry.created.exists()
    in_place(registry.created)
    if options:
        copied(registry.backups, *options)
    registry.backups.prepare(app)
    assert registry.created.read_bytes() == OTHER
    registry.created.unlink()
    if options == ("-R",):
        # Nothing tells any more that the host has not written what is there.
        return
    assert dump(app) == before
    assert leftovers(registry.backups) == []


@pytest.mark.gap(bucket="what is new is not staged")
def test_a_staged_file_that_is_gone_ends_the_restore(
    app: Flask, backup: str, registry: Registry
) -> None:
    storage = registry.backups.storage
    before = dump(app)

    def remove() -> None:
        for path in (Path(storage.location) / ".hexhub-backup").glob("*/new/*"):
            path.unlink()

    with (
        when(app, "restore_owners", remove),
        pytest.raises(StorageError, match="no longer exists"),
    ):
        registry.backups.orders.run(app, planned(app, backup))
    assert dump(app) == before


@pytest.mark.gap(bucket="a copy has the tags of the original")
def test_a_plan_from_before_the_copy_is_made_again(
    app: Flask, backup: str, registry: Registry
) -> None:
    job = planned(app, backup)
    copied(registry.backups, "-a")
    with pytest.raises(ChangedError, match="Inspect the archive again"):
        registry.backups.orders.run(app, job)
    restored(app, backup)
    assert registry.file.read_bytes() == registry.archived


@pytest.mark.gap(bucket="no folders")
def test_a_folder_in_the_place_of_a_file_is_named(
    app: Flask, backup: str, registry: Registry
) -> None:
    folder(registry.file)
    with pytest.raises(StorageError, match="is not a file: move it out of the storage"):
        restored(app, backup)
