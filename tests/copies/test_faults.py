"""A server of S3 that answers 500 or 503, hangs, loses its answer, or is killed, at each request of
a copy: never is a copy called good that is not, and the next attempt makes it."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
from flask import Flask

from hexhub_backup import DirectoryDestination, S3Destination
from hexhub_backup.errors import BackupError, CancelledError, DestinationError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations import fetch
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import (
    Sidecar,
    archive_file,
    files_of,
    page_file,
    sidecar_file,
)
from hexhub_backup.s3 import server as s3_server
from tests.support import extent, s3
from tests.support.age import age_key
from tests.support.commands import created
from tests.support.directory import depot_of
from tests.support.encrypted import use
from tests.support.hosts import ADA
from tests.support.s3 import Fate, S3Server, between

pytestmark = pytest.mark.usefixtures("host")


def attempt(app: Flask, backups: Backups, backup: str, offsite: S3Destination) -> str:
    """Try to copy to this destination once, and give the state that the copy is in then."""
    backups.destinations = {"offsite": offsite}
    backups.copying = replace(backups.copying, destinations=backups.destinations)
    backups.catalog.copies.want(backup, "offsite", utc_now())
    (order,) = backups.copying.take_due(ADA)
    with suppress(BackupError):
        backups.orders.run(app, order)
    return next(c.state for c in backups.catalog.copies.of(backup) if c.place == "offsite")


def check(offsite: S3Destination, backups: Backups, backup: str, state: str) -> None:
    """What is called a copy is one, the whole of it; and the backup is as it was."""
    archive = depot_of(backups).archive(backup).read_bytes()
    assert backups.history.backup(backup).good
    found = {}
    for each in offsite.list():
        with offsite.open(each.name) as file:
            found[each.name] = b"".join(iter(lambda file=file: file.read(2**20), b""))  # type: ignore[misc]
    if archive_file(backup) in found:
        assert found[archive_file(backup)] == archive
    if state == "copied":
        assert found.keys() == {archive_file(backup), page_file(backup), sidecar_file(backup)}
        sidecar = Sidecar.parse(found[sidecar_file(backup)])
        assert sidecar.stored_sha256 == hashlib.sha256(archive).hexdigest()
    else:
        assert state == "waiting"


def clear(offsite: S3Destination, backups: Backups, backup: str) -> None:
    """As it was before the first attempt."""
    for name in files_of(backup):
        offsite.delete(name)
    backups.catalog.copies.remove(backup, "offsite")


@pytest.mark.parametrize("fate", [500, 503, "hang", "lost"])
def test_any_request_of_a_copy_may_fail(
    app: Flask, backups: Backups, moto: S3Server, fate: Fate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it were the last of the attempts of each request.
    monkeypatch.setattr(s3_server, "_ATTEMPTS", 1)
    backup, bucket = created(app), moto.bucket()
    patient = moto.destination(bucket)
    failing = 1 - extent.step()
    with between(moto) as (front, seen):
        impatient = front.destination(bucket, read_timeout=1 if fate == "hang" else 60)
        # So that what is asked once is asked by none of the attempts.
        impatient.about()
        while True:
            failing += extent.step()
            seen.requests.clear()
            seen.fate = lambda number, _, failing=failing: (  # type: ignore[misc]
                fate if number == failing else "pass"
            )
            state = attempt(app, backups, backup, impatient)
            check(patient, backups, backup, state)
            if len(seen.requests) < failing and state == "copied":
                break
            # On a busy machine an earlier one may have been given up: then it is this one's turn.
            if len(seen.requests) < failing:
                failing -= extent.step()
            if state != "copied":
                assert attempt(app, backups, backup, patient) == "copied"
            check(patient, backups, backup, "copied")
            listed = moto.client().list_multipart_uploads(Bucket=bucket)
            assert listed.get("Uploads", []) == []
            clear(patient, backups, backup)
    assert state == "copied"
    assert failing > 10


def test_the_server_may_be_killed_at_any_request_of_a_copy(
    app: Flask, backups: Backups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_server, "_ATTEMPTS", 1)
    backup, killed = created(app), 1 - extent.step()
    with s3.localbucket(tmp_path) as server:
        bucket = server.bucket()
        server.destination(bucket).about()
    while True:
        killed += extent.step()
        with s3.localbucket(tmp_path) as server:
            assert server.process is not None

            def fate(number: int, _: str, server: S3Server = server, at: int = killed) -> Fate:
                if number != at or server.process is None:
                    return "pass"
                server.process.kill()
                return "pass"

            with between(server, fate=fate) as (front, seen):
                state = attempt(app, backups, backup, front.destination(bucket))
                if len(seen.requests) < killed:
                    break
        with s3.localbucket(tmp_path) as server:
            patient = server.destination(bucket)
            check(patient, backups, backup, state)
            if state != "copied":
                assert attempt(app, backups, backup, patient) == "copied"
                check(patient, backups, backup, "copied")
            clear(patient, backups, backup)
    assert state == "copied"
    assert killed > 10


def test_a_fetch_that_is_to_stop_asks_a_place_that_is_away_no_more() -> None:
    asked: list[str] = []

    class Away(DirectoryDestination):
        def open(self, name: str, start: int = 0, length: int | None = None) -> NoReturn:
            asked.append(name)
            raise DestinationError("It is away.")

    def stop() -> BackupError | None:
        return CancelledError("It was cancelled.") if asked else None

    away = Away("away", "/nowhere")
    progress = Progress((fetch.step_of("away"),), lambda _: None, stop)
    with pytest.raises(CancelledError):
        fetch.fetch(destination=away, file="a", size=1, sha256=None, write=len, progress=progress)
    assert asked == ["a"]


def test_a_bucket_that_locks_nothing_never_gets_a_copy_that_counts(
    app: Flask, backups: Backups, localbucket: S3Server
) -> None:
    offsite = localbucket.destination(localbucket.bucket(), lock_days=3)
    backup = created(app)
    for _ in range(3):
        assert attempt(app, backups, backup, offsite) == "waiting"
        (copy,) = (c for c in backups.catalog.copies.of(backup) if c.place == "offsite")
        assert "does not lock copies" in str(copy.reason)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_whichever_request_fails_a_copy_is_locked_when_it_is_one(
    app: Flask,
    backups: Backups,
    moto: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encrypted: bool,
) -> None:
    """What is locked can't be made again, and the next attempt has to get on with it."""
    monkeypatch.setattr(s3_server, "_ATTEMPTS", 1)
    if encrypted:
        use(backups, age_key(tmp_path / "key.txt"))
    backup, failing = created(app), 1 - extent.step()
    with between(moto) as (front, seen):
        while True:
            failing += extent.step()
            bucket = moto.bucket(lock=True)
            impatient = front.destination(bucket, lock_days=2)
            impatient.about()
            seen.requests.clear()
            seen.fate = lambda number, _, failing=failing: (  # type: ignore[misc]
                503 if number == failing else "pass"
            )
            state = attempt(app, backups, backup, impatient)
            if len(seen.requests) < failing:
                break
            if state != "copied":
                state = attempt(app, backups, backup, moto.destination(bucket, lock_days=2))
            assert state == "copied", failing
            (copy,) = (c for c in backups.catalog.copies.of(backup) if c.place == "offsite")
            client, key = moto.client(), f"backups/{copy.file}"
            head = client.head_object(Bucket=bucket, Key=key)
            assert copy.locked_until == head["ObjectLockRetainUntilDate"]
            stored = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            assert copy.sha256 == hashlib.sha256(stored).hexdigest()
            backups.catalog.copies.remove(backup, "offsite")
    assert state == "copied"
    assert failing > 10
