"""What is remembered of backups and operations, and who is told."""

from __future__ import annotations

import dataclasses
import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import AuditEvent, Package, Release, User, db
from hexhub_backup import signals, verbs
from hexhub_backup.errors import ArchiveError, BusyError, NotFoundError
from hexhub_backup.history.models import Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.retention import Rules
from tests.support.databases import NewDatabase
from tests.support.directory import coordinator_of, depot_of

pytestmark = pytest.mark.usefixtures("database", "host")


ADA = Who(actor="ada", address="192.0.2.1")


def audited() -> list[tuple[str, str | None, str | None]]:
    db.session.rollback()
    rows = db.session.query(AuditEvent).order_by(AuditEvent.id)
    return [(row.event, row.actor, row.address) for row in rows if row.event.startswith("backup.")]


@pytest.mark.sample
def test_a_backup_has_its_row_and_the_audit_log_knows_who_made_it(
    app: Flask, backups: Backups
) -> None:
    done = backups.orders.run(app, verbs.create.order(ADA))
    (listed,) = backups.history.backups()
    backup = backups.history.backup(listed.id)
    assert (listed.contents, listed.checksums) == (backup.contents, backup.checksums)
    assert (backup.id, backup.state, backup.created_by) == (done.operation, "completed", "ada")
    assert backup.size_bytes == depot_of(backups).archive(backup.id).stat().st_size
    assert backup.manifest is not None
    assert backup.manifest["contents"]["packages"] == 3
    assert backup.manifest["created_by"] == "ada"
    assert backup.expires_at is not None
    assert backup.expires_at - backup.created_at == timedelta(days=30)
    assert backup.intact
    assert not backup.file_missing
    assert audited() == [("backup.created", "ada", "192.0.2.1")]


def test_a_flipped_byte_is_found_by_verify_and_remembered(app: Flask, backups: Backups) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    assert (
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup)).outcome[
            "manifest"
        ]["created_by"]
        == "ada"
    )
    path = depot_of(backups).archive(backup)
    data = bytearray(path.read_bytes())
    data[data.index(b"contents.tar.gz")] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError) as caught:
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    assert [fault.code for fault in caught.value.faults] == ["checksum_mismatch"]
    assert backups.history.backup(backup).intact is False
    assert [event for event, *_ in audited()].count("backup.verified") == 2


def test_a_row_whose_file_is_gone_says_so(app: Flask, backups: Backups) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    depot_of(backups).archive(backup).unlink()
    assert backups.history.backup(backup).file_missing
    with pytest.raises(NotFoundError, match="is missing"):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    backups.history.delete(app, ADA, backup)
    assert backups.history.backups() == []


def test_deleting_takes_the_file_and_the_audit_log_remembers(app: Flask, backups: Backups) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    with depot_of(backups).using(depot_of(backups).archive(backup)), pytest.raises(BusyError):
        backups.history.delete(app, ADA, backup)
    backups.history.delete(app, ADA, backup)
    assert backups.history.backups() == []
    assert list(backups.depot.archives()) == []
    assert audited()[-1] == ("backup.deleted", "ada", "192.0.2.1")
    with pytest.raises(NotFoundError):
        backups.history.delete(app, ADA, backup)


def test_an_archive_without_a_row_is_adopted_and_never_deleted(
    app: Flask, backups: Backups
) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    before = backups.history.backup(backup)
    backups.catalog.delete_backup(backup)
    broken = depot_of(backups).archive("broken")
    broken.write_bytes(b"no tar")
    # Nobody is copying it any more.
    os.utime(broken, (0, 0))
    for _ in range(2):
        backups.prepare(app)
    adopted = backups.history.backup(backup)
    assert adopted.adopted
    assert (adopted.created_by, adopted.manifest) == ("ada", before.manifest)
    assert (
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup)).outcome[
            "size_bytes"
        ]
        == before.size_bytes
    )
    assert backups.history.backup("broken").intact is False
    assert broken.exists()


def test_a_prune_deletes_what_expired_and_keeps_what_is_kept(app: Flask, backups: Backups) -> None:
    old, kept, new = (backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(3))
    backups.history.keep(kept)
    long_ago = utc_now() - timedelta(days=60)
    for backup in (old, kept):
        backups.catalog.update_backup(backup, created_at=long_ago)
    backups.history.keep(kept)
    backups.catalog.finish_operation(old, finished_at=long_ago)
    assert backups.history.expired() == [old]
    done = backups.orders.run(app, verbs.prune.order(Who(actor="cron")))
    assert done.outcome["backups"] == [old]
    assert {backup.id for backup in backups.history.backups()} == {kept, new}
    assert not depot_of(backups).archive(old).exists()
    assert not coordinator_of(backups).events(old).exists()
    with pytest.raises(NotFoundError):
        backups.catalog.operation(old)
    due = backups.catalog.due_at("prune")
    assert due is not None
    assert due > utc_now()
    assert ("backup.deleted", "cron", None) in audited()
    backups.history.keep(kept, kept=False)
    assert backups.history.expired() == [kept]


def test_what_holds_a_page_of_backups_is_what_holds_them_among_all(
    app: Flask, backups: Backups
) -> None:
    made = [backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(6)]
    for name, age in zip(made, (0, 1, 29, 31, 40, 41), strict=True):
        backups.catalog.update_backup(name, created_at=utc_now() - timedelta(days=age))
    for rules in (Rules(days=30), Rules(daily=2, days=1), Rules(last=4, yearly=1)):
        history = dataclasses.replace(backups.history, rules=rules)
        expected = [held for _, held in history.held({"here": rules})["here"]]
        for size in (1, 2, 5, 6):
            pages = (history.backups(offset=offset, limit=size) for offset in range(0, 6, size))
            assert [each.held for page in pages for each in page] == expected


def test_a_prune_passes_over_what_is_in_use(app: Flask, backups: Backups) -> None:
    old, _ = (backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(2))
    backups.catalog.update_backup(old, created_at=utc_now() - timedelta(days=31))
    with depot_of(backups).using(depot_of(backups).archive(old)):
        assert backups.orders.run(app, verbs.prune.order(ADA)).outcome["backups"] == []
    assert backups.orders.run(app, verbs.prune.order(ADA)).outcome["backups"] == [old]


def test_hosts_are_told_by_signals_and_a_receiver_that_raises_harms_nothing(
    app: Flask, backups: Backups, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    def listen(name: str) -> Any:
        def receiver(sender: Flask, **payload: Any) -> None:
            assert sender is app
            told.append((name, payload))
            raise RuntimeError("a receiver of the host")

        signals.SIGNALS[name].connect(receiver, app)
        return receiver

    receivers = [listen(name) for name in signals.SIGNALS]
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    assert len(receivers) == len(signals.SIGNALS)
    names = [name for name, _ in told]
    assert names[0] == "operation_started"
    assert names[-2:] == ["backup_created", "operation_finished"]
    assert set(names[1:-2]) == {"operation_step", "operation_progress"}
    created = dict(told)["backup_created"]
    assert (created["backup"], created["actor"]) == (backup, "ada")
    assert backups.history.backup(backup).state == "completed"
    assert "a receiver of operation_step failed" in caplog.text


def test_a_restore_tells_whose_credentials_changed(app: Flask, backups: Backups) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    user, other = db.session.query(User).filter_by(is_admin=False).limit(2)
    user.password_hash = "scrypt:32768:8:1$abc$" + "0" * 128
    other.email = "new@example.org"
    package = db.session.query(Package).filter_by(source="local").first()
    assert package is not None
    package.private = not package.private
    names = user.username, other.username, package.name
    db.session.commit()
    told: list[dict[str, Any]] = []

    def restored(sender: Flask, **payload: Any) -> None:
        told.append(payload)

    signals.restore_completed.connect(restored, app)
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, backup, Choice(strategy="overwrite"))
    )
    done = backups.orders.run(app, verbs.restore.order(backups.plans, ADA, plan.operation))
    (payload,) = told
    assert payload["operation"] == done.operation
    for _ in range(2):
        assert list(payload["credentials"]) == [names[0]]
        assert list(payload["users"]) == sorted(names[:2])
        assert list(payload["packages"]) == [names[2]]
    assert len(payload["users"]) == 2
    assert names[0] in payload["users"]
    assert "nobody" not in payload["users"]
    assert ("backup.restored", "ada", "192.0.2.1") in audited()


def test_a_registry_that_changed_since_the_plan_is_left_alone(app: Flask, backups: Backups) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    release = db.session.query(Release).join(Package).filter_by(source="local").first()
    assert release is not None
    release.has_docs = not release.has_docs
    db.session.commit()
    plan = backups.orders.run(
        app, verbs.inspect.order(backups.history, ADA, backup, Choice(strategy="overwrite"))
    )
    email = "meanwhile@example.org"
    user = db.session.query(User).filter_by(is_admin=False).first()
    assert user is not None
    user.email = email
    db.session.commit()
    before = release.has_docs
    with pytest.raises(Exception, match="has changed since") as caught:
        backups.orders.run(app, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert [fault.code for fault in caught.value.faults] == ["changed"]  # type: ignore[attr-defined]
    db.session.rollback()
    assert (release.has_docs, user.email) == (before, email)
    assert ("backup.restore_failed", "ada", "192.0.2.1") in audited()


def test_a_host_that_shares_the_directory_is_seen_after_the_database_is_lost(
    app: Flask, backups: Backups, tmp_path: Path, database: NewDatabase
) -> None:
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    uri = database()
    config = {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri}
    other = create_app(tmp_path / "new", config)
    shutil.copytree(backups.depot.path, tmp_path / "new/backups")
    with other.app_context():
        found = backups_of(other)
        found.prepare(other)
        assert [row.id for row in found.history.backups()] == [backup]
        plan = found.orders.run(other, verbs.inspect.order(found.history, ADA, backup, Choice()))
        assert found.orders.run(
            other, verbs.restore.order(found.plans, ADA, plan.operation)
        ).outcome["records"]["packages"] == {
            "created": 3,
            "overwritten": 0,
            "unchanged": 0,
            "skipped": 0,
            "left_out": 0,
            "not_chosen": 0,
        }
        db.session.remove()
        db.engine.dispose()
