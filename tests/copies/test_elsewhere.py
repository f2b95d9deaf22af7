"""A backup that is not on this server, but has a good copy: it is read from there."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest
from flask import Flask

from examples.host_app.models import db
from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import ArchiveError, BusyError, DatabaseError, NotFoundError, SpaceError
from hexhub_backup.history.models import Copy, Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.record import Record
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.sidecar import archive_file
from hexhub_backup.retention import Rules
from hexhub_backup.watching.status import status as status_of
from tests.support.commands import cli, created, refused
from tests.support.directory import depot_of
from tests.support.hosts import ADA, change_something, dump, restored
from tests.support.s3 import Fate, S3Server, between

pytestmark = pytest.mark.usefixtures("host")


def copies(backups: Backups, backup: str) -> dict[str, Copy]:
    return {copy.place: copy for copy in backups.catalog.copies.of(backup)}


@pytest.fixture
def backup(app: Flask, backups: Backups) -> str:
    """One that has copies."""
    found = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]
    return found


@pytest.fixture
def gone(backups: Backups, backup: str) -> str:
    """One whose file was lost."""
    depot_of(backups).archive(backup).unlink()
    return backup


def damage(nas: DirectoryDestination, backup: str) -> None:
    path = nas.path / archive_file(backup)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_backup_with_a_good_copy_is_elsewhere_and_good(backups: Backups, gone: str) -> None:
    found = backups.history.backup(gone)
    assert found.file_missing
    assert found.good
    assert found.elsewhere is not None
    # Nobody has read that copy yet.
    assert (found.intact, found.verified_at) == (None, None)
    assert next(backups.history.good_backups()).id == gone
    assert [each.good for each in backups.history.backups()] == [True]
    with pytest.raises(NotFoundError, match="bring it back"):
        backups.history.find(gone)


def test_without_a_good_copy_its_file_is_missing(backups: Backups, gone: str) -> None:
    for place in ("nas", "offsite"):
        backups.catalog.copies.update(gone, place, intact=False)
    found = backups.history.backup(gone)
    assert found.elsewhere is None
    assert not found.good


def test_a_copy_at_a_place_that_is_no_destination_any_more_is_not_good(
    app: Flask, backups: Backups, backup: str
) -> None:
    newer = created(app)
    list(backups.copying.run_due(app, ADA))
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, newer, "nas"))
    depot_of(backups).archive(newer).unlink()
    rules = Rules(last=1)
    history = dataclasses.replace(backups.history, rules=rules, places={})
    assert history.elsewhere(newer) is None
    # The only one that can be read stays.
    assert [(each.id, each.good) for each in history.backups()] == [(newer, False), (backup, True)]
    assert history.expired() == []
    assert [each.id for each in history.good_backups()] == [backup]
    status = status_of(history, backups.settings, {}, utc_now())
    assert [each.code for each in status.problems] == ["file_missing"]


def test_a_verified_copy_comes_first(app: Flask, backups: Backups, gone: str) -> None:
    order = verbs.verify.order(backups.history, ADA, gone, "offsite")
    backups.orders.run(app, order)
    found = backups.history.backup(gone)
    assert found.elsewhere is not None
    assert found.elsewhere.place == "offsite"
    assert found.intact
    assert found.verified_at is not None


def test_verify_reads_a_copy_and_remembers_what_it_found(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    for place in ("nas", "offsite"):
        assert "is intact" in cli(app, "verify", backup, "--from", place).stdout
        assert copies(backups, backup)[place].intact
    before = backups.history.backup(backup)
    damage(nas, backup)
    with pytest.raises(ArchiveError, match="is damaged"):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup, "nas"))
    assert copies(backups, backup)["nas"].intact is False
    assert copies(backups, backup)["offsite"].intact
    # What is on this server was not looked at.
    assert backups.history.backup(backup).verified_at == before.verified_at


def test_a_copy_that_is_cut_is_damaged_and_one_that_is_gone_is_missing(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    path = nas.path / archive_file(backup)
    path.write_bytes(path.read_bytes()[:-512])
    with pytest.raises(ArchiveError, match="bytes instead of"):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup, "nas"))
    path.unlink()
    with pytest.raises(NotFoundError, match="any more"):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup, "nas"))
    assert copies(backups, backup)["nas"].state == "missing"
    assert refused(app, "verify", backup, "--from", "nas")["code"] == "not_found"
    assert cli(app, "copy", backup).exit_code == 0
    assert copies(backups, backup)["nas"].state == "copied"


def test_a_destination_that_is_away_says_nothing_of_its_copies(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    (nas.path / MARKER).unlink()
    assert refused(app, "verify", backup, "--from", "nas")["code"] == "destination"
    assert copies(backups, backup)["nas"].state == "copied"
    assert copies(backups, backup)["nas"].intact is None


def test_it_is_brought_back_checked_and_whole(app: Flask, backups: Backups, backup: str) -> None:
    archive = depot_of(backups).archive(backup)
    content = archive.read_bytes()
    assert refused(app, "bring-back", backup)["code"] == "busy"
    for place in ("nas", "offsite"):
        archive.unlink()
        assert f"is back from {place}" in cli(app, "bring-back", backup, "--from", place).stdout
        assert archive.read_bytes() == content
        assert archive.stat().st_mode & 0o777 == 0o600
        assert archive.stat().st_nlink == 1
        assert copies(backups, backup)[place].intact
    found = backups.history.backup(backup)
    assert found.intact
    assert not found.file_missing
    assert list(backups.depot.path.glob("plans/*")) == []


def test_a_return_that_died_says_nothing_of_a_file_that_somebody_put_there(
    app: Flask, backups: Backups, backup: str
) -> None:
    archive = depot_of(backups).archive(backup)
    content = archive.read_bytes()
    archive.unlink()
    order = verbs.bring_back.order(backups.history, ADA, backup, "nas")
    backups.catalog.update_backup(backup, intact=None, verified_at=None)
    # As a process that was killed while it fetched leaves it.
    backups.catalog.add_operation(
        Operation(
            id=order.id,
            verb=order.verb,
            state="queued",
            actor=ADA.actor,
            backup_id=backup,
            options=order.options,
            queued_at=utc_now() - timedelta(hours=1),
        ),
        exclusive=True,
    )
    assert backups.catalog.take(order.id, "a token", started_at=utc_now())
    archive.write_bytes(content[:-512])
    backups.prepare(app)
    assert backups.catalog.operation(order.id).state == "interrupted"
    found = backups.history.backup(backup)
    assert (found.intact, found.verified_at) == (None, None)
    assert (copies(backups, backup)["nas"].intact, found.file_missing) == (None, False)


def test_a_return_that_died_after_its_publication_has_happened(
    app: Flask, backups: Backups, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("It went away.")

    order = verbs.bring_back.order(backups.history, ADA, gone, "nas")
    with monkeypatch.context() as patch:
        patch.setattr(Record, "end", fail)
        with pytest.raises(DatabaseError):
            backups.orders.run(app, order)
    backups.prepare(app)
    assert backups.catalog.operation(order.id).state == "completed"
    assert backups.history.backup(gone).intact
    assert copies(backups, gone)["nas"].intact


def test_a_damaged_copy_is_not_brought_back_and_another_is(
    app: Flask, backups: Backups, nas: DirectoryDestination, gone: str
) -> None:
    damage(nas, gone)
    with pytest.raises(ArchiveError):
        backups.orders.run(app, verbs.bring_back.order(backups.history, ADA, gone, "nas"))
    assert not depot_of(backups).archive(gone).exists()
    done = backups.orders.run(app, verbs.bring_back.order(backups.history, ADA, gone))
    assert done.outcome["place"] == "offsite"
    assert backups.history.backup(gone).good


def test_what_has_no_copy_can_not_be_brought_back(app: Flask, backups: Backups, gone: str) -> None:
    assert refused(app, "bring-back", gone, "--from", "elsewhere")["code"] == "not_found"
    for place in ("nas", "offsite"):
        backups.catalog.copies.update(gone, place, state="missing")
    assert refused(app, "bring-back", gone)["code"] == "not_found"


def test_room_is_looked_for_first(app: Flask, backups: Backups, gone: str) -> None:
    backups.catalog.copies.update(gone, "nas", size_bytes=2**60)
    for order in (
        verbs.bring_back.order(backups.history, ADA, gone, "nas"),
        verbs.inspect.order(backups.history, ADA, gone, Choice()),
    ):
        with pytest.raises(SpaceError, match="Nothing was written"):
            backups.orders.run(app, order)
    assert list(backups.depot.path.glob("uploads/*")) == []
    assert list(backups.depot.path.glob("plans/*")) == []


def test_it_is_inspected_and_restored_from_a_copy(app: Flask, backups: Backups, gone: str) -> None:
    before = dump(app)
    change_something()
    db.session.remove()
    done = restored(app, gone)
    assert done.outcome["records"]["users"]["overwritten"] == 1
    assert dump(app) == before
    # The work file goes with its plan, and the backup is where it was.
    assert backups.history.backup(gone).file_missing
    uploads = list(backups.depot.path.glob("uploads/*"))
    assert [path.stat().st_mode & 0o777 for path in uploads] == [0o600]


def test_the_command_line_restores_from_a_copy_and_leaves_nothing(
    app: Flask, backups: Backups, gone: str
) -> None:
    shown = json.loads(cli(app, "inspect", gone, "--json").stdout)
    assert shown["archive"].startswith(f"{gone} in ")
    done = cli(app, "restore", gone, "--yes")
    assert done.exit_code == 0, done.output
    assert list(backups.depot.path.glob("uploads/*")) == []
    assert list(backups.depot.path.glob("plans/*")) == []
    assert not depot_of(backups).archive(gone).exists()


def test_a_fetch_goes_on_where_a_connection_ended(
    app: Flask, backups: Backups, gone: str, localbucket: S3Server, bucket: str
) -> None:
    """Of a server that gives a kilobyte of what it promises."""

    def fate(_: int, request: str) -> Fate:
        return "short" if request.startswith("GET") and ".tar" in request else "pass"

    with between(localbucket, fate=fate) as (server, seen):
        backups.destinations = {"offsite": server.destination(bucket)}
        order = verbs.bring_back.order(backups.history, ADA, gone, "offsite")
        backups.orders.run(app, order)
        assert len([each for each in seen.requests if each.startswith("GET")]) > 3
    assert backups.history.backup(gone).good


def test_a_damaged_copy_is_made_anew(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    damage(nas, backup)
    assert cli(app, "copy", backup).stdout == "No copy is due.\n"
    assert refused(app, "verify", backup, "--from", "nas")["code"] == "bad_archive"
    done = cli(app, "copy", backup)
    assert done.stdout == f"Backup {backup} is copied to nas.\n"
    assert copies(backups, backup)["nas"].intact is None
    assert "is intact" in cli(app, "verify", backup, "--from", "nas").stdout


# deleting


def test_deleting_here_leaves_the_copies(app: Flask, backups: Backups, backup: str) -> None:
    assert "here, and nowhere else" in cli(app, "delete", backup, "--yes").stdout
    found = backups.history.backup(backup)
    assert found.elsewhere is not None
    assert {copy.state for copy in found.copies} == {"copied"}
    assert refused(app, "delete", backup, "--yes")["message"].endswith("delete it everywhere.")


def test_deleting_everywhere_leaves_nothing(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    assert "here and in nas, offsite" in cli(app, "delete", backup, "--everywhere", "--yes").stdout
    assert backups.history.backups() == []
    assert copies(backups, backup) == {}
    for destination in backups.destinations.values():
        assert list(destination.list()) == []
    assert not depot_of(backups).archive(backup).exists()


def test_what_can_not_be_deleted_yet_goes_with_the_next_prune(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    (nas.path / MARKER).unlink()
    done = json.loads(cli(app, "delete", backup, "--everywhere", "--yes", "--json").stdout)
    assert done["state"] == "deleting"
    (left,) = done["copies"]
    assert left["place"] == "nas"
    assert "mount its disk" in left["reason"]
    found = backups.history.backup(backup)
    assert not found.good
    assert found.elsewhere is None
    nas.init()
    backups.orders.run(app, verbs.prune.order(ADA))
    assert backups.history.backups() == []
    assert list(nas.list()) == []


def test_a_place_that_is_away_is_asked_once_for_all_that_is_to_go(
    app: Flask, backups: Backups, localbucket: S3Server, bucket: str
) -> None:
    for each in [created(app) for _ in range(3)]:
        list(backups.copying.run_due(app, ADA))
        backups.history.delete(app, ADA, each, everywhere=True)
    with between(localbucket, fate=lambda *_: 503) as (server, seen):
        nas = backups.destinations["nas"]
        backups.destinations = {"nas": nas, "offsite": server.destination(bucket)}
        backups.orders.run(app, verbs.delete_copies.order(ADA))
        assert len({each.split("?")[0] for each in seen.requests}) == 1
    assert list(nas.list()) == []
    left = [copy for each in backups.catalog.copies.since(None).values() for copy in each]
    assert [copy.place for copy in left] == ["offsite"] * 3


def test_a_locked_copy_says_until_when_and_stays(
    app: Flask, backups: Backups, moto: S3Server
) -> None:
    offsite = moto.destination(moto.bucket(lock=True), lock_days=3)
    backups.destinations = {"offsite": offsite}
    backups.copying = dataclasses.replace(backups.copying, destinations=backups.destinations)
    backup = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None]
    until = copies(backups, backup)["offsite"].locked_until
    assert until is not None
    assert until > utc_now()
    cli(app, "delete", backup, "--everywhere", "--yes")
    for _ in range(2):
        left = copies(backups, backup)["offsite"]
        assert left.state == "deleting"
        assert "locked until" in str(left.reason)
        assert left.locked_until is not None
        assert [each.name for each in offsite.list()] != []
        backups.orders.run(app, verbs.prune.order(ADA))
    assert "locked until" in cli(app, "show", backup).stdout


def test_a_backup_that_is_being_copied_is_not_deleted(
    app: Flask, backups: Backups, backup: str
) -> None:
    backups.catalog.copies.update(backup, "nas", state="copying", operation_id="somebody")
    with pytest.raises(BusyError, match="being copied to nas"):
        backups.history.delete(app, ADA, backup, everywhere=True)
    assert depot_of(backups).archive(backup).exists()


def test_what_expires_goes_everywhere(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    newer = created(app)
    list(backups.copying.run_due(app, ADA))
    backups.catalog.update_backup(backup, created_at=utc_now().replace(year=2020))
    backups.orders.run(app, verbs.prune.order(ADA))
    assert [each.id for each in backups.history.backups()] == [newer]
    for destination in backups.destinations.values():
        assert {each.name.partition(".")[0] for each in destination.list()} == {
            f"hexhub-backup-{newer}"
        }
