"""A backup is copied to each destination, tried again where that fails, and never held up by it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask

import hexhub_backup
from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import ArchiveError, BusyError, CancelledError, DestinationError
from hexhub_backup.history.models import Copy
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.copy import TRIED_FOR, next_attempt
from hexhub_backup.operations.sidecar import Sidecar, archive_file, sidecar_file
from tests.support.commands import cli, created
from tests.support.directory import depot_of
from tests.support.hosts import ADA, Queue, change_something, queued_by, workers
from tests.support.patience import wait_for

pytestmark = pytest.mark.usefixtures("host")


def states(backups: Backups, backup: str) -> dict[str, str]:
    return {copy.place: copy.state for copy in backups.catalog.copies.of(backup)}


def copy_of(backups: Backups, backup: str, place: str = "nas") -> Copy:
    (found,) = [copy for copy in backups.catalog.copies.of(backup) if copy.place == place]
    return found


def content(backups: Backups, place: str, name: str) -> bytes:
    with backups.destinations[place].open(name) as file:
        return b"".join(iter(lambda: file.read(2**20), b""))


def make_due(backups: Backups, backup: str) -> None:
    for copy in backups.catalog.copies.of(backup):
        backups.catalog.copies.update(
            backup, copy.place, states=("waiting",), due_at=utc_now() - timedelta(seconds=1)
        )


@pytest.mark.sample
@pytest.mark.usefixtures("database")
def test_a_new_backup_is_copied_to_each_destination(app: Flask, backups: Backups) -> None:
    backup = created(app)
    assert states(backups, backup) == {"nas": "waiting", "offsite": "waiting"}
    done = list(backups.copying.run_due(app, ADA))
    assert {copy.place: failure for copy, failure in done} == {"nas": None, "offsite": None}
    archive = depot_of(backups).archive(backup).read_bytes()
    sha256 = hashlib.sha256(archive).hexdigest()
    for place in ("nas", "offsite"):
        assert content(backups, place, archive_file(backup)) == archive
        copy = copy_of(backups, backup, place)
        assert copy.state == "copied"
        assert (copy.size_bytes, copy.sha256, copy.archive_sha256) == (len(archive), sha256, sha256)
        assert copy.file == archive_file(backup)
        assert copy.recipients == ()
        assert copy.copied_at is not None
        assert (copy.due_at, copy.reason, copy.verified_at, copy.intact) == (None,) * 4
    shown = backups.history.backup(backup)
    assert shown.copies == tuple(
        dataclasses.replace(
            copy_of(backups, backup, place), held=shown.held, expires_at=shown.expires_at
        )
        for place in ("nas", "offsite")
    )
    assert list(backups.copying.run_due(app, ADA)) == []


def test_the_sidecar_says_what_the_copy_is_and_names_nobody(app: Flask, backups: Backups) -> None:
    backup = created(app)
    list(backups.copying.run_due(app, ADA))
    row, archive = backups.history.backup(backup), depot_of(backups).archive(backup).read_bytes()
    found = {content(backups, place, sidecar_file(backup)) for place in ("nas", "offsite")}
    (data,) = found
    document = json.loads(data)
    assert document["stored"]["sha256"] == hashlib.sha256(archive).hexdigest()
    assert document["recipients"] == []
    assert row.manifest is not None
    assert document["manifest"]["contents"] == row.manifest["contents"]
    assert b"created_by" not in data
    assert isinstance(document["missing_files"], int)
    sidecar = Sidecar.parse(data)
    assert (sidecar.backup, sidecar.archive_size) == (backup, len(archive))
    assert sidecar.manifest["checksums"] == row.manifest["checksums"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b"{}",
        b"nul",
        b"[" * 60_000,
        b'{"a": ' + b'"x"' * 30_000 + b"}",
    ],
)
def test_what_is_no_sidecar_is_refused(damage: bytes) -> None:
    with pytest.raises(ArchiveError, match="sidecar"):
        Sidecar.parse(damage)


def test_a_sidecar_with_one_wrong_value_is_refused(app: Flask, backups: Backups) -> None:
    backup = created(app)
    list(backups.copying.run_due(app, ADA))
    document = json.loads(content(backups, "nas", sidecar_file(backup)))

    def changed(*path: str) -> Iterator[bytes]:
        values: tuple[object, ...] = (None, 7.5, -1, "x", [], {}, "\0", 10**500)
        for value in values:
            other = json.loads(json.dumps(document))
            inner = other
            for each in path[:-1]:
                inner = inner[each]
            inner[path[-1]] = value
            yield json.dumps(other).encode()

    for path in (
        ("created_at",),
        ("archive", "size_bytes"),
        ("archive", "sha256"),
        ("stored", "sha256"),
        ("manifest", "contents"),
        ("manifest", "checksums"),
    ):
        for data in changed(*path):
            with pytest.raises(ArchiveError):
                Sidecar.parse(data)


def test_a_destination_that_fails_harms_neither_the_backup_nor_the_others(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    (nas.path / MARKER).unlink()
    backup = created(app)
    assert backups.history.backup(backup).good
    failures = {copy.place: why for copy, why in backups.copying.run_due(app, ADA)}
    assert isinstance(failures["nas"], DestinationError)
    assert states(backups, backup) == {"nas": "waiting", "offsite": "copied"}
    waits = copy_of(backups, backup)
    assert "mount its disk" in str(waits.reason)
    assert waits.attempts == 1
    assert waits.due_at is not None
    assert waits.due_at > utc_now()
    # Not before its time, and then it is made.
    assert list(backups.copying.run_due(app, ADA)) == []
    nas.init()
    make_due(backups, backup)
    assert [(copy.place, why) for copy, why in backups.copying.run_due(app, ADA)] == [("nas", None)]
    assert states(backups, backup) == {"nas": "copied", "offsite": "copied"}


def test_pauses_grow_and_end_after_a_day() -> None:
    ordered_at = now = utc_now()
    pauses = []
    for attempts in range(1, 100):
        due = next_attempt(ordered_at, attempts, now)
        if due is None:
            break
        pauses.append(due - now)
        now = due
    assert pauses[0] == timedelta(minutes=1)
    assert pauses == sorted(pauses)
    assert TRIED_FOR / 2 < now - ordered_at <= TRIED_FOR


def test_a_copy_that_fails_for_a_day_is_given_up_and_can_be_ordered_anew(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    (nas.path / MARKER).unlink()
    backup = created(app)
    backups.catalog.copies.update(backup, "nas", ordered_at=utc_now() - TRIED_FOR)
    list(backups.copying.run_due(app, ADA))
    assert states(backups, backup)["nas"] == "failed"
    assert copy_of(backups, backup).due_at is None
    nas.init()
    assert list(backups.copying.run_due(app, ADA)) == []
    assert cli(app, "copy", backup).exit_code == 0
    assert states(backups, backup) == {"nas": "copied", "offsite": "copied"}


def test_a_copy_that_is_cancelled_is_not_tried_again(app: Flask, backups: Backups) -> None:
    backup = created(app)
    (order,) = [each for each in backups.copying.take_due(ADA) if each.options["place"] == "nas"]
    backups.orders.stopping = CancelledError("It was cancelled.")
    with pytest.raises(CancelledError):
        backups.orders.run(app, order)
    backups.orders.stopping = None
    assert states(backups, backup)["nas"] == "failed"
    assert list(backups.destinations["nas"].list()) == []


def test_a_copy_that_is_cancelled_before_it_begins_is_not_tried_again(
    app: Flask, backups: Backups
) -> None:
    queue = Queue()
    queued_by(backups, queue)
    backup = created(app)
    backups.copying.start_due(app)
    for each in queue.ids:
        backups.orders.cancel(app, each)
    assert states(backups, backup) == {"nas": "failed", "offsite": "failed"}
    assert {copy.due_at for copy in backups.catalog.copies.of(backup)} == {None}


def test_a_copy_is_made_by_one_only(app: Flask, backups: Backups) -> None:
    """Each due copy is told to one caller, and claimed by one operation."""
    backup = created(app)
    orders = backups.copying.take_due(ADA)
    assert {each.options["place"] for each in orders} == {"nas", "offsite"}
    assert backups.copying.take_due(ADA) == []
    again = verbs.copy.order(backups.depot, ADA, backup, "nas")
    (first,) = [each for each in orders if each.options["place"] == "nas"]
    backups.orders.run(app, first)
    with pytest.raises(BusyError, match="does not wait"):
        backups.orders.run(app, again)
    assert states(backups, backup)["nas"] == "copied"


def test_copies_to_one_place_come_one_after_the_other_the_newest_first(
    app: Flask, backups: Backups
) -> None:
    older, newer = created(app), created(app)
    first = backups.copying.take_due(ADA)
    assert {(each.backup, each.options["place"]) for each in first} == {
        (newer, "nas"),
        (newer, "offsite"),
    }
    queued_by(backups, queue := Queue())
    for each in first:
        backups.orders.start(app, each)
    later = utc_now() + timedelta(minutes=6)
    # Neither that one again, where it has not begun, nor an older one beside it.
    assert backups.copying.take_due(ADA, later) == []
    assert backups.copying.next_at() is None
    hexhub_backup.run(app, first[0].id)
    left = backups.catalog.copies.of(older)
    assert {each.place: each.due_at and each.due_at > utc_now() for each in left} == {
        first[0].options["place"]: True,
        first[1].options["place"]: False,
    }
    assert len(queue.ids) == 3


def test_a_copy_that_no_worker_takes_is_put_off_as_one_that_failed(
    app: Flask, backups: Backups
) -> None:
    queued_by(backups, Queue())
    backup = created(app)
    backups.copying.start_due(app)
    for order in backups.catalog.unfinished_operations():
        queued = order.queued_at - backups.recovery.patience
        backups.catalog.finish_operation(order.id, queued_at=queued)
    backups.recovery.end_not_taken(app)
    found = copy_of(backups, backup)
    assert (found.state, found.attempts) == ("waiting", 1)
    assert found.due_at is not None
    assert found.due_at > utc_now()
    assert "No worker took it" in str(found.reason)


def test_a_copy_of_an_archive_that_is_gone_is_put_off_as_one_that_failed(
    app: Flask, backups: Backups
) -> None:
    backup = created(app)
    depot_of(backups).archive(backup).unlink()
    backups.copying.start_due(app)
    found = copy_of(backups, backup)
    assert (found.state, found.attempts) == ("waiting", 1)
    assert found.due_at is not None
    assert found.due_at > utc_now()
    backups.catalog.copies.update(
        backup, "nas", ordered_at=utc_now() - TRIED_FOR, due_at=utc_now() - timedelta(seconds=1)
    )
    assert [failure for _, failure in backups.copying.run_due(app, ADA)]
    assert copy_of(backups, backup).state == "failed"


def test_who_dies_before_it_begins_leaves_the_copy_to_the_next(
    app: Flask, backups: Backups
) -> None:
    backup = created(app)
    assert len(backups.copying.take_due(ADA)) == 2
    later = utc_now() + timedelta(minutes=6)
    assert {each.backup_id for each in backups.catalog.copies.take_due(["nas"], later)} == {backup}


def test_a_file_of_an_attempt_that_died_is_compared_and_counts(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    backup = created(app)
    archive = depot_of(backups).archive(backup).read_bytes()
    nas.put(archive_file(backup), io.BytesIO(archive), len(archive))
    nas.put(sidecar_file(backup), io.BytesIO(b"of another try"), 14)
    list(backups.copying.run_due(app, ADA))
    assert states(backups, backup)["nas"] == "copied"
    assert Sidecar.parse(content(backups, "nas", sidecar_file(backup))).backup == backup


@pytest.mark.parametrize("flip", [True, False], ids=["other bytes", "other size"])
def test_another_file_of_that_name_is_no_copy_and_stays(
    app: Flask, backups: Backups, nas: DirectoryDestination, flip: bool
) -> None:
    backup = created(app)
    other = bytearray(depot_of(backups).archive(backup).read_bytes())
    if flip:
        other[len(other) // 2] ^= 1
    else:
        other += bytes(512)
    nas.put(archive_file(backup), io.BytesIO(other), len(other))
    failures = {copy.place: why for copy, why in backups.copying.run_due(app, ADA)}
    assert "not this backup" in str(failures["nas"])
    assert states(backups, backup) == {"nas": "waiting", "offsite": "copied"}
    assert content(backups, "nas", archive_file(backup)) == bytes(other)


def test_a_damaged_backup_is_not_copied(app: Flask, backups: Backups) -> None:
    backup = created(app)
    backups.catalog.update_backup(backup, intact=False)
    for copy, failure in backups.copying.run_due(app, ADA):
        assert copy.state == "failed"
        assert "not known to be good" in str(failure)


@pytest.mark.parametrize("other", [False, True], ids=["damaged", "another archive"])
def test_what_has_been_damaged_since_it_was_made_is_not_copied(
    app: Flask, backups: Backups, other: bool
) -> None:
    backup = created(app)
    archive = depot_of(backups).archive(backup)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    if other:
        change_something()
        content = bytearray(depot_of(backups).archive(created(app)).read_bytes())
        backups.catalog.copies.update(backup, "nas", ordered_at=utc_now())
    archive.write_bytes(content)
    failures = {
        copy.place: failure
        for copy, failure in backups.copying.run_due(app, ADA)
        if copy.backup_id == backup
    }
    assert any(isinstance(each, ArchiveError) for each in failures.values())
    assert states(backups, backup) == {"nas": "failed", "offsite": "failed"}
    found = backups.history.backup(backup)
    assert (found.intact, found.good) == (False, False)
    for place in ("nas", "offsite"):
        names = {each.name for each in backups.destinations[place].list()}
        assert archive_file(backup) not in names
    assert list(backups.depot.path.glob("plans/*")) == []


def test_a_copy_that_is_said_to_be_damaged_goes_for_a_good_one_only(
    app: Flask, backups: Backups
) -> None:
    backup = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]
    before = content(backups, "nas", archive_file(backup))
    backups.catalog.copies.update(backup, "nas", intact=False, reason="It was read and differs.")
    archive = depot_of(backups).archive(backup)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1024])
    assert backups.catalog.copies.want(backup, "nas", utc_now())
    assert [copy.state for copy, _ in backups.copying.run_due(app, ADA)] == ["failed"]
    assert content(backups, "nas", archive_file(backup)) == before
    archive.write_bytes(whole)
    backups.catalog.update_backup(backup, intact=True)
    assert backups.catalog.copies.want(backup, "nas", utc_now())
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None]


def test_the_pages_and_a_host_s_runner_have_them_made_each_as_an_order(
    app: Flask, backups: Backups
) -> None:
    queue = Queue()
    queued_by(backups, queue)
    backup = backups.orders.start(app, verbs.create.order(ADA))
    hexhub_backup.run(app, queue.ids.pop())
    assert len(queue.ids) == 2
    for each in queue.ids:
        assert backups.catalog.operation(each).actor == "schedule"
        hexhub_backup.run(app, each)
    assert states(backups, backup) == {"nas": "copied", "offsite": "copied"}


def test_a_thread_makes_them_when_it_has_made_a_backup(app: Flask, backups: Backups) -> None:
    backup = backups.orders.start(app, verbs.create.order(ADA))
    wait_for(lambda: set(states(backups, backup).values()) == {"copied"})
    assert backups.history.backup(backup).good


def test_the_command_line_copies_what_it_has_backed_up(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    (nas.path / MARKER).unlink()
    done = cli(app, "create", "--json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert {row["place"]: row["state"] for row in document["copies"]} == {
        "nas": "waiting",
        "offsite": "copied",
    }
    failed = cli(app, "copy", document["id"])
    assert failed.exit_code == 1
    assert "Next attempt" in failed.stdout
    shown = cli(app, "show", document["id"]).stdout
    assert "copy:      offsite: copied" in shown
    assert "copy:      nas: waiting, next attempt" in shown
    nas.init()
    assert "is copied to nas" in cli(app, "copy", document["id"]).stdout
    assert "No copy is due" in cli(app, "copy").stdout


def test_the_backup_before_a_restore_is_copied_too(app: Flask, backups: Backups) -> None:
    done = cli(app, "create", "--json")
    backup = json.loads(done.stdout)["id"]
    restored = cli(app, "restore", backup, "--backup-first", "--yes", "--json")
    first = json.loads(restored.stdout)["backup_first"]
    list(backups.copying.run_due(app, ADA))
    assert states(backups, first) == {"nas": "copied", "offsite": "copied"}


def test_a_copy_that_waits_is_given_up_where_the_backup_is_deleted_here(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    backup = created(app)
    backups.orders.run(app, verbs.copy.order(backups.depot, ADA, backup, nas.name))
    backups.history.delete(app, ADA, backup)
    states = {each.place: each.state for each in backups.catalog.copies.of(backup)}
    assert states == {"nas": "copied", "offsite": "failed"}
    later = utc_now() + timedelta(days=1)
    assert backups.copying.take_due(ADA, later) == []
    assert backups.copying.next_at() is None


def test_a_command_waits_for_the_copies_that_the_worker_of_its_backup_has_begun(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    (nas.path / MARKER).unlink()
    queue = Queue()
    queued_by(backups, queue)
    with workers(app, queue):
        done = cli(app, "create", "--queue", "--json")
    made = json.loads(done.stdout)
    assert (done.exit_code, made["state"]) == (0, "completed")
    copies = {each["place"]: each["state"] for each in made["copies"]}
    assert copies == states(backups, made["id"]) == {"nas": "waiting", "offsite": "copied"}
    assert {each.verb: each.bound for each in backups.history.operations()} == {
        "copy": False,
        "create": False,
    }
