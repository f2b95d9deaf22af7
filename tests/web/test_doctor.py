"""The page Registry check: what is wrong with the files, and the button that brings one back."""

from __future__ import annotations

import hashlib
import json

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.models import db
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations import doctor
from tests.support.hosts import ADA, Queue, file_of, one_package, queued_by
from tests.support.pages import page as read
from tests.support.patience import wait_for
from tests.support.people import token
from tests.support.serving import PREFIX, make_backup

pytestmark = [
    pytest.mark.host(file_size=2000),
    pytest.mark.usefixtures("no_prune"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SETTLES", 0)


@pytest.fixture
def backups(app: Flask) -> Backups:
    return backups_of(app)


def pressed(app: Flask, client: FlaskClient, address: str, **form: str) -> str:
    """Press a button, and wait for what it orders. Returns its operation."""
    data = {"csrf_token": token(client, f"{PREFIX}/doctor"), **form}
    answer = client.post(f"{PREFIX}{address}", data=data)
    assert answer.status_code == 303, answer.text
    operation: str = answer.location.rpartition("/")[2]
    with app.app_context():
        catalog = backups_of(app).catalog
        wait_for(lambda: catalog.operation(operation).ended)
        assert catalog.operation(operation).state == "completed"
    return operation


def test_a_registry_is_checked_and_is_sound(app: Flask, client: FlaskClient) -> None:
    make_backup(app)
    page = read(client, "/doctor")
    assert "The registry has not been checked yet" in page
    for where in ("/", "/protection"):
        assert f'href="{PREFIX}/doctor"' in client.get(f"{PREFIX}{where}").text
    operation = pressed(app, client, "/doctor")
    assert "Nothing is wrong with the files of the registry" in read(
        client, f"/operations/{operation}"
    )
    page = read(client, "/doctor")
    assert "found nothing wrong" in page
    assert "Bring back" not in page
    assert "nothing was wrong" in read(client, "/protection")
    assert "are missing" not in read(client, "/")


@pytest.mark.parametrize("found", ["missing", "changed"])
def test_a_file_is_brought_back_by_its_button(
    app: Flask, client: FlaskClient, backups: Backups, found: str
) -> None:
    backup = make_backup(app)
    with app.app_context():
        package = one_package()
        name, version, path = package.name, package.releases[0].version, file_of(app, package)
        data = path.read_bytes()
        path.unlink()
        if found == "changed":
            path.write_bytes(data[::-1])
        wrong = path.read_bytes() if path.exists() else None
    operation = pressed(app, client, "/doctor")
    assert "View the findings" in read(client, f"/operations/{operation}")
    assert "1 file of the registry is missing, or is not what it should be" in read(client, "/")
    assert f"release {name} {version}" in read(client, "/doctor")
    page = client.get(f"{PREFIX}/doctor").text
    assert f'href="{PREFIX}/{backup}"' in page
    address = f"/{backup}/contents/releases/{name}/{version}"
    assert f'action="{PREFIX}{address}"' in page
    strategy = "overwrite" if found == "changed" else "skip"
    assert f'name="conflict_strategy" value="{strategy}"' in page
    if found == "changed":
        for each in (data, data[::-1]):
            assert hashlib.sha256(each).hexdigest() in page
    plan = pressed(app, client, address, conflict_strategy=strategy)
    page = read(client, f"/plans/{plan}")
    assert f"Only the release {name} {version}." in page
    assert "1 file is added." in page if found == "missing" else "1 file is replaced." in page
    # Another choice of the same plan is of this release, too.
    form = {"do": "plan", "conflict_strategy": strategy, "which": "releases"}
    plan = pressed(app, client, f"/plans/{plan}", **form)
    assert f"Only the release {name} {version}." in read(client, f"/plans/{plan}")
    typed = {"replaces": "1"} if found == "changed" else {}
    restore = pressed(app, client, f"/plans/{plan}", do="restore", **typed)
    assert path.read_bytes() == data
    assert "Something has been restored or undone since then" in read(client, "/doctor")
    pressed(app, client, f"/operations/{restore}/undo")
    assert (path.read_bytes() if path.exists() else None) == wrong
    path.write_bytes(data)
    pressed(app, client, "/doctor")
    assert "found nothing wrong" in read(client, "/doctor")
    assert "is missing, or is not" not in read(client, "/")


def test_what_no_button_can_put_right_is_said(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = make_backup(app)
    with app.app_context():
        path = file_of(app, one_package())
        path.unlink()
        path.with_name("<b>.part").write_text("left behind")
    pressed(app, client, "/doctor")
    page = read(client, "/doctor")
    assert "&lt;b&gt;.part" in page
    assert page.count("Bring back…") == 1
    with app.app_context():
        backups.history.delete(app, ADA, backup)
    page = read(client, "/doctor")
    assert "The backup that has it was deleted" in page
    assert "Bring back…" not in page
    pressed(app, client, "/doctor")
    assert "No good backup has the right file" in read(client, "/doctor")


def test_many_are_on_several_pages_and_all_in_the_outcome(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    with app.app_context():
        folder = file_of(app, one_package()).parent
    for n in range(120):
        (folder / f"{n:03}.part").write_text("left behind")
    operation = pressed(app, client, "/doctor")
    page = read(client, "/doctor?page=3")
    assert "119.part" in page
    assert "000.part" not in page
    assert client.get(f"{PREFIX}/doctor?page=4").status_code == 404
    document = json.loads(client.get(f"{PREFIX}/operations/{operation}/outcome").text)
    counts = {"missing": 0, "changed": 0, "unfit": 0, "stray": 120}
    assert document["outcome"]["found"] == counts
    assert len(document["findings"]) == 120
    with app.app_context():
        backups.depot.kept("findings", operation).remove()
    assert "is not kept any more" in read(client, "/doctor")


def test_a_file_without_a_row_is_of_the_release_that_a_backup_knows(
    app: Flask, client: FlaskClient
) -> None:
    make_backup(app)
    with app.app_context():
        release = one_package().releases[0]
        name, version = release.package.name, release.version
        db.session.delete(release)
        db.session.commit()
    pressed(app, client, "/doctor")
    page = read(client, "/doctor")
    assert f"release {name} {version}" in page
    assert "The release is not in the registry, but its file is there" in page
    # Nobody is served by it: the registry is protected.
    assert "is missing, or is not" not in read(client, "/")


def test_only_who_may_checks(app: Flask) -> None:
    stranger = app.test_client()
    assert stranger.get(f"{PREFIX}/doctor").status_code in (302, 401, 403)
    assert stranger.post(f"{PREFIX}/doctor").status_code in (302, 400, 401, 403)


def test_one_check_runs_at_a_time(app: Flask, client: FlaskClient, backups: Backups) -> None:
    with app.app_context():
        order = queued_by(backups, Queue()).orders.start(app, verbs.doctor.order(ADA))
    assert "is waiting for a worker" in read(client, "/doctor")
    data = {"csrf_token": token(client, f"{PREFIX}/doctor")}
    assert client.post(f"{PREFIX}/doctor", data=data).status_code == 409
    with app.app_context():
        backups.orders.cancel(app, order)
