"""Copies on the pages: where each backup is, and what can be done about it."""

from __future__ import annotations

import dataclasses
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.models import AuditEvent, db
from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.sidecar import archive_file
from hexhub_backup.retention import Rules
from tests.support.commands import cli, created
from tests.support.directory import depot_of
from tests.support.hosts import ADA
from tests.support.pages import ended, page, post
from tests.support.patience import wait_for
from tests.support.serving import PREFIX


@pytest.fixture
def backup(app: Flask, backups: Backups) -> str:
    found = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]
    return found


def lose(backups: Backups, backup: str) -> bytes:
    archive = depot_of(backups).archive(backup)
    content = archive.read_bytes()
    archive.unlink()
    return content


def test_the_history_and_the_backup_say_where_it_is(
    app: Flask, client: FlaskClient, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    assert re.search(r"complete .* here nas offsite", page(client, "/"))
    text = page(client, f"/{backup}")
    assert re.search(r"Where it is here hexhub-backup-\S+\.tar", text)
    assert len(re.findall(r"copied just now , not verified yet", text)) == 2
    lose(backups, backup)
    assert re.search(r"elsewhere .* nas offsite", page(client, "/"))
    assert "not on this server, but in nas" in page(client, f"/{backup}")
    (nas.path / MARKER).unlink()
    newer = created(app)
    list(backups.copying.run_due(app, ADA))
    assert "nas: waiting" in page(client, "/")
    text = page(client, f"/{newer}")
    assert re.search(r"nas waiting tried again in a minute", text)
    assert "mount its disk" in text


def test_a_copy_is_made_and_verified_by_a_button(
    client: FlaskClient, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    backups.catalog.copies.update(backup, "nas", state="failed", reason="it was away")
    (nas.path / archive_file(backup)).unlink()
    assert "Copy now" in page(client, f"/{backup}")
    assert post(client, f"/{backup}/copy", place="nas").status_code == 303
    wait_for(lambda: backups.catalog.copies.of(backup)[0].state == "copied")
    answer = post(client, f"/{backup}/verify", place="nas")
    operation = answer.location.rpartition("/")[2]
    assert ended(backups, operation).state == "completed"
    assert "The copy is intact" in page(client, f"/operations/{operation}")
    assert "verified just now" in page(client, f"/{backup}")
    assert post(client, f"/{backup}/copy", place="nowhere").status_code == 404


def test_a_copy_that_its_place_would_not_hold_is_refused(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    rules = {"nas": Rules(last=1), "offsite": Rules(last=2)}
    backups.history = dataclasses.replace(backups.history, places=rules)
    backups.copying = dataclasses.replace(backups.copying, history=backups.history)
    created(app)
    list(backups.copying.run_due(app, ADA))
    backups.catalog.copies.remove(backup, "nas")
    answer = post(client, f"/{backup}/copy", place="nas")
    assert answer.status_code == 409
    assert "the next clean-up would delete" in answer.text
    assert backups.catalog.copies.of(backup)[0].place == "offsite"


def test_it_is_brought_back_by_a_button(client: FlaskClient, backups: Backups, backup: str) -> None:
    content = lose(backups, backup)
    assert "Bring back" in page(client, f"/{backup}")
    operation = post(client, f"/{backup}/bring-back").location.rpartition("/")[2]
    assert ended(backups, operation).state == "completed"
    assert depot_of(backups).archive(backup).read_bytes() == content
    assert "on this server again" in page(client, f"/operations/{operation}")
    assert post(client, f"/{backup}/bring-back").status_code == 409


@pytest.mark.parametrize("place", ["nas", "offsite"])
def test_it_is_downloaded_from_a_copy_whole_and_in_ranges(
    client: FlaskClient, backups: Backups, backup: str, place: str
) -> None:
    other = "offsite" if place == "nas" else "nas"
    backups.catalog.copies.update(backup, other, state="missing")
    content = lose(backups, backup)
    path = f"{PREFIX}/{backup}/download"
    whole = client.get(path, buffered=True)
    assert (whole.status_code, whole.data) == (200, content)
    assert whole.headers["Content-Length"] == str(len(content))
    assert whole.headers["Content-Disposition"].endswith(archive_file(backup))
    part = client.get(path, headers={"Range": "bytes=1000-1999"}, buffered=True)
    assert (part.status_code, part.data) == (206, content[1000:2000])
    rest = client.get(
        path,
        headers={"Range": "bytes=2000-", "If-Range": whole.headers["ETag"]},
        buffered=True,
    )
    assert (rest.status_code, rest.data) == (206, content[2000:])
    assert client.get(path, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert client.head(path).status_code == 200
    db.session.rollback()
    assert db.session.query(AuditEvent).filter_by(event="backup.downloaded").count() == 1


def test_a_download_from_a_place_that_is_away_says_so(
    client: FlaskClient, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    backups.catalog.copies.update(backup, "offsite", state="missing")
    lose(backups, backup)
    (nas.path / archive_file(backup)).unlink()
    assert client.get(f"{PREFIX}/{backup}/download").status_code == 404
    (nas.path / MARKER).unlink()
    answer = client.get(f"{PREFIX}/{backup}/download")
    assert answer.status_code == 503
    assert "mount its disk" in answer.text


def test_a_copy_of_another_size_is_not_downloaded(
    client: FlaskClient, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    backups.catalog.copies.update(backup, "offsite", state="missing")
    content = lose(backups, backup)
    for other in (content[: len(content) // 2], content + bytes(512)):
        (nas.path / archive_file(backup)).write_bytes(other)
        answer = client.get(f"{PREFIX}/{backup}/download")
        assert answer.status_code >= 400
        assert "bytes instead of" in answer.text


def test_it_is_planned_from_a_copy(client: FlaskClient, backups: Backups, backup: str) -> None:
    lose(backups, backup)
    assert backup in client.get(f"{PREFIX}/restore").text
    answer = client.post(
        f"{PREFIX}/restore",
        data={
            "csrf_token": re.search(  # type: ignore[index]
                r'name="csrf_token" value="([^"]+)"', client.get(f"{PREFIX}/restore").text
            )[1],
            "backup": backup,
        },
        content_type="multipart/form-data",
    )
    plan = answer.location.rpartition("/")[2]
    assert ended(backups, plan).state == "completed"
    assert "unchanged" in page(client, f"/plans/{plan}")


def test_deleting_says_which_copies_are_good(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    backups.catalog.copies.update(backup, "nas", intact=False)
    text = page(client, f"/{backup}/delete")
    assert "It stays in offsite. The copy in nas is damaged." in text
    assert "(it stays in offsite; damaged in nas)" in cli(app, "delete", backup, typed="n\n").output
    backups.catalog.copies.update(backup, "offsite", intact=False)
    text = page(client, f"/{backup}/delete")
    assert "No good copy of it stays. The copy in nas is damaged. The copy in offsite" in text
    output = cli(app, "delete", backup, typed="n\n").output
    assert "(no good copy of it stays; damaged in nas, offsite)" in output


def test_deleting_asks_where(
    app: Flask, client: FlaskClient, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    text = page(client, f"/{backup}/delete")
    assert "Here: on this server only. It stays in nas, offsite." in text
    assert "Everywhere: here and in nas, offsite." in text
    assert post(client, f"/{backup}/delete", where="here").status_code == 303
    assert backups.history.backup(backup).elsewhere is not None
    assert "deleted permanently in nas, offsite" in page(client, f"/{backup}/delete")
    assert post(client, f"/{backup}/delete", where="everywhere").status_code == 303
    wait_for(lambda: not backups.catalog.has_backup(backup))
    for destination in backups.destinations.values():
        assert list(destination.list()) == []


def test_what_can_not_be_deleted_yet_is_shown_as_being_deleted(
    client: FlaskClient, backups: Backups, nas: DirectoryDestination, backup: str
) -> None:
    (nas.path / MARKER).unlink()
    assert (
        client.delete(
            f"{PREFIX}/{backup}?everywhere=1",
            headers={
                "X-CSRFToken": re.search(  # type: ignore[index]
                    r'name="csrf_token" value="([^"]+)"', client.get(f"{PREFIX}/new").text
                )[1]
            },
        ).status_code
        == 204
    )
    wait_for(lambda: len(backups.catalog.copies.of(backup)) == 1)
    wait_for(lambda: backups.catalog.copies.of(backup)[0].reason)
    assert re.search(r"being deleted .* nas: deleting", page(client, "/"))
    text = page(client, f"/{backup}")
    assert "mount its disk" in text
    assert "Bring back" not in text


def test_a_scan_is_a_button_also_where_there_is_nothing_yet(
    client: FlaskClient, backups: Backups, backup: str
) -> None:
    lose(backups, backup)
    for copy in backups.catalog.copies.of(backup):
        backups.catalog.copies.remove(backup, copy.place)
    backups.catalog.delete_backup(backup)
    assert "Find backups in offsite, nas" in page(client, "/")
    for said in ("1 backup is new here", "No backup is new here"):
        operation = post(client, "/operations/scan").location.rpartition("/")[2]
        assert ended(backups, operation).state == "completed"
        assert f"2 copies were found. {said}" in page(client, f"/operations/{operation}")
    assert re.search(r"by unknown, found elsewhere elsewhere .* nas offsite", page(client, "/"))
    assert "Nobody has verified it there yet" in page(client, f"/{backup}")


def test_a_host_without_destinations_sees_nothing_of_them(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backups.destinations = {}
    created(app)
    for copy in backups.catalog.copies.since(None).values():
        for each in copy:
            backups.catalog.copies.remove(each.backup_id, each.place)
    text = page(client, "/")
    assert "Where" not in text
    assert "Scan" not in text
