"""A check of a destination: a small file is written, listed, read back and deleted, and what fails
is named with what to do."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.base import Destination, Listed
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations.check import Step, check
from tests.support.commands import cli, created
from tests.support.hosts import ADA
from tests.support.pages import page, post
from tests.support.s3 import Fate, S3Server, between
from tests.support.serving import PREFIX


def only(backups: Backups, destination: Destination) -> None:
    backups.destinations = {destination.name: destination}
    backups.copying = replace(backups.copying, destinations=backups.destinations)


def failed(destination: Destination) -> Step:
    """The step that fails, which is the last."""
    found = check(destination)
    assert not found.ok
    assert [step.ok for step in found.steps] == [True] * (len(found.steps) - 1) + [False]
    return found.steps[-1]


def test_a_good_place_is_left_as_it_was(
    nas: DirectoryDestination, localbucket: S3Server, moto: S3Server
) -> None:
    for destination in (
        nas,
        localbucket.destination(localbucket.bucket()),
        moto.destination(moto.bucket()),
    ):
        before = list(destination.list())
        found = check(destination)
        assert found.ok, found
        assert [step.name for step in found.steps] == ["answer", "write", "list", "read", "delete"]
        assert list(destination.list()) == before


@pytest.mark.parametrize(
    ("method", "part", "fate", "step", "why"),
    [
        ("GET", "list-type=2", 403, "answer", "allow s3:ListBucket"),
        ("GET", "list-type=2", "403 RequestTimeTooSkewed", "answer", "set them by NTP"),
        ("GET", "list-type=2", "403 SignatureDoesNotMatch", "answer", "Look at its keys"),
        ("POST", "check-", 403, "write", "allow s3:PutObject"),
        ("PUT", "check-", "403 AccessDenied", "write", "allow s3:PutObject"),
        ("GET", "backups/hexhub-backup-check-", 403, "read", "allow s3:GetObject"),
        ("DELETE", "check-", "403 AccessDenied", "delete", "allow s3:DeleteObject"),
    ],
)
def test_what_a_bucket_refuses_is_named_with_the_permission(
    localbucket: S3Server, method: str, part: str, fate: Fate, step: str, why: str
) -> None:
    with between(localbucket) as (server, seen):
        offsite = server.destination(server.bucket())
        offsite.about()
        seen.fate = lambda _, request: (
            fate if request.startswith(method) and part in request else "pass"
        )
        found = failed(offsite)
    assert (found.name, why in found.text) == (step, True), found.text


def test_a_directory_says_what_is_missing(nas: DirectoryDestination) -> None:
    (nas.path / MARKER).unlink()
    found = failed(nas)
    assert found.name == "answer"
    assert "mount its disk" in found.text


def test_a_place_that_gives_other_bytes_or_lists_nothing_is_not_good(
    nas: DirectoryDestination,
) -> None:
    class Other(DirectoryDestination):
        def put(self, name: str, source: object, size: int) -> None:
            super().put(name, io.BytesIO(bytes(size)), size)

    class Hidden(DirectoryDestination):
        def list(self) -> Iterator[Listed]:
            return iter(())

    class Broken(DirectoryDestination):
        def list(self) -> Iterator[Listed]:
            raise ValueError("a secret of a host's own code")

    assert failed(Other("nas", nas.path)).name == "read"
    assert failed(Hidden("nas", nas.path)).name == "list"
    found = failed(Broken("nas", nas.path))
    assert (found.name, "ValueError" in found.text, "secret" in found.text) == ("list", True, False)
    # Whatever failed, nothing is left.
    assert [path.name for path in nas.path.iterdir()] == [MARKER]


def test_under_a_lock_it_says_when_the_file_can_go_and_a_later_check_deletes_it(
    moto: S3Server,
) -> None:
    bucket = moto.bucket(lock=True)
    offsite = moto.destination(bucket, lock_days=3)
    # As an earlier check has left it, whose lock is over.
    old = "hexhub-backup-check-20200101-000000-abcdef"
    moto.client().put_object(Bucket=bucket, Key=f"backups/{old}", Body=b"old")
    found = check(offsite)
    assert found.ok
    assert "It is locked until" in found.steps[-1].text
    (left,) = [each.name for each in offsite.list()]
    assert left.startswith("hexhub-backup-check-")
    assert left != old


def test_a_place_that_hangs_is_not_waited_for(localbucket: S3Server) -> None:
    with between(localbucket, fate=lambda *_: "hang") as (server, _):
        found = check(server.destination("bucket"), patience=1)
    assert not found.ok
    (step,) = found.steps
    assert (step.name, "no answer within 1 second" in step.text) == ("answer", True)


def test_the_page_says_what_was_found_also_later(
    app: Flask, client: FlaskClient, backups: Backups, nas: DirectoryDestination
) -> None:
    only(backups, nas)
    assert "It has not been checked yet." in page(client, "/protection")
    answer = post(client, "/protection/check/nas")
    assert answer.status_code == 200
    assert "was read back as it was written" in answer.text
    assert "A check just now found nothing wrong." in page(client, "/protection")
    (nas.path / MARKER).unlink()
    answer = post(client, "/protection/check/nas")
    assert answer.status_code == 502
    assert "Could not reach it." in answer.text
    text = page(client, "/protection")
    assert "A check just now could not reach it." in text
    assert "mount its disk" in text
    assert client.get(f"{PREFIX}/protection/check/nas").status_code == 405
    assert client.post(f"{PREFIX}/protection/check/nas").status_code == 400
    # What is somewhere else now was not checked.
    only(backups, DirectoryDestination("nas", nas.path.parent))
    assert "It has not been checked yet." in page(client, "/protection")


def test_a_server_that_ignores_conditions_is_named_on_the_page_once_a_copy_was_made(
    app: Flask, client: FlaskClient, backups: Backups, localbucket: S3Server
) -> None:
    said = "This server ignores conditions"
    with between(localbucket, strip=("If-None-Match",)) as (server, _):
        only(backups, server.destination(server.bucket()))
        created(app)
        assert said not in page(client, "/protection")
        assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None]
        assert said in page(client, "/protection")
        # Another server, which does not.
        only(backups, localbucket.destination(localbucket.bucket()))
        assert said not in page(client, "/protection")


def test_the_command_checks_all_or_some_and_fails_where_one_does(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    done = cli(app, "destinations", "check")
    assert done.exit_code == 0, done.output
    assert "offsite can take a copy." in done.output
    (nas.path / MARKER).unlink()
    done = cli(app, "destinations", "check", "--json")
    assert done.exit_code == 1
    document = {each["name"]: each for each in json.loads(done.stdout)["destinations"]}
    assert {name: each["ok"] for name, each in document.items()} == {"nas": False, "offsite": True}
    assert document["nas"]["steps"][-1]["name"] == "answer"
    assert "FAILED" in cli(app, "destinations", "check", "nas").output
    assert cli(app, "destinations", "check", "offsite").exit_code == 0
    assert cli(app, "destinations", "check", "nobody").exit_code == 1
