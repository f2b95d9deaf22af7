"""The check of all backups, as one operation."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from examples.host_app.models import AuditEvent, db
from hexhub_backup import signals, verbs
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.source import Source
from hexhub_backup.errors import CancelledError, StorageError
from hexhub_backup.jobs.backups import Backups
from tests.support.directory import depot_of
from tests.support.hosts import ADA

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def made(app: Flask, backups: Backups) -> list[str]:
    """Three backups, of which the second is damaged by now, and one whose file is missing."""
    made = [backups.orders.run(app, verbs.create.order(ADA)).operation for _ in range(4)]
    path = depot_of(backups).archive(made[1])
    content = bytearray(path.read_bytes())
    content[content.index(b"contents.tar.gz")] ^= 1
    path.write_bytes(content)
    depot_of(backups).archive(made[3]).unlink()
    for each in made:
        backups.catalog.update_backup(each, verified_at=None, intact=None)
    return made[:3]


def test_every_backup_is_checked_and_each_is_told(
    app: Flask, backups: Backups, made: list[str]
) -> None:
    done = backups.orders.run(app, verbs.verify_all.order(ADA))
    checked = {each["backup"]: each for each in done.outcome["checked"]}
    assert {name: each["intact"] for name, each in checked.items()} == {
        made[0]: True,
        made[1]: False,
        made[2]: True,
    }
    assert checked[made[1]]["reason"]
    (warning,) = done.outcome["warnings"]
    assert (warning["code"], warning["record"]) == ("damaged_backup", f"backup {made[1]}")
    for name in made:
        backup = backups.history.backup(name)
        assert backup.verified_at is not None
        assert backup.intact is (name != made[1])
    events = list(backups.orders.events(done.operation))
    assert events[0]["steps"] == ["list_backups", "verify_backups"]
    progress = [each for each in events if each["type"] == "progress"]
    sizes = sum(depot_of(backups).archive(name).stat().st_size for name in made)
    assert progress[-1]["bytes_total"] == sizes
    assert progress[-1]["percent"] == 100
    assert backups.catalog.operation(done.operation).state == "completed"
    assert list(backups.depot.path.glob("work-*")) == []
    db.session.rollback()
    row = db.session.query(AuditEvent).order_by(AuditEvent.id.desc()).first()
    assert row is not None
    assert (row.event, row.actor) == ("backup.verified", "ada")


def test_what_is_known_when_it_is_cancelled_stays_known(
    app: Flask, backups: Backups, made: list[str]
) -> None:
    def stop(_: Any, *, event: dict[str, Any], **extra: Any) -> None:
        if event["type"] in ("log", "warning"):
            backups.orders.stopping = CancelledError("It was cancelled.")

    signals.operation_progress.connect(stop, app)
    with pytest.raises(CancelledError):
        backups.orders.run(app, verbs.verify_all.order(ADA))
    backups.orders.stopping = None
    known = [name for name in made if backups.history.backup(name).intact is not None]
    assert len(known) == 1


def test_a_backup_that_is_created_meanwhile_takes_nothing_from_it(
    app: Flask, backups: Backups, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes the lock removes what dead operations left: a check of all takes no lock."""
    opened, others = ArchiveReader.__init__, iter([verbs.create.order(ADA)])

    def open_later(reader: ArchiveReader, source: Source, index: Path) -> None:
        for order in others:
            backups.orders.run(app, order)
        opened(reader, source, index)

    monkeypatch.setattr(ArchiveReader, "__init__", open_later)
    done = backups.orders.run(app, verbs.verify_all.order(ADA))
    assert [each["intact"] for each in done.outcome["checked"]] == [True, False, True]


def test_the_command_exits_with_1_where_one_is_damaged(
    app: Flask, backups: Backups, made: list[str]
) -> None:
    def said(*options: str) -> Result:
        result: Result = app.test_cli_runner().invoke(args=["backups", "verify-all", *options])
        return result

    result = said()
    assert result.exit_code == 1
    assert "3 backups checked, 1 damaged." in result.stdout
    assert made[1] in result.stdout
    document = json.loads(said("--json").stdout)
    assert (document["state"], len(document["checked"])) == ("completed", 3)
    backups.history.delete(app, ADA, made[1])
    result = said()
    assert result.exit_code == 0
    assert "2 backups checked, 0 damaged." in result.stdout


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_an_archive_that_could_not_be_read_is_not_taken_for_damaged(
    app: Flask, backups: Backups, made: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One that is damaged may be deleted by the rules, and of this one nothing is known."""
    status, pread = depot_of(backups).archive(made[0]).stat(), os.pread

    def fails(descriptor: int, length: int, at: int) -> bytes:
        if os.path.samestat(os.fstat(descriptor), status):
            raise OSError(number, os.strerror(number))
        return pread(descriptor, length, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails)
        with pytest.raises(StorageError, match=f"{made[0]}.tar could not be read: "):
            backups.orders.run(app, verbs.verify_all.order(ADA))
        with pytest.raises(StorageError, match="could not be read"):
            backups.orders.run(app, verbs.verify.order(backups.history, ADA, made[0]))
    assert [backups.history.backup(name).intact for name in made] == [None, False, True]
    backups.orders.run(app, verbs.verify_all.order(ADA))
    assert backups.history.backup(made[0]).intact
