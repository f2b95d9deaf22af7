"""`mix hex.user auth`: a client gets a token when its user has confirmed a code on a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from examples.host_app import create_app, devices, erlang_terms
from examples.host_app.accounts import end_sessions
from examples.host_app.devices import GrantError
from examples.host_app.models import AuditEvent, Device, DeviceCode, User, db
from examples.host_app.seed import ADMIN
from tests.support.people import sign_in, token

TERM = "application/vnd.hex+erlang"
OTHER = "ingrid"
#: As mix has it.
ASKED = {"client_id": "78ea6566", "scope": "api repositories", "name": "laptop"}
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def post(app: Flask, path: str, given: Any, bearer: str = "") -> TestResponse:
    """As mix asks: it has no cookie."""
    headers = {"Accept": TERM, "Content-Type": TERM}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    data = erlang_terms.encode(given)
    return app.test_client().post(f"/api/oauth/{path}", data=data, headers=headers)


def said(answer: TestResponse) -> Any:
    assert answer.status_code == 200, answer.data
    assert answer.headers["Cache-Control"] == "no-store"
    return erlang_terms.decode(answer.data)


def refused(answer: TestResponse, code: str) -> None:
    assert answer.status_code == 400
    assert erlang_terms.decode(answer.data)["error"] == code


def begin(app: Flask) -> Any:
    return said(post(app, "device_authorization", ASKED))


def poll(app: Flask, begun: Any) -> TestResponse:
    return post(app, "token", {"grant_type": GRANT, "device_code": begun["device_code"]})


def fetch(app: Flask, access: str, path: str = "/api/users/me") -> TestResponse:
    headers = {"Authorization": f"Bearer {access}", "Accept": TERM}
    return app.test_client().get(path, headers=headers)


def page(browser: FlaskClient, path: str, user_code: str) -> TestResponse:
    form = {"user_code": user_code, "csrf_token": token(browser, "/oauth/device")}
    return browser.post(f"/oauth/device{path}", data=form)


def signed_in_client(app: Flask, browser: FlaskClient) -> Any:
    """The tokens of a client that the user of the browser has let in."""
    begun = begin(app)
    assert page(browser, "/allow", begun["user_code"]).status_code == 303
    return said(poll(app, begun))


def later(app: Flask, column: str, by: timedelta) -> None:
    """Let what is in a column of codes or of devices have happened earlier."""
    with app.app_context():
        for model in (Device, DeviceCode):
            for row in db.session.scalars(select(model)):
                moment: datetime | None = getattr(row, column, None)
                if moment is not None:
                    setattr(row, column, moment - by)
        db.session.commit()


@pytest.fixture
def browser(client: FlaskClient) -> FlaskClient:
    sign_in(client, ADMIN)
    return client


def test_a_client_is_signed_in_when_its_user_has_looked_at_what_asks(
    seeded: Flask, client: FlaskClient
) -> None:
    begun = begin(seeded)
    code = begun["user_code"]
    assert re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{8}", code)
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert begun["verification_uri_complete"] == f"{begun['verification_uri']}?user_code={code}"
    refused(poll(seeded, begun), "authorization_pending")
    link = begun["verification_uri_complete"].removeprefix("http://localhost")
    login = client.get(link).location
    assert sign_in(client, ADMIN, address=login).location == link
    assert f'value="{code}"' in client.get(link).text
    # As mix writes it, and as somebody types it.
    asks = page(client, "", f" {code[:4].lower()}-{code[4:]} ").text
    for shown in (f"{code[:4]}-{code[4:]}", "laptop", "127.0.0.1", "api repositories"):
        assert shown in asks
    later(seeded, "asked_at", devices.INTERVAL)
    refused(poll(seeded, begun), "authorization_pending")
    answer = page(client, "/allow", code)
    assert "is signed in" in client.get(answer.location).text
    tokens = said(poll(seeded, begun))
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 1800)
    assert erlang_terms.decode(fetch(seeded, tokens["access_token"]).data)["username"] == ADMIN
    assert fetch(seeded, tokens["access_token"], "/repo/packages/billing_core").status_code == 200
    # The code is used up, and was for one client.
    refused(poll(seeded, begun), "invalid_grant")
    assert page(client, "/allow", code).status_code == 422
    assert "device.allowed" in client.get("/admin/audit").text


def test_tokens_are_stored_as_hashes_and_outlive_a_restart(
    seeded: Flask, browser: FlaskClient
) -> None:
    begun = begin(seeded)
    with seeded.app_context():
        (code,) = db.session.scalars(select(DeviceCode))
        assert begun["device_code"] not in repr(vars(code))
    assert page(browser, "/allow", begun["user_code"]).status_code == 303
    again = create_app(seeded.instance_path)
    tokens = said(poll(again, begun))
    assert fetch(create_app(seeded.instance_path), tokens["access_token"]).status_code == 200
    with seeded.app_context():
        (device,) = db.session.scalars(select(Device))
        details = [each.details for each in db.session.scalars(select(AuditEvent))]
        kept = repr((vars(device), details))
    assert not [each for each in (tokens["access_token"], tokens["refresh_token"]) if each in kept]


def test_a_client_that_is_denied_is_told(seeded: Flask, browser: FlaskClient) -> None:
    begun = begin(seeded)
    answer = page(browser, "/deny", begun["user_code"])
    assert "was refused" in browser.get(answer.location).text
    refused(poll(seeded, begun), "access_denied")
    assert page(browser, "/allow", begun["user_code"]).status_code == 422
    refused(poll(seeded, begun), "access_denied")


def test_a_code_expires(seeded: Flask, browser: FlaskClient) -> None:
    begun, allowed = begin(seeded), begin(seeded)
    page(browser, "/allow", allowed["user_code"])
    later(seeded, "inserted_at", devices.CODE_LIFE)
    answer = page(browser, "/allow", begun["user_code"])
    assert answer.status_code == 422
    assert "No client is waiting for this code" in answer.text
    for each in (begun, allowed):
        refused(poll(seeded, each), "expired_token")
    later(seeded, "inserted_at", timedelta(hours=1))
    begin(seeded)
    refused(poll(seeded, begun), "invalid_grant")


def test_a_client_that_asks_too_often_is_slowed_down(seeded: Flask) -> None:
    begun = begin(seeded)
    refused(poll(seeded, begun), "authorization_pending")
    refused(poll(seeded, begun), "slow_down")
    later(seeded, "asked_at", devices.INTERVAL)
    refused(poll(seeded, begun), "authorization_pending")


def test_a_token_expires_and_the_next_one_takes_its_place(
    seeded: Flask, browser: FlaskClient
) -> None:
    first = signed_in_client(seeded, browser)
    later(seeded, "refreshed_at", devices.ACCESS_LIFE)
    answer = fetch(seeded, first["access_token"])
    assert answer.status_code == 401
    # What mix looks for, to the letter.
    asked = answer.headers["WWW-Authenticate"]
    assert asked == 'Bearer realm="hex", error="token_expired"'
    # It comes with the old one.
    given = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = said(post(seeded, "token", given, first["access_token"]))
    assert fetch(seeded, second["access_token"]).status_code == 200
    assert fetch(seeded, first["access_token"]).status_code == 401
    refused(post(seeded, "token", given), "invalid_grant")
    assert fetch(seeded, second["access_token"]).status_code == 200
    later(seeded, "refreshed_at", devices.IDLE)
    given["refresh_token"] = second["refresh_token"]
    refused(post(seeded, "token", given), "invalid_grant")
    assert "laptop" not in browser.get("/account/").text


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
def test_a_client_signs_out_with_either_token(
    seeded: Flask, browser: FlaskClient, kind: str
) -> None:
    tokens = signed_in_client(seeded, browser)
    stays = signed_in_client(seeded, browser)
    for _ in range(2):
        answer = post(seeded, "revoke", {"token": tokens[kind]})
        assert (answer.status_code, answer.data) == (200, b"")
    assert fetch(seeded, tokens["access_token"]).status_code == 401
    given = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refused(post(seeded, "token", given), "invalid_grant")
    assert fetch(seeded, stays["access_token"]).status_code == 200


def test_clients_are_on_the_page_of_the_account_and_signed_out_there(
    seeded: Flask, browser: FlaskClient
) -> None:
    tokens = signed_in_client(seeded, browser)
    (path,) = re.findall(r'action="(/account/devices/\d+/sign-out)"', browser.get("/account/").text)
    other = seeded.test_client()
    sign_in(other, OTHER)
    assert other.post(path, data={"csrf_token": token(other, "/account/")}).status_code == 404
    assert fetch(seeded, tokens["access_token"]).status_code == 200
    assert browser.post(path, data={"csrf_token": token(browser, "/account/")}).status_code == 303
    assert fetch(seeded, tokens["access_token"]).status_code == 401


def test_clients_are_signed_out_with_the_sessions_of_their_account(
    seeded: Flask, browser: FlaskClient
) -> None:
    tokens = signed_in_client(seeded, browser)
    allowed = begin(seeded)
    page(browser, "/allow", allowed["user_code"])
    with seeded.app_context():
        end_sessions([OTHER])
    assert fetch(seeded, tokens["access_token"]).status_code == 200
    with seeded.app_context():
        end_sessions([ADMIN])
    assert fetch(seeded, tokens["access_token"]).status_code == 401
    refused(poll(seeded, allowed), "invalid_grant")


def test_a_link_or_a_form_of_another_site_lets_no_client_in(
    seeded: Flask, browser: FlaskClient
) -> None:
    begun = begin(seeded)
    code = begun["user_code"]
    for path in ("", "/allow", "/deny"):
        browser.get(f"/oauth/device{path}?user_code={code}")
        assert browser.post(f"/oauth/device{path}", data={"user_code": code}).status_code == 400
    stranger = seeded.test_client()
    form = {"user_code": code, "csrf_token": token(stranger)}
    assert "/login" in stranger.post("/oauth/device/allow", data=form).location
    refused(poll(seeded, begun), "authorization_pending")


def test_codes_can_not_be_guessed(seeded: Flask, browser: FlaskClient) -> None:
    code = begin(seeded)["user_code"]
    for _ in range(10):
        assert page(browser, "", "BBBBBBBB").status_code == 422
    for path in ("", "/allow"):
        answer = page(browser, path, code)
        assert answer.status_code == 429
        assert "Try again in 15 minutes." in answer.text
    other = seeded.test_client()
    sign_in(other, OTHER)
    for _ in range(12):
        assert page(other, "", code).status_code == 200


def test_an_address_gets_so_many_codes_and_no_more(seeded: Flask) -> None:
    for _ in range(30):
        begin(seeded)
    answer = post(seeded, "device_authorization", ASKED)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 900


@pytest.mark.parametrize(
    ("path", "given", "code"),
    [
        ("device_authorization", {}, "invalid_scope"),
        ("device_authorization", {"scope": "api:read"}, "invalid_scope"),
        ("device_authorization", {"scope": "api package:x"}, "invalid_scope"),
        ("device_authorization", {"scope": 7}, "invalid_scope"),
        ("token", {}, "unsupported_grant_type"),
        ("token", {"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ("token", {"grant_type": GRANT}, "invalid_request"),
        ("token", {"grant_type": GRANT, "device_code": "x"}, "invalid_grant"),
        ("token", {"grant_type": "refresh_token", "refresh_token": 7}, "invalid_request"),
        ("token", {"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ("revoke", {}, "invalid_request"),
    ],
)
def test_what_is_not_given_is_said_in_the_words_of_the_standard(
    seeded: Flask, path: str, given: dict[str, Any], code: str
) -> None:
    refused(post(seeded, path, given), code)


def test_whatever_a_client_calls_itself_is_shown_as_text(
    seeded: Flask, browser: FlaskClient
) -> None:
    begun = said(post(seeded, "device_authorization", {**ASKED, "name": "<b>\0\u202e" * 200}))
    assert "&lt;b&gt;&lt;b&gt;" in page(browser, "", begun["user_code"]).text
    begun = said(post(seeded, "device_authorization", {**ASKED, "name": 7}))
    assert "no name" in page(browser, "", begun["user_code"]).text


@pytest.mark.sample
@pytest.mark.usefixtures("database")
def test_of_many_at_once_one_gets_the_tokens(app: Flask) -> None:
    with app.app_context():
        secret, code = devices.begin("laptop", "api", None)
        assert devices.allow(code, db.session.scalars(select(User)).first() or User())
        assert not devices.deny(code)

    def wins(grant: Callable[[str], devices.Tokens], secret: str) -> devices.Tokens | None:
        with app.app_context():
            try:
                return grant(secret)
            except GrantError:
                return None

    with ThreadPoolExecutor(8) as pool:
        (tokens,) = filter(None, pool.map(wins, [devices.exchange] * 8, [secret] * 8))
        (tokens,) = filter(None, pool.map(wins, [devices.refresh] * 8, [tokens.refresh] * 8))
    with app.app_context():
        assert devices.with_access_token(tokens.access)


@pytest.mark.sample
@pytest.mark.usefixtures("database")
def test_tokens_that_come_while_sessions_end_end_with_them(app: Flask) -> None:
    with app.app_context():
        user = db.session.scalars(select(User)).first() or User()
        name = user.username
        secrets = []
        for _ in range(8):
            secret, code = devices.begin("laptop", "api", None)
            assert devices.allow(code, user)
            secrets.append(secret)

    def run(work: Callable[[], object]) -> None:
        with app.app_context(), suppress(GrantError):
            work()

    each = [partial(devices.exchange, secret) for secret in secrets]
    ends = [partial(end_sessions, [name])] * 2
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(run, each[:4] + ends + each[4:]))
    with app.app_context():
        assert not db.session.scalars(select(Device)).all()
