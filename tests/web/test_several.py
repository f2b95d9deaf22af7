"""A label and a note, lines to copy, and several backups at once."""

from __future__ import annotations

import hashlib
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from hexhub_backup.jobs.backups import Backups
from tests.support.directory import depot_of
from tests.support.pages import page as read
from tests.support.people import token
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")


def post(client: FlaskClient, address: str, page: str, **form: str | list[str]) -> TestResponse:
    return client.post(
        f"{PREFIX}{address}", data={**form, "csrf_token": token(client, f"{PREFIX}{page}")}
    )


def test_a_label_is_shown_and_searched_and_a_note_is_kept(app: Flask, client: FlaskClient) -> None:
    backup, other = make_backup(app), make_backup(app)
    form = {"label": "  before <the>\n move ", "note": "Ask Ada.\n"}
    assert post(client, f"/{backup}/describe", f"/{backup}", **form).status_code == 303
    read(client, f"/{backup}")
    page = client.get(f"{PREFIX}/{backup}").text
    assert "before &lt;the&gt; move" in page
    assert "Ask Ada.</textarea>" in page
    found = client.get(f"{PREFIX}/?text=THE%3E+move").text
    assert f'value="{backup}"' in found
    assert f'value="{other}"' not in found
    post(client, f"/{backup}/describe", f"/{backup}", label=" ", note="")
    assert "&gt; move" not in client.get(f"{PREFIX}/{backup}").text
    assert post(client, "/gone/describe", f"/{backup}", label="x").status_code == 404


def test_the_lines_to_copy_are_those_that_work(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    backup = make_backup(app)
    data = depot_of(backups).archive(backup).read_bytes()
    page = client.get(f"{PREFIX}/{backup}").text
    assert hashlib.sha256(data).hexdigest() in page
    assert f"flask backups restore {backup}<" in page
    line = re.search(r"curl -C - -b &#34;\$COOKIE&#34; -o (\S+) http://localhost(\S+)<", page)
    assert line is not None
    assert line[1] == f"hexhub-backup-{backup}.tar"
    # As curl goes on.
    rest = client.get(line[2], headers={"Range": "bytes=1000-"})
    assert (rest.status_code, rest.data) == (206, data[1000:])


def test_several_backups_are_kept_and_deleted_at_once(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    names = [make_backup(app) for _ in range(3)]
    page = client.get(f"{PREFIX}/").text
    assert page.count('type="checkbox" class="checkbox checkbox-sm me-2') == 3
    chosen = f"/selected?backup={names[0]}&backup={names[1]}"
    assert "2 backups" in read(client, chosen)
    answer = post(client, "/selected", chosen, backup=names[:2], do="keep")
    assert answer.status_code == 303
    with app.app_context():
        assert [backups.history.backup(each).kept for each in names] == [True, True, False]
    post(client, "/selected", chosen, backup=names[:2], do="expire")
    archive = str(depot_of(backups).archive(names[1]))
    with app.app_context(), backups.depot.using(archive):
        answer = post(client, "/selected", chosen, backup=names[:2], do="delete")
    assert answer.status_code == 409
    assert "It did not work with 1 backup" in answer.text
    assert "is in use just now" in answer.text
    with app.app_context():
        left = {each.id for each in backups.history.backups()}
    assert left == {*names[1:]}
    # That one is gone by now, for whoever comes back to the list or presses twice.
    gone = f"There is no backup {names[0]}"
    assert gone in read(client, chosen)
    with app.app_context(), backups.depot.using(archive):
        answer = post(client, "/selected", chosen, backup=names[:2], do="delete")
    assert answer.status_code == 409
    assert gone in answer.text
    assert "The others are done" not in answer.text
    with app.app_context(), backups.depot.using(archive):
        answer = post(client, "/selected", chosen, backup=[names[1], names[2]], do="delete")
    assert answer.status_code == 409
    assert "The others are done" in answer.text
    assert post(client, "/selected", chosen, backup=[names[0]], do="keep").status_code == 303
    assert post(client, "/selected", chosen, do="x").status_code == 400
    assert client.get(f"{PREFIX}/selected").status_code == 303
    assert client.get(f"{PREFIX}/selected?backup=gone").status_code == 404
