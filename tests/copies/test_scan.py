"""A scan finds what lies at the destinations: the day for which there are copies."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from hexhub_backup import DirectoryDestination, verbs
from hexhub_backup.archive.reading.last_member import read_manifest
from hexhub_backup.archive.rules import tar
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.errors import ArchiveError, DatabaseError, DestinationError
from hexhub_backup.history.models import Copy
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.sidecar import Sidecar, archive_file, sidecar_file
from tests.support.commands import cli, created
from tests.support.directory import depot_of
from tests.support.hosts import ADA, change_something

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def backup(app: Flask, backups: Backups) -> str:
    found = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]
    return found


def forget(backups: Backups, backup: str) -> None:
    """As if this server and its database were new."""
    depot_of(backups).archive(backup).unlink()
    for copy in backups.catalog.copies.of(backup):
        backups.catalog.copies.remove(backup, copy.place)
    backups.catalog.delete_backup(backup)
    assert backups.history.backups() == []


def scan(app: Flask, backups: Backups) -> dict[str, Any]:
    order = verbs.scan.order(ADA, list(backups.destinations))
    return backups.orders.run(app, order).outcome


def copies(backups: Backups, backup: str) -> dict[str, Copy]:
    return {copy.place: copy for copy in backups.catalog.copies.of(backup)}


def test_backups_are_adopted_from_their_sidecars_and_not_checked(
    app: Flask, backups: Backups, backup: str
) -> None:
    before = backups.history.backup(backup)
    forget(backups, backup)
    outcome = scan(app, backups)
    assert outcome["adopted"] == [backup]
    assert outcome["places"]["nas"] == {"copies": 1, "new": 1, "missing": 0}
    found = backups.history.backup(backup)
    assert found.good
    assert found.adopted
    assert found.elsewhere is not None
    assert (found.intact, found.verified_at, found.created_by) == (None, None, "unknown")
    assert (found.created_at, found.contents) == (before.created_at, before.contents)
    assert found.checksums == before.checksums
    for place in ("nas", "offsite"):
        copy = copies(backups, backup)[place]
        assert (copy.state, copy.copied_at, copy.intact) == ("copied", None, None)
        assert copy.size_bytes == before.size_bytes
        assert copy.sha256 == before.copies[0].sha256
    assert scan(app, backups)["adopted"] == []


def test_only_reading_verifies_and_then_all_is_known(
    app: Flask, backups: Backups, backup: str
) -> None:
    before = backups.history.backup(backup)
    forget(backups, backup)
    scan(app, backups)
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    found = backups.history.backup(backup)
    assert found.intact
    # Also who has made it, which lay beside no copy.
    assert found.manifest == before.manifest
    assert list(backups.depot.path.glob("uploads/*")) == []
    backups.orders.run(app, verbs.bring_back.order(backups.history, ADA, backup))
    assert backups.history.backup(backup).file_missing is False


@pytest.mark.parametrize("damage", ["gone", "no json", "of another"])
def test_without_a_sidecar_the_end_of_the_archive_tells(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str, damage: str
) -> None:
    before = backups.history.backup(backup)
    forget(backups, backup)
    backups.destinations = {"nas": nas}
    sidecar = nas.path / sidecar_file(backup)
    if damage == "gone":
        sidecar.unlink()
    elif damage == "no json":
        sidecar.write_bytes(b"{")
    else:
        sidecar.write_bytes(sidecar.read_bytes().replace(backup.encode(), b"x" * len(backup)))
    outcome = scan(app, backups)
    assert outcome["warning_count"] == (damage != "gone")
    found = backups.history.backup(backup)
    assert found.manifest == before.manifest
    assert found.created_by == "ada"
    copy = copies(backups, backup)["nas"]
    assert (copy.sha256, copy.intact) == (None, None)
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    assert copies(backups, backup)["nas"].intact


def test_a_sidecar_that_lies_does_not_make_a_damaged_copy_a_good_one(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    forget(backups, backup)
    backups.destinations = {"nas": nas}
    path, beside = nas.path / archive_file(backup), nas.path / sidecar_file(backup)
    content = bytearray(path.read_bytes())
    old = hashlib.sha256(content).hexdigest()
    content[content.index(b"contents.tar.gz")] ^= 1
    path.write_bytes(content)
    new = hashlib.sha256(content).hexdigest()
    beside.write_bytes(beside.read_bytes().replace(old.encode(), new.encode()))
    scan(app, backups)
    with pytest.raises(ArchiveError):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup))
    assert copies(backups, backup)["nas"].intact is False
    assert not backups.history.backup(backup).good


def test_another_archive_is_no_copy_of_a_backup_that_is_known(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    change_something()
    other = depot_of(backups).archive(created(app)).read_bytes()
    backups.catalog.copies.remove(backup, "nas")
    for file in (archive_file(backup), sidecar_file(backup)):
        nas.delete(file)
    nas.put(archive_file(backup), io.BytesIO(other), len(other))
    before = backups.history.backup(backup)
    scan(app, backups)
    with pytest.raises(ArchiveError, match="is another archive"):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup, "nas"))
    assert copies(backups, backup)["nas"].intact is False
    assert backups.history.backup(backup).manifest == before.manifest
    depot_of(backups).archive(backup).unlink()
    with pytest.raises(ArchiveError, match="is another archive"):
        backups.orders.run(app, verbs.bring_back.order(backups.history, ADA, backup, "nas"))
    assert not depot_of(backups).archive(backup).exists()
    backups.catalog.copies.remove(backup, "offsite")
    backups.catalog.copies.update(backup, "nas", intact=None)
    with pytest.raises(ArchiveError, match="is another archive"):
        backups.orders.run(app, verbs.inspect.order(backups.history, ADA, backup, Choice()))
    assert backups.history.backup(backup).manifest == before.manifest


def test_the_manifest_of_a_backup_that_was_made_here_is_never_replaced(
    app: Flask, backups: Backups, backup: str
) -> None:
    backups.catalog.copies.remove(backup, "nas")
    scan(app, backups)
    known = {**(backups.history.backup(backup).manifest or {}), "created_by": "who made it"}
    backups.catalog.update_backup(backup, manifest=known)
    backups.orders.run(app, verbs.verify.order(backups.history, ADA, backup, "nas"))
    assert copies(backups, backup)["nas"].intact
    assert backups.history.backup(backup).manifest == known


def test_a_copy_that_the_database_refuses_does_not_keep_the_others_from_it(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    other = created(app)
    list(backups.copying.run_due(app, ADA))
    for each in (backup, other):
        depot_of(backups).archive(each).unlink()
        for copy in backups.catalog.copies.of(each):
            backups.catalog.copies.remove(each, copy.place)
        backups.catalog.delete_backup(each)
    with backups.catalog.engine().begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON hexhub_backup_backups "
            f"WHEN NEW.id = '{backup}' BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        )
    outcome = scan(app, backups)
    assert outcome["adopted"] == [other]
    assert {each["code"] for each in outcome["warnings"]} == {"not_scanned"}


def test_a_database_that_takes_none_of_them_ends_the_scan(
    app: Flask, backups: Backups, backup: str
) -> None:
    forget(backups, backup)
    with backups.catalog.engine().begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON hexhub_backup_backups "
            "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
    with pytest.raises(DatabaseError):
        scan(app, backups)
    assert backups.history.backups() == []


def test_a_number_that_no_column_holds_makes_no_sidecar(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    document = json.loads((nas.path / sidecar_file(backup)).read_bytes())
    for number in (2**31, 2**63 - 1):
        document["missing_files"] = number
        with pytest.raises(ArchiveError):
            Sidecar.parse(json.dumps(document).encode())


def test_an_end_full_of_headers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    walks, walk = [], tar.walk

    def counted(read: Callable[[int, int], bytes], size: int) -> Iterator[Any]:
        walks.append(size)
        return walk(read, size)

    monkeypatch.setattr(tar, "walk", counted)
    data = tar.pack("manifest.json", 0) * 500 + tar.pack("x", 0) + bytes(1024)
    with pytest.raises(ArchiveError):
        read_manifest(lambda at, length: data[at : at + length], len(data))
    assert len(walks) < 50


def test_what_is_no_archive_is_adopted_with_a_warning_and_never_restored(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    backups.destinations = {"nas": nas}
    for name in ("hexhub-backup-broken.tar", "hexhub-backup-new.tar", "another.tar", "x.json"):
        nas.put(name, io.BytesIO(b"no tar" * 1000), 6000)
    outcome = scan(app, backups)
    assert outcome["adopted"] == ["broken"]
    assert [each["code"] for each in outcome["warnings"]] == ["not_scanned"]
    with pytest.raises(ArchiveError):
        backups.orders.run(app, verbs.verify.order(backups.history, ADA, "broken"))


def test_a_destination_that_is_away_does_not_keep_the_others_from_it(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    forget(backups, backup)
    (nas.path / MARKER).unlink()
    outcome = scan(app, backups)
    assert outcome["adopted"] == [backup]
    assert outcome["places"].keys() == {"offsite"}
    assert [each["code"] for each in outcome["warnings"]] == ["not_scanned"]
    backups.destinations = {"nas": nas}
    with pytest.raises(DestinationError, match="mount its disk"):
        scan(app, backups)


def test_a_scan_finds_what_is_missing_and_what_is_there_again(
    app: Flask, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    path = nas.path / archive_file(backup)
    aside = path.rename(nas.path / "aside")
    assert scan(app, backups)["places"]["nas"]["missing"] == 1
    assert copies(backups, backup)["nas"].state == "missing"
    aside.rename(path)
    scan(app, backups)
    assert copies(backups, backup)["nas"].state == "copied"
    assert copies(backups, backup)["offsite"].state == "copied"


def test_a_manifest_of_any_size_is_read_from_the_end(app: Flask, backups: Backups) -> None:
    archive = depot_of(backups).archive(created(app))
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]

    def read(content: bytes) -> dict[str, Any]:
        asked = []

        def part(at: int, length: int) -> bytes:
            asked.append(length)
            return content[at : at + length]

        found = read_manifest(part, len(content)).as_json()
        assert sum(asked) <= 5 * 2**20
        return found

    assert read(archive.read_bytes()) == manifest
    for count in (10, 50_000):
        manifest["missing_files"] = [f"packages/a{number}-1.0.0.tar.gz" for number in range(count)]
        data, made = json.dumps(manifest).encode(), io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            # Files may hold what looks like a manifest.
            for name, content in (
                ("packages/a-1.tar.gz", archive.read_bytes()),
                ("manifest.json", data),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        assert read(made.getvalue()) == manifest
    for content in (b"", b"x", bytes(1024), archive.read_bytes()[:-1024], b"manifest.json" * 5000):
        with pytest.raises(ArchiveError):
            read(content)


def test_the_command_says_what_it_has_found(app: Flask, backups: Backups, backup: str) -> None:
    forget(backups, backup)
    done = cli(app, "destinations", "scan", "nas")
    assert "nas: 1 copy, 1 new, 0 missing." in done.stdout
    assert f"'flask backups restore {backup}' restores it" in done.stdout
    assert cli(app, "destinations", "scan", "nowhere").exit_code == 1
