"""Undo: what was replaced comes back, what was created goes, what others did since stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import ApiKey, Owner, Package, Release, User, db
from hexhub_backup import signals, verbs
from hexhub_backup.errors import CancelledError, NotFoundError
from hexhub_backup.history.models import Who
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from tests.support.hosts import ADA, dump, leftovers, restored
from tests.support.stored import root_of

pytestmark = [pytest.mark.host(packages=4), pytest.mark.usefixtures("database", "storages", "host")]


def change(backups: Backups) -> None:
    """What a restore has something to do with: rows and files that differ, are missing or new."""
    root = root_of(backups.storage)
    packages = db.session.scalars(sa.select(Package).where(Package.source == "local")).all()
    first, second, third, *_ = packages
    for release in list(first.releases):
        db.session.delete(release)
    for owner in list(first.owners):
        db.session.delete(owner)
    db.session.delete(first)
    second.meta = {"description": "changed since"}
    second.downloads += 7
    release = second.releases[0]
    release.retired = {"reason": "security"}
    user = db.session.scalars(sa.select(User).where(User.is_admin.is_(False))).first()
    assert user is not None
    user.email = "moved@example.org"
    user.password_hash = "scrypt:32768:8:1$salt$" + "0" * 128
    db.session.commit()
    files = sorted(path for path in root.rglob(f"{third.name}-*.tar.gz"))
    files[0].write_bytes(b"another content")
    files[-1].unlink()
    for path in list(root.rglob(f"{first.name}-*.tar.gz")):
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


@pytest.mark.sample
def test_undo_brings_back_rows_and_files_as_they_were(
    app: Flask, backups: Backups, backup: str
) -> None:
    change(backups)
    before = dump(app)
    done = restored(app, backup)
    after = dump(app)
    assert after != before
    operation = backups.catalog.operation(done.operation)
    assert backups.history.undoable(operation)
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert undone.outcome["warnings"] == []
    assert dump(app) == before
    records = undone.outcome["records"]
    assert records["packages"] == {"removed": 1, "brought_back": 1, "left": 0}
    assert undone.outcome["files"]["removed"] >= 3
    assert undone.outcome["files"]["brought_back"] == 1
    assert leftovers(backups) == []
    # Once is enough.
    assert not backups.history.undoable(backups.catalog.operation(done.operation))
    with pytest.raises(NotFoundError, match="can't be undone"):
        verbs.undo.order(backups.history, ADA, done.operation)
    found = verbs.undo.undone_by(backups.catalog, operation.id)
    assert found is not None
    assert found.id == undone.operation


@pytest.mark.gap(bucket="no links")
def test_the_undo_set_is_made_of_hard_links(app: Flask, backups: Backups, backup: str) -> None:
    change(backups)
    stored = {path.stat().st_ino for path in root_of(backups.storage).rglob("*.tar.gz")}
    restored(app, backup)
    kept = list((root_of(backups.storage) / ".hexhub-backup/undo").rglob("*.tar.gz"))
    assert len(kept) == 1
    assert {path.stat().st_ino for path in kept} <= stored


def test_what_others_changed_since_stays_and_is_listed(
    app: Flask, backups: Backups, backup: str
) -> None:
    change(backups)
    done = restored(app, backup)
    packages = db.session.scalars(sa.select(Package).where(Package.source == "local")).all()
    created = packages[0].name
    db.session.scalars(sa.select(Package).where(Package.name == created)).one().meta = {"new": 1}
    user = db.session.scalars(
        sa.select(User).where(User.username.in_(done.outcome["changed"]["users"]["names"]))
    ).first()
    assert user is not None
    user.email = "since@example.org"
    name = user.username
    db.session.commit()
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    told = {(warning["code"], warning["record"]) for warning in undone.outcome["warnings"]}
    assert ("changed_since", f"user {name}") in told
    db.session.expire_all()
    assert user.email == "since@example.org"
    assert undone.outcome["records"]["users"]["left"] == 1


@contextmanager
def without_package(app: Flask, backups: Backups) -> Iterator[str]:
    """A package and its owner's account that only the archive has."""
    package = db.session.scalars(sa.select(Package).where(Package.source == "local")).first()
    assert package is not None
    name = package.name
    for each in [*package.releases, *package.owners, package]:
        db.session.delete(each)
    db.session.commit()
    for path in list(root_of(backups.storage).rglob(f"{name}-*.tar.gz")):
        path.unlink()
    yield name


def test_rows_that_others_refer_to_by_now_stay_and_are_listed(
    app: Flask, backups: Backups, backup: str
) -> None:
    with without_package(app, backups) as name:
        before = dump(app)
        done = restored(app, backup)
        package = db.session.scalars(sa.select(Package).where(Package.name == name)).one()
        # A release that the host published since, in a package that the restore created.
        db.session.add(Release(package=package, version="99.0.0", meta={}, requirements={}))
        db.session.commit()
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    told = [(warning["code"], warning["record"]) for warning in undone.outcome["warnings"]]
    assert told == [("referred_to", f"package {name}")]
    db.session.expire_all()
    package = db.session.scalars(sa.select(Package).where(Package.name == name)).one()
    assert [release.version for release in package.releases] == ["99.0.0"]
    assert dump(app)[1] == before[1]


def test_a_package_goes_with_the_release_that_it_refers_to(
    app: Flask, backups: Backups, backup: str
) -> None:
    """The host knows the latest release of each package, and found it out after the restore."""
    db.session.remove()
    with db.engine.begin() as connection:
        connection.exec_driver_sql(
            "ALTER TABLE packages ADD COLUMN latest_release_id INTEGER REFERENCES releases (id)"
        )
    with without_package(app, backups) as name:
        before = dump(app)
        done = restored(app, backup)
    db.session.remove()
    with db.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE packages SET latest_release_id = (SELECT max(id) FROM releases "
            f"WHERE package_id = packages.id) WHERE name = '{name}'"
        )
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert undone.outcome["warnings"] == []
    assert undone.outcome["records"]["packages"]["removed"] == 1
    assert dump(app) == before


def test_an_account_with_an_api_key_by_now_stays(app: Flask, backups: Backups, backup: str) -> None:
    user = db.session.scalars(sa.select(User).where(User.is_admin.is_(False))).first()
    assert user is not None
    name = user.username
    for model in (ApiKey, Owner):
        db.session.execute(sa.delete(model).where(model.user_id == user.id))
    db.session.delete(user)
    db.session.commit()
    done = restored(app, backup)
    user = db.session.scalars(sa.select(User).where(User.username == name)).one()
    db.session.add(ApiKey(user=user, name="since", key_sha256="x" * 64))
    db.session.commit()
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    told = [(warning["code"], warning["record"]) for warning in undone.outcome["warnings"]]
    assert told == [("referred_to", f"user {name}")]
    assert db.session.scalars(sa.select(User).where(User.username == name)).one()


def test_the_account_that_undoes_stays_as_it_is(app: Flask, backups: Backups, backup: str) -> None:
    change(backups)
    done = restored(app, backup)
    name = done.outcome["changed"]["users"]["names"][0]
    before = db.session.scalars(sa.select(User).where(User.username == name)).one().email
    undone = backups.orders.run(
        app, verbs.undo.order(backups.history, Who(actor=name), done.operation)
    )
    assert ("own_account", f"user {name}") in {
        (warning["code"], warning["record"]) for warning in undone.outcome["warnings"]
    }
    db.session.expire_all()
    assert db.session.scalars(sa.select(User).where(User.username == name)).one().email == before


def test_a_cancelled_undo_changes_nothing_and_can_be_done_again(
    app: Flask, backups: Backups, backup: str
) -> None:
    change(backups)
    before = dump(app)
    done = restored(app, backup)
    after = dump(app)

    def cancel(_: Any, operation: str, event: dict[str, Any], **extra: Any) -> None:
        if event["step"] == "stage_records" and event["state"] == "done":
            backups.orders.stopping = CancelledError("It was cancelled.")

    with signals.operation_step.connected_to(cancel, app), pytest.raises(CancelledError):
        backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    backups.orders.stopping = None
    assert dump(app) == after
    assert list(backups.storage.staged()) == []
    backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert dump(app) == before


def test_undo_is_told_to_hosts_and_auditors(app: Flask, backups: Backups, backup: str) -> None:
    change(backups)
    done = restored(app, backup)
    told: list[dict[str, Any]] = []

    def undone(_: Any, **payload: Any) -> None:
        told.append(payload)

    with signals.restore_undone.connected_to(undone, app):
        operation = backups.orders.run(
            app, verbs.undo.order(backups.history, ADA, done.operation)
        ).operation
    (payload,) = told
    assert (payload["operation"], payload["undone"]) == (operation, done.operation)
    changed = done.outcome["changed"]
    assert list(payload["credentials"]) == changed["credentials"]["names"] != []
    assert list(payload["packages"]) == changed["packages"]["names"]


def test_an_undo_set_goes_with_its_operation(app: Flask, backups: Backups, backup: str) -> None:
    change(backups)
    done = restored(app, backup)
    assert leftovers(backups) != []
    backups.catalog.delete_operation(done.operation)
    backups.orders.run(app, verbs.prune.order(ADA))
    assert leftovers(backups) == []


def test_a_backup_is_made_first(app: Flask, backups: Backups, backup: str) -> None:
    change(backups)
    before = dump(app)
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, backup, Choice(strategy="overwrite"))
    )
    job = verbs.restore.order(backups.plans, ADA, plan.operation, backup_first=True)
    done = backups.orders.run(app, job)
    first = backups.history.backup(done.outcome["backup_first"])
    assert (first.state, first.intact, first.file_missing) == ("completed", True, False)
    steps = [
        each["step"] for each in backups.orders.events(done.operation) if each["type"] == "step"
    ]
    assert steps[0] == "back_up_first"
    assert dump(app) != before
    # What it holds is the registry before the restore: another restore brings it back.
    restored(app, first.id)
    assert (
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, first.id)).outcome[
            "manifest"
        ]
        == first.manifest
    )
