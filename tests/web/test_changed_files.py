"""The page of a backup in which a package file has changed, and the button that acknowledges it."""

from __future__ import annotations

import hashlib

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.seed import ADMIN
from tests.support.hosts import file_of, one_package
from tests.support.pages import page as read
from tests.support.people import token
from tests.support.serving import PREFIX, make_backup

pytestmark = pytest.mark.usefixtures("no_prune")


def test_the_page_has_both_hashes_until_somebody_says_why(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        first = make_backup(app)
        path = file_of(app, one_package())
        hashes = [hashlib.sha256(path.read_bytes()).hexdigest()]
        path.unlink()
        path.write_bytes(b"another file")
        hashes.append(hashlib.sha256(b"another file").hexdigest())
        backup = make_backup(app)
    address = f"{PREFIX}/{backup}"
    read(client, f"/{backup}")
    page = client.get(address).text
    assert "1 package file is not what it was in an earlier backup" in page
    assert all(each in page for each in (first, *hashes))
    assert "is not what it was in an earlier backup" in client.get(f"{PREFIX}/").text
    form = {"csrf_token": token(client, address), "note": " "}
    assert client.post(f"{address}/acknowledge", data=form).status_code == 400
    form["note"] = "<b>We</b> replaced it"
    assert client.post(f"{address}/acknowledge", data=form).status_code == 303
    page = client.get(address).text
    assert f"{ADMIN} knows why" in page
    assert "&lt;b&gt;We&lt;/b&gt; replaced it" in page
    assert "is not what it was in an earlier backup" not in client.get(f"{PREFIX}/").text
    form["csrf_token"] = token(client, f"{PREFIX}/new")
    assert client.post(f"{PREFIX}/{first}/acknowledge", data=form).status_code == 404
