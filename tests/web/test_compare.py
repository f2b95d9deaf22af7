"""Two backups beside each other, and a backup beside the registry as it is now."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.models import Package, User, db
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.verbs import compare
from hexhub_backup.verbs.remains import remove_remains
from tests.support.directory import depot_of
from tests.support.hosts import ADA, change_something, file_of, one_package
from tests.support.instance import Instance
from tests.support.pages import page as read
from tests.support.patience import wait_for
from tests.support.people import token
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")


def change_the_registry(app: Flask) -> tuple[str, str]:
    """Add, remove and change something. Gives the names of a changed package and of a release
    that is gone."""
    with app.app_context():
        secret = change_something("new@example.org").password_hash
        assert secret
        package = one_package()
        db.session.add(Package(name="another", source="local", meta={}))
        release = package.releases[-1]
        gone = f"release {package.name} {release.version}"
        db.session.delete(release)
        db.session.commit()
        file_of(app, package).write_bytes(b"another file")
        return package.name, gone


def test_two_backups_are_compared_record_by_record_and_field_by_field(
    app: Flask, client: FlaskClient
) -> None:
    first = make_backup(app)
    package, gone = change_the_registry(app)
    second = make_backup(app)
    read(client, f"/{second}/compare")
    read(client, f"/{second}/compare?with={first}")
    page = client.get(f"{PREFIX}/{second}/compare?with={first}").text
    assert client.get(f"{PREFIX}/{first}/compare?with={second}").text.count(gone) == 1
    for part in ("package another", gone, f"package {package}", "another one", "package file"):
        assert part in page
    with app.app_context():
        for user in db.session.query(User):
            assert user.password_hash
            assert user.password_hash not in page
    assert "new@example.org" not in page
    page = client.get(f"{PREFIX}/{second}/compare?with={first}&change=removed").text
    assert gone in page
    assert "package another" not in page
    page = client.get(f"{PREFIX}/{first}/compare?with={first}").text
    assert "Nothing was added, removed or changed." in page


@pytest.mark.parametrize(
    "query",
    ["with=gone", "now=gone", "with={0}&kind=trees", "with={0}&change=x", "with={0}&page=9"],
)
def test_what_is_not_there_is_a_page_that_says_so(
    app: Flask, client: FlaskClient, query: str
) -> None:
    backup = make_backup(app)
    answer = client.get(f"{PREFIX}/{backup}/compare?{query.format(backup)}")
    assert answer.status_code == 404


def test_a_backup_is_compared_with_now(app: Flask, client: FlaskClient, backups: Backups) -> None:
    backup = make_backup(app)
    package, gone = change_the_registry(app)
    address = f"{PREFIX}/{backup}/compare"
    answer = client.post(address, data={"csrf_token": token(client, address)})
    assert answer.status_code == 303
    wait_for(lambda: "Compare</h1>" in client.get(answer.location).text)
    page = client.get(answer.location).text
    for part in ("package another", gone, f"package {package}", "package file"):
        assert part in page
    operation = answer.location.rpartition("=")[2]
    listing = depot_of(backups).contents(operation)
    assert listing.exists()
    with app.app_context():
        # It goes with its operation, and that of a backup does not.
        for each in (operation, backup):
            long_ago = utc_now() - timedelta(days=100)
            backups.catalog.finish_operation(each, finished_at=long_ago)
        parts = backups.catalog, backups.coordinator, backups.depot, backups.storage
        remove_remains(*parts, days=30)
    assert not listing.exists()
    assert depot_of(backups).contents(backup).exists()
    assert client.get(answer.location).status_code == 404


def test_what_is_not_listed_is_not_compared(app: Flask, backups: Backups) -> None:
    with app.app_context():
        backup = make_backup(app)
        depot_of(backups).contents(backup).unlink()
        with pytest.raises(NotFoundError, match="are not listed: verify it"):
            compare.order(backups.history, ADA, backup)


def test_the_command_says_the_same(app: Flask, instance: Instance) -> None:
    first = instance.backups("create")["id"]
    package, _ = change_the_registry(app)
    made = instance.backups("create")
    assert made["since"]["backup"] == first
    found = instance.backups("diff", first, made["id"])
    assert found["counts"] == made["since"]["records"]
    assert (found["from"], found["to"]) == (first, made["id"])
    changed = {(each["kind"], *each["key"]): each for each in found["differences"]}
    assert changed["packages", "another"]["change"] == "added"
    (old, new) = changed["packages", package]["fields"]["meta"]
    assert new == {"description": "another one"}
    assert old != new
    assert len(changed) == found["difference_count"]
    assert "password" not in json.dumps(found)
    now = instance.backups("diff", first)
    assert now["to"] is None
    assert now["counts"] == found["counts"]
    assert instance.backups("diff", made["id"])["difference_count"] == 0
    said = instance.run("backups", "diff", first).stdout
    assert "+ package another" in said
    assert f"~ package {package}" in said
    assert len(list((instance.depot / "contents").iterdir())) == 2
    assert instance.refused("acknowledge", first, "--note", "none")["code"] == "not_found"
    done = instance.backups("acknowledge", made["id"], "--note", "We know.", "--as", "ada")
    assert (done["acknowledged_by"], done["acknowledged_note"]) == ("ada", "We know.")
