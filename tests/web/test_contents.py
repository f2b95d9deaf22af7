"""The contents of a backup: browsed, searched, told from what is secret, and one file at a time."""

from __future__ import annotations

import hashlib
import re
import shutil
import sqlite3
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.models import AuditEvent, Package, User, db
from examples.host_app.seed import ADMIN
from hexhub_backup.history.contents import open_contents
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.verbs import verify
from tests.support.directory import depot_of
from tests.support.hosts import ADA, file_of, one_package, one_user
from tests.support.instance import DATA
from tests.support.pages import page as read
from tests.support.patience import wait_for
from tests.support.people import token
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")


@pytest.fixture
def backup(app: Flask) -> str:
    return make_backup(app)


@pytest.fixture
def backups(app: Flask) -> Backups:
    return backups_of(app)


def test_packages_come_first_and_lead_to_their_releases_files_and_owners(
    app: Flask, client: FlaskClient, backup: str
) -> None:
    with app.app_context():
        package = one_package()
        name, versions = package.name, [each.version for each in package.releases]
        data = file_of(app, package).read_bytes()
    for each in ("", f"/packages/{name}", f"/packages/{name}?of=owners", "?kind=users&text=a"):
        read(client, f"/{backup}/contents{each}")
    page = client.get(f"{PREFIX}/{backup}/contents").text
    assert f'href="{PREFIX}/{backup}/contents/packages/{name}"' in page
    page = client.get(f"{PREFIX}/{backup}/contents/packages/{name}").text
    for version in versions:
        assert f"{PREFIX}/{backup}/files/package/{name}/{version}" in page
    assert hashlib.sha256(data).hexdigest() in page
    page = client.get(f"{PREFIX}/{backup}/contents/packages/{name}?of=owners").text
    owner = re.search(rf'href="({PREFIX}/{backup}/contents/users/[^"]+)"', page)
    assert owner is not None
    assert f"{PREFIX}/{backup}/contents/packages/{name}" in client.get(owner[1]).text


def test_each_kind_is_listed_and_searched(app: Flask, client: FlaskClient, backup: str) -> None:
    with app.app_context():
        package = one_package().name
        user = one_user().username
    for kind, name in (("packages", package), ("releases", package), ("users", user)):
        page = client.get(f"{PREFIX}/{backup}/contents?kind={kind}&text={name.upper()}").text
        assert f">{name}" in page
        assert "Nothing matches" not in page
    page = client.get(f"{PREFIX}/{backup}/contents?kind=owners&text=nobody-is-called-so").text
    assert "Nothing matches" in page


@pytest.mark.parametrize(
    "rest", ["?kind=trees", "?page=9", "?page=0", "/packages/gone", "/trees/jason", "/users/gone"]
)
def test_what_is_not_there_is_a_page_that_says_so(
    client: FlaskClient, backup: str, rest: str
) -> None:
    answer = client.get(f"{PREFIX}/{backup}/contents{rest}")
    assert answer.status_code == 404
    assert "Not found" in answer.text


def test_no_password_e_mail_second_factor_or_right_is_in_the_list(
    app: Flask, backups: Backups
) -> None:
    with app.app_context():
        backups.orders.run(app, verify.order(backups.history, ADA, make_backup(app)))
        made = make_backup(app)
        listing = depot_of(backups).contents(made)
        data = listing.read_bytes()
        for user in db.session.scalars(sa.select(User)):
            for secret in (user.password_hash, user.email):
                assert secret
                assert secret.encode() not in data
        for word in (b"password", b"email", b"totp", b"is_admin"):
            assert word not in data
        assert ADMIN.encode() in data
    assert listing.stat().st_mode & 0o777 == 0o600


def test_the_list_goes_with_the_backup(app: Flask, backups: Backups, backup: str) -> None:
    listing = depot_of(backups).contents(backup)
    assert listing.exists()
    with app.app_context():
        backups.history.delete(app, ADA, backup)
    assert not listing.exists()


def listed(page: str) -> str:
    found = re.search(r'<ul class="divide-y.*?</ul>', page, re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("lost", ["missing", "damaged", "cut", "another's"])
def test_a_list_that_can_not_be_used_is_made_again_from_the_archive(
    app: Flask, client: FlaskClient, backups: Backups, backup: str, lost: str
) -> None:
    address, listing = f"{PREFIX}/{backup}/contents", depot_of(backups).contents(backup)
    before = listed(client.get(address).text)
    if lost == "missing":
        listing.unlink()
    elif lost == "damaged":
        listing.write_bytes(b"not a database" * 1000)
    elif lost == "cut":
        listing.write_bytes(b"")
    else:
        with app.app_context():
            db.session.add(Package(name="another", source="local", meta={}))
            db.session.commit()
        shutil.copy(depot_of(backups).contents(make_backup(app)), listing)
    page = client.get(address).text
    assert "Verify and list contents" in page
    read(client, f"/{backup}/contents")
    form = {"csrf_token": token(client, address)}
    answer = client.post(address, data=form)
    assert answer.status_code == 303
    # It shows how far the verification is, and then the contents.
    wait_for(lambda: "Contents</h1>" in client.get(answer.location).text)
    assert listed(client.get(address).text) == before
    assert not list(depot_of(backups).path.glob("work-*"))


def test_a_list_of_a_newer_release_is_refused_by_name_and_left_alone(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    listing = depot_of(backups).contents(backup)
    with sqlite3.connect(listing) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    answer = client.get(f"{PREFIX}/{backup}/contents")
    assert answer.status_code == 409
    assert "is of version 99, and this release reads version 1" in answer.text
    with app.app_context():
        backups.orders.run(app, verify.order(backups.history, ADA, backup))
    assert client.get(f"{PREFIX}/{backup}/contents").status_code == 409


def test_an_archive_of_hexhub_that_was_found_is_listed_by_its_verification(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    shutil.copy(DATA / "hexhub-small.tar", depot_of(backups).archive("found"))
    with app.app_context():
        backups.prepare(app)
        assert "not listed yet" in client.get(f"{PREFIX}/found/contents").text
        backups.orders.run(app, verify.order(backups.history, ADA, "found"))
        contents = open_contents(backups.depot, backups.history.backup("found"))
        assert contents is not None
        contents.close()
    page = client.get(f"{PREFIX}/found/contents?kind=releases").text
    (address, *_) = re.findall(rf'href="({PREFIX}/found/files/package/[^"]+)"', page)
    sha256 = re.findall(r"<code>([0-9a-f]{64})</code>", page)
    data = client.get(address).data
    assert hashlib.sha256(data).hexdigest() in sha256


# one file


def address_of(app: Flask, backup: str) -> tuple[str, bytes]:
    """Where a package file of a backup is downloaded, and what it is."""
    with app.app_context():
        package = one_package()
        version = package.releases[0].version
        data = file_of(app, package).read_bytes()
        return f"{PREFIX}/{backup}/files/package/{package.name}/{version}", data


def events(app: Flask) -> list[dict[str, object]]:
    with app.app_context():
        found = db.session.query(AuditEvent).filter_by(event="backup.downloaded")
        return [each.details for each in found]


def test_one_file_is_downloaded_alone_and_audited(
    app: Flask, client: FlaskClient, backup: str
) -> None:
    address, data = address_of(app, backup)
    answer = client.get(address)
    assert (answer.status_code, answer.data) == (200, data)
    _, _, name, version = address.rsplit("/", 3)
    headers = answer.headers
    assert headers["Content-Disposition"] == f"attachment; filename={name}-{version}.tar.gz"
    assert headers["Content-Length"] == str(len(data))
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert events(app) == [{"backup": backup, "file": f"packages/{name}-{version}.tar.gz"}]
    assert client.get(f"{address}-gone").status_code == 404
    assert client.get(address.replace("/package/", "/other/")).status_code == 404
    assert len(events(app)) == 1


def test_of_a_file_that_was_tampered_with_no_byte_goes_out(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    address, data = address_of(app, backup)
    archive: Path = depot_of(backups).archive(backup)
    whole = archive.read_bytes()
    assert whole.count(data) == 1
    at = whole.index(data) + len(data) - 1
    archive.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    answer = client.get(address)
    assert answer.status_code == 422
    assert "is not what it was when the archive was made" in answer.text
    assert data[:100] not in answer.data
    archive.write_bytes(whole[: at - 10])
    assert client.get(address).status_code == 422
    assert events(app) == []
    with app.app_context():
        # It is held no longer.
        backups.history.delete(app, ADA, backup)


def test_nobody_but_an_admin_sees_any_of_it(app: Flask, backup: str) -> None:
    address, data = address_of(app, backup)
    anybody = app.test_client()
    for each in (address, f"{PREFIX}/{backup}/contents"):
        answer = anybody.get(each)
        assert answer.status_code != 200
        assert data[:100] not in answer.data


# one package


def has_ended(app: Flask, operation: str) -> bool:
    with app.app_context():
        return backups_of(app).catalog.operation(operation).ended


def test_one_package_alone_is_planned_and_users_only_where_the_box_says_so(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    with app.app_context():
        name = one_package().name
    address = f"{PREFIX}/{backup}/contents/packages/{name}"
    for users in (False, True):
        form = {"csrf_token": token(client, address), **({"users": "on"} if users else {})}
        answer = client.post(address, data=form)
        assert answer.status_code == 303
        plan = answer.location.rsplit("/", 1)[1]
        wait_for(partial(has_ended, app, plan))
        with app.app_context():
            choice = backups.catalog.operation(plan).options["choice"]
        assert (choice["packages"], choice["users"]) == ([name], users)
        assert "What this restore would do" in client.get(answer.location).text
