"""The page of an account: keys are made there, shown once, and deleted."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from examples.host_app.seed import ADMIN, seeded_key
from tests.support.people import sign_in, token

OTHER = "ingrid"


@pytest.fixture
def signed_in(client: FlaskClient) -> FlaskClient:
    assert sign_in(client, ADMIN).status_code == 303
    return client


def post(client: FlaskClient, path: str, **form: str) -> TestResponse:
    return client.post(f"/account/{path}", data={"csrf_token": token(client, "/account/"), **form})


def opens(app: Flask, key: str) -> bool:
    """By another browser: a key needs no session."""
    answer = app.test_client().get("/api/users/me", headers={"Authorization": key})
    return answer.status_code == 200


def test_a_key_is_made_shown_once_and_deleted(seeded: Flask, signed_in: FlaskClient) -> None:
    answer = post(signed_in, "keys", name=" laptop ")
    assert answer.headers["Cache-Control"] == "no-store"
    found = re.search(
        r"The key <strong>laptop</strong> is <code>([0-9a-f]{32})</code>", answer.text
    )
    assert found is not None
    key = found[1]
    assert opens(seeded, key)
    page = signed_in.get("/account/").text
    assert "laptop" in page
    assert key not in page
    path = re.findall(r'action="/account/(keys/\d+/delete)"', page)[-1]
    assert post(signed_in, path).status_code == 303
    assert not opens(seeded, key)
    assert opens(seeded, seeded_key(ADMIN))
    log = signed_in.get("/admin/audit").text
    assert ("key.created" in log, "key.deleted" in log) == (True, True)
    assert key not in log


@pytest.mark.parametrize(
    ("name", "problem"),
    [("ci", "There is a key ci already."), ("", "1 to 255"), ("a\tb", "1 to 255")],
)
def test_a_name_that_is_none_is_refused(signed_in: FlaskClient, name: str, problem: str) -> None:
    answer = post(signed_in, "keys", name=name)
    assert answer.status_code == 422
    assert problem in answer.text


def test_nobody_deletes_the_key_of_another(seeded: Flask, signed_in: FlaskClient) -> None:
    number = int(re.findall(r"/account/keys/(\d+)/delete", signed_in.get("/account/").text)[0])
    other = seeded.test_client()
    assert sign_in(other, OTHER).status_code == 303
    assert post(other, f"keys/{number}/delete").status_code == 404
    assert opens(seeded, seeded_key(ADMIN))


def test_it_is_for_who_is_signed_in_and_for_forms_of_ours(
    client: FlaskClient, signed_in: FlaskClient
) -> None:
    stranger = client.application.test_client()
    assert "/login" in stranger.get("/account/").headers["Location"]
    assert signed_in.post("/account/keys", data={"name": "x"}).status_code == 400
