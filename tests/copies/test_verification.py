"""Each copy is read again by the clock: from where it is, without a key, and in nobody's way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import ArchiveError, NotFoundError
from hexhub_backup.history.models import Copy
from hexhub_backup.history.runs import VERIFICATION, Run
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.sidecar import archive_file, sidecar_file
from tests.support.age import age_key
from tests.support.commands import cli, created
from tests.support.directory import depot_of
from tests.support.encrypted import copied, use
from tests.support.hosts import ADA
from tests.support.instance import Instance
from tests.support.pages import page
from tests.support.patience import wait_for
from tests.support.s3 import Fate, S3Server, between
from tests.support.ticking import Clock, Ticking, dropped_from_the_cache

pytestmark = pytest.mark.usefixtures("host")
LABEL = "Verification of all backups"


@pytest.fixture
def ticking(app: Flask, backups: Backups) -> Ticking:
    """One for which everything is planned, and nothing is due."""
    found = Ticking(app, backups, Clock())
    assert found() == []
    return found


@pytest.fixture
def backup(app: Flask, backups: Backups, ticking: Ticking) -> str:
    """One whose copies were never read. The next look is due."""
    found = copied(app, backups)["nas"].backup_id
    ticking.until(VERIFICATION)
    return found


def copies(backups: Backups, backup: str) -> dict[str, Copy]:
    return {copy.place: copy for copy in backups.catalog.copies.of(backup)}


def looked(ticking: Ticking) -> dict[str, Any]:
    """What comes of the next look, which finds something that is due."""
    before = len(ticking.ordered)
    ticking()
    (order,) = [each for each in ticking.ordered[before:] if each.verb == "verify_all"]
    ticking.until(VERIFICATION)
    outcome = ticking.backups.catalog.operation(order.id).outcome
    assert outcome is not None
    return outcome


def no_copy_is_due(ticking: Ticking) -> None:
    """Where no copy has to be read, the registry itself is checked; then nothing is left to do."""
    before = len(ticking.ordered)
    ticking()
    assert [each.verb for each in ticking.ordered[before:]] == ["doctor"]
    ticking.until(VERIFICATION)
    assert ticking() == []


def checked(outcome: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [(each["backup"], each["place"], each["intact"]) for each in outcome["checked"]]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("database")
def test_copies_are_read_with_the_backups_the_longest_ago_first(
    ticking: Ticking, backups: Backups, backup: str
) -> None:
    eight, nine = (ticking.clock.now - timedelta(days=days) for days in (8, 9))
    backups.catalog.update_backup(backup, verified_at=nine)
    backups.catalog.copies.update(backup, "nas", verified_at=eight, intact=True)
    outcome = looked(ticking)
    assert checked(outcome) == [
        (backup, "offsite", True),
        (backup, "here", True),
        (backup, "nas", True),
    ]
    for copy in copies(backups, backup).values():
        assert (copy.state, copy.intact, copy.reason, copy.due_at) == ("copied", True, None, None)
        assert copy.verified_at is not None
    assert outcome["warnings"] == []
    no_copy_is_due(ticking)
    # In a week, again.
    ticking.clock.goes(days=8)
    assert len(checked(looked(ticking))) == 3


def test_a_clock_that_was_ahead_puts_nothing_off(
    ticking: Ticking, backups: Backups, backup: str
) -> None:
    year = ticking.clock.now + timedelta(days=365)
    backups.catalog.update_backup(backup, verified_at=year)
    backups.catalog.copies.update(backup, "nas", verified_at=year, intact=True)
    backups.catalog.copies.update(backup, "offsite", due_at=year)
    assert checked(looked(ticking)) == [
        (backup, "offsite", True),
        (backup, "here", True),
        (backup, "nas", True),
    ]


def test_a_copy_that_is_damaged_or_gone_is_told_everywhere(
    app: Flask,
    client: FlaskClient,
    ticking: Ticking,
    backups: Backups,
    nas: DirectoryDestination,
    backup: str,
) -> None:
    damage(nas.path / archive_file(backup))
    backups.destinations["offsite"].delete(archive_file(backup))
    outcome = looked(ticking)
    assert checked(outcome) == [(backup, "nas", False), (backup, "offsite", False)]
    assert {(each["code"], each["record"]) for each in outcome["warnings"]} == {
        ("damaged_copy", f"backup {backup} in nas"),
        ("damaged_copy", f"backup {backup} in offsite"),
    }
    found = copies(backups, backup)
    assert (found["nas"].state, found["nas"].intact) == ("copied", False)
    assert "its SHA-256 is not" in str(found["nas"].reason)
    assert found["offsite"].state == "missing"
    assert "any more" in str(found["offsite"].reason)
    # The backup itself is well.
    assert backups.history.backup(backup).intact
    problems = {each.code: each for each in backups.status(utc_now()).problems}
    assert problems["copy_damaged"].level == "warning"
    assert problems["copy_damaged"].text == (
        "2 copies of backups are damaged or gone: 1 in nas, 1 in offsite."
    )
    text = page(client, "/")
    assert "nas: damaged" in text
    assert "offsite: missing" in text
    assert LABEL in text
    assert "its SHA-256 is not" in page(client, f"/{backup}")
    assert cli(app, "status").exit_code == 1
    # Made again, nothing is wrong any more.
    assert cli(app, "copy", backup).exit_code == 0
    assert "copy_damaged" not in [each.code for each in backups.status(utc_now()).problems]


@pytest.mark.usefixtures("database")
def test_it_is_shown_when_each_was_verified(
    app: Flask, client: FlaskClient, ticking: Ticking, backups: Backups, backup: str
) -> None:
    assert "nas: 1 good copy, not verified yet." in cli(app, "status").stdout
    looked(ticking)
    assert "nas: 1 good copy, verified just now." in cli(app, "status").stdout
    assert f"intact ({copies(backups, backup)['nas'].verified_at:%Y-%m-%d}" in (
        cli(app, "show", backup).stdout
    )
    text = page(client, "/protection")
    assert "offsite: 1 good copy, verified just now." in text
    assert "each backup and each copy elsewhere, 7 days after the last time" in text
    assert "Next look in" in text
    text = page(client, "/")
    assert "nas just now offsite just now" in text
    # It has found nothing.
    assert LABEL not in text
    assert page(client, f"/{backup}").count("verified just now") == 3


def test_an_encrypted_copy_takes_no_key(
    app: Flask, ticking: Ticking, backups: Backups, nas: DirectoryDestination, tmp_path: Path
) -> None:
    use(backups, age_key(tmp_path / "key.txt"))
    backup = copied(app, backups)["nas"].backup_id
    damage(nas.path / archive_file(backup, encrypted=True))
    ticking.until(VERIFICATION)
    assert checked(looked(ticking)) == [(backup, "nas", False), (backup, "offsite", True)]


def test_a_place_that_is_away_says_nothing_of_its_copies(
    app: Flask,
    client: FlaskClient,
    ticking: Ticking,
    backups: Backups,
    nas: DirectoryDestination,
    backup: str,
) -> None:
    other = copied(app, backups)["nas"].backup_id
    (nas.path / MARKER).unlink()
    outcome = looked(ticking)
    assert sorted(checked(outcome)) == sorted([(backup, "offsite", True), (other, "offsite", True)])
    assert outcome["warnings"] == []
    for each in (backup, other):
        copy = copies(backups, each)["nas"]
        assert (copy.state, copy.intact, copy.verified_at) == ("copied", None, None)
        assert copy.good
        assert "It could not be verified." in str(copy.reason)
        assert "mount its disk" in str(copy.reason)
    text = page(client, f"/{backup}")
    assert "It could not be verified." in text
    assert "asked again in" in text
    # Not each hour.
    no_copy_is_due(ticking)
    nas.init()
    ticking.clock.goes(days=1)
    assert sorted(checked(looked(ticking))) == sorted([(backup, "nas", True), (other, "nas", True)])
    assert "It could not be verified." not in page(client, f"/{backup}")


def test_one_that_can_not_be_read_keeps_no_other_from_it(
    app: Flask, ticking: Ticking, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    other = copied(app, backups)["nas"].backup_id
    path = nas.path / archive_file(other)
    path.unlink()
    os.mkfifo(path)
    found = checked(looked(ticking))
    assert (backup, "nas", True) in found
    assert (other, "nas") not in [each[:2] for each in found]
    copy = copies(backups, other)["nas"]
    assert (copy.state, copy.intact) == ("copied", None)


class Meanwhile(DirectoryDestination):
    """In which something happens before a file is opened."""

    happens: Callable[[], object]

    def open(self, name: str, start: int = 0, length: int | None = None) -> Any:
        self.happens()
        return super().open(name, start, length)


@pytest.mark.parametrize("gone", [True, False])
def test_a_copy_that_is_deleted_meanwhile_is_no_damage(
    app: Flask,
    ticking: Ticking,
    backups: Backups,
    nas: DirectoryDestination,
    backup: str,
    gone: bool,
) -> None:
    place = Meanwhile("nas", nas.path)
    backups.destinations = {"nas": place, "offsite": backups.destinations["offsite"]}

    def delete() -> None:
        backups.history.delete(app, ADA, backup, everywhere=True)
        if gone:
            (nas.path / archive_file(backup)).unlink()

    place.happens = delete
    outcome = looked(ticking)
    assert (outcome["checked"], outcome["warnings"]) == ([], [])
    assert {copy.state for copy in copies(backups, backup).values()} == {"deleting"}


def test_nothing_is_known_of_a_copy_that_was_made_anew_meanwhile(
    ticking: Ticking, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    place = Meanwhile("nas", nas.path)
    backups.destinations = {"nas": place, "offsite": backups.destinations["offsite"]}
    damage(nas.path / archive_file(backup))
    place.happens = lambda: backups.catalog.copies.update(backup, "nas", operation_id="another")
    outcome = looked(ticking)
    assert (checked(outcome), outcome["warnings"]) == ([(backup, "offsite", True)], [])
    assert copies(backups, backup)["nas"].verified_at is None


@pytest.mark.parametrize("verb", ["verify", "bring_back"])
def test_an_order_that_read_a_copy_says_nothing_of_one_that_was_made_anew_meanwhile(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str, verb: str
) -> None:
    place = Meanwhile("nas", nas.path)
    backups.destinations = {"nas": place}
    damage(nas.path / archive_file(backup))
    depot_of(backups).archive(backup).unlink()
    orders = {"verify": verbs.verify.order, "bring_back": verbs.bring_back.order}
    order = orders[verb](backups.history, ADA, backup, "nas")
    place.happens = lambda: backups.catalog.copies.update(backup, "nas", operation_id="another")
    with pytest.raises(ArchiveError):
        backups.orders.run(app, order)
    copy = copies(backups, backup)["nas"]
    assert (copy.verified_at, copy.intact) == (None, None)
    # One that was ordered before is not the one that it is about, either.
    order = orders[verb](backups.history, ADA, backup, "nas")
    backups.catalog.copies.update(backup, "nas", operation_id="a third")
    with pytest.raises(NotFoundError, match="made anew"):
        backups.orders.run(app, order)


def test_one_that_was_found_is_checked_whole_and_then_by_its_hash(
    app: Flask, ticking: Ticking, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    for place in ("nas", "offsite"):
        backups.catalog.copies.remove(backup, place)
    (nas.path / sidecar_file(backup)).unlink()
    assert cli(app, "destinations", "scan").exit_code == 0
    assert copies(backups, backup)["nas"].sha256 is None
    assert not any(map(verbs.verify.hash_tells, copies(backups, backup).values()))
    assert checked(looked(ticking)) == [(backup, "nas", True), (backup, "offsite", True)]
    assert verbs.verify.hash_tells(copies(backups, backup)["offsite"])
    assert list(backups.depot.path.glob("uploads/*")) == []
    assert list(backups.depot.path.glob("plans/*")) == []
    # Another archive under its name, whose size is the same.
    path = nas.path / archive_file(backup)
    path.write_bytes(bytes(path.stat().st_size))
    ticking.clock.goes(days=8)
    assert (backup, "nas", False) in checked(looked(ticking))


def test_it_keeps_to_its_rate_and_leaves_nothing_in_the_cache(
    ticking: Ticking,
    backups: Backups,
    nas: DirectoryDestination,
    backup: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = dropped_from_the_cache(monkeypatch)
    size = copies(backups, backup)["nas"].size_bytes
    assert size is not None
    ticking.set(verify_rate=size)
    began = time.monotonic()
    looked(ticking)
    # A second for each of the two: they take a fraction of it.
    assert time.monotonic() - began > 1.99
    assert (nas.path / archive_file(backup)).stat().st_ino in told


def test_a_place_that_hangs_is_in_nobodys_way_and_who_waits_may_be_killed(
    app: Flask,
    ticking: Ticking,
    backups: Backups,
    instance: Instance,
    localbucket: S3Server,
    backup: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fate(_: int, request: str) -> Fate:
        return "hang" if request.startswith("GET") and ".tar" in request else "pass"

    run = ticking.run(VERIFICATION)
    past = utc_now() - timedelta(hours=1)
    assert ticking.runs.change(run, Run(name=run.name, spec=run.spec, due_at=past))
    with between(localbucket, fate=fate) as (server, seen):
        monkeypatch.setenv("HOST_APP_BUCKET_ENDPOINT", server.endpoint)
        process = instance.start("backups", "tick")
        wait_for(lambda: any(".tar" in each for each in seen.requests))
        (one,) = backups.catalog.unfinished_operations()
        # Another tick finds it at work.
        ticking()
        assert ticking.ordered == []
        created(app)
        backups.orders.run(app, verbs.prune.order(ADA))
        process.kill()
        process.communicate()
    backups.prepare(app)
    assert backups.catalog.operation(one.id).state == "interrupted"
    found = copies(backups, backup)
    assert (found["nas"].intact, found["offsite"].intact) == (True, None)
    ticking.until(VERIFICATION)
    assert (backup, "offsite", True) in checked(looked(ticking))
