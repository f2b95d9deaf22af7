"""Pages that were open for long: their tokens are renewed, and where one is merely too old, the
form comes back with what was typed."""

from __future__ import annotations

import io
import re
import time
from unittest.mock import patch

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import TimestampSigner, URLSafeTimedSerializer

from hexhub_backup.jobs.backups import Backups
from tests.support.pages import page, read
from tests.support.people import token
from tests.support.serving import PREFIX, make_backup

HOURS = 3600


def aged(app: Flask, fresh: str, seconds: int) -> str:
    """The token as the same session had it so many seconds ago."""
    signer = URLSafeTimedSerializer(str(app.secret_key), salt="wtf-csrf-token")
    found: str = signer.loads(fresh)
    then = int(time.time()) - seconds
    with patch.object(TimestampSigner, "get_timestamp", lambda _: then):
        made = signer.dumps(found)
    return made if isinstance(made, str) else made.decode()


@pytest.fixture
def old(app: Flask, client: FlaskClient) -> str:
    return aged(app, token(client, f"{PREFIX}/new"), 2 * HOURS)


def hidden(html: str) -> dict[str, str]:
    """The hidden fields of our part of a page."""
    ours = html[html.index('class="hexhub-backup"') :]
    return dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', ours))


def test_what_was_asked_for_is_done_after_one_more_press(
    app: Flask, client: FlaskClient, backups: Backups, old: str
) -> None:
    backup = make_backup(app)
    address = f"{PREFIX}/{backup}/keep"
    answer = client.post(address, data={"csrf_token": old, "kept": "on"})
    assert answer.status_code == 400
    assert "Nothing has been changed yet" in read(answer)
    assert not backups.history.backup(backup).kept
    assert f'action="{address}"' in answer.text
    fields = hidden(answer.text)
    assert fields["kept"] == "on"
    assert client.post(address, data=fields).status_code == 303
    assert backups.history.backup(backup).kept


def test_it_is_done_at_the_same_address_behind_a_proxy_with_a_prefix(
    client: FlaskClient, old: str
) -> None:
    """Also where the address has what a path would not hold as it is."""
    path = f"{PREFIX}/a%23b%3Fc/keep?page=2&text=%C3%A9"
    answer = client.post(
        path, data={"csrf_token": old}, environ_overrides={"SCRIPT_NAME": "/registry"}
    )
    assert answer.status_code == 400
    assert f'action="/registry{path.replace("&", "&amp;")}"' in answer.text


def test_a_confirmation_is_typed_again(client: FlaskClient, old: str) -> None:
    form = {"csrf_token": old, "do": "restore", "replaces": "51", "backup_first": "on"}
    answer = client.post(f"{PREFIX}/plans/20260131-103000-abcdef", data=form)
    assert answer.status_code == 400
    assert set(hidden(answer.text)) == {"csrf_token", "do", "backup_first"}
    assert "51" not in hidden(answer.text).values()


def test_a_private_key_is_never_sent_back(client: FlaskClient, old: str) -> None:
    form = {"csrf_token": old, "backup": "some", "identity": "AGE-SECRET-KEY-1"}
    answer = client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert hidden(answer.text)["backup"] == "some"
    assert "AGE-SECRET" not in answer.text


def test_a_file_is_chosen_again(client: FlaskClient, backups: Backups, old: str) -> None:
    form = {"csrf_token": old, "file": (io.BytesIO(b"x" * 10_000), "mine.tar")}
    answer = client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert "Choose the file again" in read(answer)
    assert backups.history.operations() == []


def test_what_was_uploaded_before_is_not_chosen_again(client: FlaskClient, old: str) -> None:
    form = {"csrf_token": old, "upload": "some"}
    answer = client.post(f"{PREFIX}/restore", data=form, content_type="multipart/form-data")
    assert answer.status_code == 400
    assert hidden(answer.text)["upload"] == "some"
    assert "Choose the file again" not in read(answer)


@pytest.mark.parametrize("kind", ["missing", "garbage", "of another session", "of another key"])
def test_any_other_token_is_refused(app: Flask, client: FlaskClient, kind: str) -> None:
    form = {
        "missing": {},
        "garbage": {"csrf_token": "x"},
        "of another session": {
            "csrf_token": aged(app, token(app.test_client(), "/login"), 2 * HOURS)
        },
        "of another key": {
            "csrf_token": URLSafeTimedSerializer("another", salt="wtf-csrf-token").dumps("x")
        },
    }[kind]
    answer = client.post(f"{PREFIX}/", data=form)
    assert answer.status_code == 400
    assert "This page has expired" in read(answer)
    assert "Continue" not in answer.text


def test_a_script_gets_an_error(client: FlaskClient, old: str) -> None:
    answer = client.post(
        f"{PREFIX}/", data={"csrf_token": old}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json is not None
    assert "open for too long" in answer.json["error"]["message"]


def test_an_open_page_renews_its_token(app: Flask, client: FlaskClient) -> None:
    answer = client.get(f"{PREFIX}/token", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json is not None
    posted = client.post(f"{PREFIX}/", data={"csrf_token": answer.json["token"]})
    assert posted.status_code == 303
    for site in ("cross-site", "same-site", "none"):
        refused = client.get(f"{PREFIX}/token", headers={"Sec-Fetch-Site": site})
        assert refused.status_code == 403
    assert app.test_client().get(f"{PREFIX}/token").status_code == 401


@pytest.mark.parametrize(("limit", "every"), [(3600, "1200"), (30, "10"), (1, "1"), (None, None)])
def test_a_page_renews_its_token_well_before_it_is_too_old(
    app: Flask, client: FlaskClient, limit: int | None, every: str | None
) -> None:
    app.config["WTF_CSRF_TIME_LIMIT"] = limit
    page(client, "/")
    found = re.search(r'data-seconds="(\d+)"', client.get(f"{PREFIX}/").text)
    assert (found and found[1]) == every
