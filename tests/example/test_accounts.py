"""Who may sign in, with what, and where it leads."""

from __future__ import annotations

import time

import bcrypt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from examples.host_app import totp
from examples.host_app.accounts import check_password, local_target
from examples.host_app.models import AuditEvent, User, db
from examples.host_app.seed import ADMIN, PASSWORD, TOTP_SECRET
from tests.support.people import sign_in, token, username

pytestmark = pytest.mark.sample


def signed_in(client: FlaskClient) -> bool:
    return "Sign out" in client.get("/").text


def change(app: Flask, name: str, **values: object) -> None:
    with app.app_context():
        user = db.session.scalars(select(User).filter_by(username=name)).one()
        for column, value in values.items():
            setattr(user, column, value)
        db.session.commit()


@pytest.mark.parametrize("prefix", ["scrypt:", "$2b$"])
def test_passwords_of_werkzeug_and_of_bcrypt_open_the_door(
    seeded: Flask, client: FlaskClient, prefix: str
) -> None:
    with seeded.app_context():
        name = db.session.scalars(
            select(User.username).where(User.password_hash.startswith(prefix), ~User.totp_enabled)
        ).first()
    assert name is not None
    assert sign_in(client, name, "wrong").status_code == 422
    assert not signed_in(client)
    assert sign_in(client, name).status_code == 303
    assert signed_in(client)


def test_a_name_that_nobody_has_is_told_no_more_than_a_wrong_password(client: FlaskClient) -> None:
    for name in ("nobody", "a\0b"):
        answer = sign_in(client, name)
        assert answer.status_code == 422
        assert "The user name or the password is wrong" in answer.text


def test_a_deactivated_user_is_told_whom_to_ask(seeded: Flask, client: FlaskClient) -> None:
    with seeded.app_context():
        gone = db.session.scalars(select(User).where(User.deactivated_at.is_not(None))).first()
        assert gone is not None
        name = gone.username
    answer = sign_in(client, name)
    assert answer.status_code == 422
    assert "Ask an administrator" in answer.text
    assert not signed_in(client)


def test_a_second_factor_is_asked_for_and_checked(seeded: Flask, client: FlaskClient) -> None:
    name = username(seeded, totp_enabled=True)
    right = totp.code(TOTP_SECRET)
    wrong = f"{(int(right) + 1) % 1_000_000:06}"
    for code in ("", "é", wrong[:5], "0" * 5000):
        answer = sign_in(client, name, code=code)
        assert answer.status_code == 422
        assert "authenticator app" in answer.text
    assert sign_in(client, name, code=f"{right[:3]} {right[3:]}").status_code == 303
    assert signed_in(client)


def test_a_code_of_a_second_factor_is_taken_once(seeded: Flask, client: FlaskClient) -> None:
    name = username(seeded, totp_enabled=True)
    at = time.time()
    code, later = (totp.code(TOTP_SECRET, at + drift) for drift in (0, 30))
    assert sign_in(client, name, code=code).status_code == 303
    other = seeded.test_client()
    answer = sign_in(other, name, code=code)
    assert answer.status_code == 422
    assert "used already" in answer.text
    assert not signed_in(other)
    assert sign_in(other, name, code=later).status_code == 303
    assert sign_in(seeded.test_client(), name, code=code).status_code == 422


def test_a_second_factor_without_a_usable_secret_lets_nobody_in(
    seeded: Flask, client: FlaskClient
) -> None:
    for secret in (None, "", "not base32!"):
        change(seeded, ADMIN, totp_enabled=True, totp_secret=secret)
        assert sign_in(client, ADMIN, code="000000").status_code == 422


def test_codes_are_those_of_rfc_6238() -> None:
    # Appendix B of the RFC, SHA-1, the last six of its eight digits.
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    known = {59: "287082", 1111111109: "081804", 1234567890: "005924", 20000000000: "353130"}
    assert {at: totp.code(secret, at) for at in known} == known
    assert [totp.matching_step(secret, "287082", at) for at in (59, 59 + 30)] == [1, 1]
    assert totp.matching_step(secret, "287082", 59 + 61) is None


def test_hashes_that_can_not_be_read_are_refused_and_long_passwords_are_not() -> None:
    for broken in ("", "plain", "$2b$broken", "$2b$99$" + "a" * 53, "scrypt:x$a$b", "md9$a$b"):
        assert not check_password(broken, PASSWORD)
    long = "ä" * 100
    assert check_password(bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode(), long)
    assert check_password(generate_password_hash(long, "pbkdf2:sha256:1000"), long)


@pytest.mark.parametrize("ends", ["password_hash", "deactivated_at"])
def test_sessions_end_with_the_password_and_with_the_account(
    seeded: Flask, client: FlaskClient, ends: str
) -> None:
    sign_in(client, ADMIN)
    assert signed_in(client)
    with seeded.app_context():
        moment = db.session.scalars(select(User.inserted_at)).first()
    change(seeded, ADMIN, **{ends: {"password_hash": "changed", "deactivated_at": moment}[ends]})
    assert not signed_in(client)


def test_a_sign_in_leads_on_to_where_one_wanted_to_go(client: FlaskClient) -> None:
    asked = client.get("/admin/audit?page=1")
    assert asked.status_code == 302
    assert sign_in(client, ADMIN, address=asked.location).location == "/admin/audit?page=1"


def test_a_sign_in_never_leads_to_another_site(client: FlaskClient) -> None:
    for target in (
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "/\t/evil.example",
        "/ok\n",
        "javascript:alert(1)",
        "evil",
        "",
    ):
        assert local_target(target) is None
    assert sign_in(client, ADMIN, address="/login?next=//evil.example").location == "/admin/"


def test_signing_out_ends_the_session(client: FlaskClient) -> None:
    sign_in(client, ADMIN)
    assert client.post("/logout", data={"csrf_token": token(client, "/")}).status_code == 303
    assert not signed_in(client)


def test_a_form_without_its_token_does_nothing(seeded: Flask, client: FlaskClient) -> None:
    answer = client.post("/login", data={"username": ADMIN, "password": PASSWORD})
    assert answer.status_code == 400
    assert "reload the page" in answer.text
    assert not signed_in(client)
    sign_in(client, ADMIN)
    for address in ("/logout", "/admin/users/2/deactivate"):
        assert client.post(address).status_code == 400
    assert signed_in(client)


def test_signing_in_is_in_the_audit_log(seeded: Flask, client: FlaskClient) -> None:
    sign_in(client, ADMIN)
    with seeded.app_context():
        event = db.session.scalars(select(AuditEvent).filter_by(event="user.signed_in")).one()
        assert (event.actor, event.address) == (ADMIN, "127.0.0.1")
