"""Deleting copies: one that has to stay keeps no other, nothing of an attempt that died stays, and
each deletion is told once."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from hexhub_backup import DirectoryDestination, S3Destination, signals, verbs
from hexhub_backup.coordination import locking
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import BackupError, BusyError, CancelledError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.sidecar import archive_file
from tests.support.commands import cli, created
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import ADA
from tests.support.patience import wait_for
from tests.support.s3 import Fate, S3Server, between

pytestmark = pytest.mark.usefixtures("host")

Told = list[dict[str, Any]]


@pytest.fixture
def told() -> Iterator[Told]:
    """What `backup_deleted` and `backups_pruned` say."""
    found: Told = []

    def deleted(_: object, **payload: Any) -> None:
        found.append({name: payload[name] for name in ("backup", "places", "reason")})

    def pruned(_: object, **payload: Any) -> None:
        found.append({"pruned": payload["backups"]})

    with signals.backup_deleted.connected_to(deleted), signals.backups_pruned.connected_to(pruned):
        yield found


def copied(app: Flask, backups: Backups) -> str:
    backup = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]
    return backup


def going(app: Flask, backups: Backups) -> str:
    """A backup that is deleted here, and whose copies are to go."""
    backup = created(app)
    list(backups.copying.run_due(app, ADA))
    backups.history.delete(app, ADA, backup, everywhere=True)
    return backup


def only(backups: Backups, *destinations: S3Destination | DirectoryDestination) -> None:
    """Let the host have these destinations."""
    backups.destinations = {each.name: each for each in destinations}
    backups.copying = dataclasses.replace(backups.copying, destinations=backups.destinations)


def left(backups: Backups) -> dict[str, str | None]:
    """The reason of each copy that there is a row of."""
    found = backups.catalog.copies.since(None).values()
    return {copy.backup_id: copy.reason for each in found for copy in each}


def test_a_copy_that_may_not_be_deleted_keeps_no_other_of_its_place(
    app: Flask, backups: Backups, localbucket: S3Server, bucket: str
) -> None:
    names = [copied(app, backups) for _ in range(3)]
    for each in names:
        backups.history.delete(app, ADA, each, everywhere=True)
    # Whatever the order in which they are asked for.
    held = backups.catalog.copies.to_delete()[0].backup_id

    def fate(_: int, request: str) -> Fate:
        return 403 if request.startswith("DELETE") and held in request else "pass"

    with between(localbucket, fate=fate) as (server, _):
        only(backups, server.destination(bucket), backups.destinations["nas"])  # type: ignore[arg-type]
        backups.orders.run(app, verbs.delete_copies.order(ADA))
    found = left(backups)
    assert found.keys() == {held}
    assert "403" in str(found[held])


def test_a_copy_with_a_legal_hold_says_so_and_keeps_no_other(
    app: Flask, backups: Backups, moto: S3Server
) -> None:
    name = moto.bucket(lock=True)
    only(backups, moto.destination(name))
    names = []
    for _ in range(2):
        names.append(created(app))
        assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None]
        backups.history.delete(app, ADA, names[-1], everywhere=True)
    held = backups.catalog.copies.to_delete()[0].backup_id
    moto.client().put_object_legal_hold(
        Bucket=name, Key=f"backups/{archive_file(held)}", LegalHold={"Status": "ON"}
    )
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    found = left(backups)
    assert found.keys() == {held}
    assert "legal hold" in str(found[held])


def test_a_file_that_may_not_be_deleted_in_a_directory_keeps_no_other(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    only(backups, nas)
    for _ in range(2):
        going(app, backups)
    held = backups.catalog.copies.to_delete()[0].backup_id
    path = nas.path / archive_file(held)
    path.unlink()
    # What no unlink removes, whoever asks.
    path.mkdir()
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    assert left(backups).keys() == {held}


@pytest.mark.parametrize("state", ["waiting", "failed"])
def test_what_an_attempt_that_died_has_left_goes_with_its_backup(
    app: Flask, backups: Backups, nas: DirectoryDestination, state: str
) -> None:
    """Else a scan would find it, and have the backup again."""
    only(backups, nas)
    backup = created(app)
    archive = depot_of(backups).archive(backup).read_bytes()
    nas.put(archive_file(backup), io.BytesIO(archive), len(archive))
    (nas.path / f"{archive_file(backup)}.part").write_bytes(b"of another attempt")
    # As one that was killed before it wrote the sidecar leaves it, once its end is recorded.
    backups.catalog.copies.update(
        backup, "nas", state=state, operation_id="of one that died", attempts=1
    )
    assert cli(app, "delete", backup, "--yes").exit_code == 0
    assert left(backups) == {}
    assert backups.history.backups() == []
    backups.orders.run(app, verbs.scan.order(ADA, ["nas"]))
    assert backups.history.backups() == []
    assert [each.name for each in nas.path.iterdir()] == [MARKER]


def test_what_it_has_left_stays_to_go_while_its_place_is_away(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    only(backups, nas)
    backup = created(app)
    backups.catalog.copies.update(backup, "nas", state="failed", operation_id="of one that died")
    (nas.path / MARKER).unlink()
    cli(app, "delete", backup, "--yes")
    assert backups.history.backup(backup).going
    assert "mount its disk" in str(left(backups)[backup])
    nas.init()
    backups.orders.run(app, verbs.prune.order(ADA))
    assert backups.history.backups() == []


def test_a_copy_that_was_never_begun_leaves_nothing(app: Flask, backups: Backups) -> None:
    backup = created(app)
    backups.history.delete(app, ADA, backup)
    assert (left(backups), backups.history.backups()) == ({}, [])


def test_of_a_backup_that_stays_no_copy_goes(app: Flask, backups: Backups) -> None:
    backup = copied(app, backups)
    backups.catalog.copies.update(backup, "offsite", state="copying", operation_id="somebody")
    with pytest.raises(BusyError):
        backups.history.delete(app, ADA, backup, everywhere=True)
    states = {copy.place: copy.state for copy in backups.catalog.copies.of(backup)}
    assert states == {"nas": "copied", "offsite": "copying"}


def test_what_has_expired_is_told_once_and_of_each_place_when_it_is_true(
    app: Flask, backups: Backups, nas: DirectoryDestination, told: Told
) -> None:
    only(backups, nas)
    backup = created(app)
    list(backups.copying.run_due(app, ADA))
    newer = created(app)
    list(backups.copying.run_due(app, ADA))
    backups.catalog.update_backup(backup, created_at=utc_now() - timedelta(days=400))
    (nas.path / MARKER).unlink()
    for _ in range(3):
        backups.orders.run(app, verbs.prune.order(ADA))
    assert told == [
        {"backup": backup, "places": ["here"], "reason": "expired"},
        {"pruned": [backup]},
        {"pruned": []},
        {"pruned": []},
    ]
    assert backups.history.expired() == []
    told.clear()
    nas.init()
    backups.orders.run(app, verbs.prune.order(ADA))
    assert told == [{"backup": backup, "places": ["nas"], "reason": "expired"}, {"pruned": []}]
    assert [each.id for each in backups.history.backups()] == [newer]


def test_what_is_elsewhere_only_is_told_when_it_has_gone_there(
    app: Flask, backups: Backups, nas: DirectoryDestination, told: Told
) -> None:
    only(backups, nas)
    backup = created(app)
    list(backups.copying.run_due(app, ADA))
    backups.history.delete(app, ADA, backup)
    (nas.path / MARKER).unlink()
    for _ in range(2):
        with suppress(BackupError):
            backups.history.delete(app, ADA, backup, everywhere=True)
            backups.orders.run(app, verbs.delete_copies.order(ADA))
    assert told == [{"backup": backup, "places": ["here"], "reason": "manual"}]
    nas.init()
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    assert told[1:] == [{"backup": backup, "places": ["nas"], "reason": "manual"}]


class Deleting(DirectoryDestination):
    """In which something happens when the archive of a copy has been deleted."""

    happens: Callable[[str], object]

    def delete(self, name: str) -> None:
        there = (self.path / name).exists()
        super().delete(name)
        if there and name.endswith(".tar"):
            self.happens(name)


@pytest.fixture
def deleting(app: Flask, backups: Backups, nas: DirectoryDestination) -> Deleting:
    place = Deleting("nas", nas.path)
    only(backups, place)
    return place


def test_a_copy_whose_backup_is_kept_while_another_one_is_deleted_stays(
    app: Flask, backups: Backups, deleting: Deleting
) -> None:
    names = [created(app) for _ in range(3)]
    list(backups.copying.run_due(app, ADA))
    for each in names:
        (copy,) = backups.catalog.copies.of(each)
        backups.history.let_go(copy, "expired", but=())
        # Else its age would hold it: nothing does but whoever keeps it.
        backups.catalog.update_backup(each, created_at=utc_now() - timedelta(days=400))
    newest = created(app)
    list(backups.copying.run_due(app, ADA))
    kept: list[str] = []

    def keep(name: str) -> None:
        if not kept:
            kept.extend(each for each in names if each not in name)
            for each in kept:
                backups.history.keep(each)

    deleting.happens = keep
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    assert len(kept) == 2
    states = {each: [copy.state for copy in backups.catalog.copies.of(each)] for each in names}
    assert {each for each in names if states[each] == ["copied"]} == {*kept}
    listed = {each.name for each in deleting.list()}
    assert {archive_file(each) for each in (*kept, newest)} <= listed


def test_of_a_copy_that_is_made_anew_meanwhile_the_row_stays(
    app: Flask, backups: Backups, deleting: Deleting
) -> None:
    backup = going(app, backups)
    deleting.happens = lambda _: backups.catalog.copies.update(
        backup, "nas", state="copying", operation_id="another"
    )
    outcome = backups.orders.run(app, verbs.delete_copies.order(ADA)).outcome
    assert outcome["copies"] == {}
    assert [copy.state for copy in backups.catalog.copies.of(backup)] == ["copying"]


def test_what_is_gone_when_a_deletion_is_stopped_is_forgotten_and_told(
    app: Flask, backups: Backups, deleting: Deleting, told: Told
) -> None:
    for _ in range(3):
        going(app, backups)
    told.clear()

    def stop(_: str) -> None:
        backups.orders.stopping = CancelledError("It was cancelled.")

    deleting.happens = stop
    with pytest.raises(CancelledError):
        backups.orders.run(app, verbs.delete_copies.order(ADA))
    backups.orders.stopping = None
    (gone,) = told
    assert gone["places"] == ["nas"]
    listed = {each.id for each in backups.history.backups()}
    assert len(listed) == 2
    assert gone["backup"] not in listed
    assert not any(each.lost for each in backups.history.backups())


def test_two_deletions_do_not_work_at_a_time(
    app: Flask, backups: Backups, deleting: Deleting
) -> None:
    backup = going(app, backups)
    waited: list[str] = []
    path = coordinator_of(backups).lock_of("delete_copies")
    deleting.happens = lambda name: waited.append(f"{name} with {locking.is_held(path)}")
    with locking.held(path, lambda: None):
        operation = backups.orders.start(app, verbs.delete_copies.order(ADA))
        wait_for(lambda: backups.catalog.operation(operation).state == "running")
        assert waited == []
        backups.orders.cancel(app, operation)
        wait_for(lambda: backups.catalog.operation(operation).state == "cancelled")
    assert backups.history.backup(backup).going
    backups.orders.run(app, verbs.delete_copies.order(ADA))
    assert waited == [f"{archive_file(backup)} with True"]
