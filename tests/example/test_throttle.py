"""Passwords can't be guessed, and nobody is locked out by the guesses of others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from examples.host_app import create_app, throttle
from examples.host_app.models import Attempt, User, db
from examples.host_app.seed import ADMIN, PASSWORD
from tests.support.people import sign_in, token

OTHER = "ingrid"
#: Of an account, and of an address.
GUESSES, OF_ADDRESS = 10, 50


@pytest.fixture(autouse=True)
def _cheap_hashes(seeded: Flask) -> None:
    with seeded.app_context():
        cheap = generate_password_hash(PASSWORD, "pbkdf2:sha256:1000")
        db.session.execute(update(User).values(password_hash=cheap))
        db.session.commit()


def sign_in_again(client: FlaskClient, name: str, password: str = PASSWORD) -> TestResponse:
    """As whoever else is signed in with this browser."""
    client.post("/logout", data={"csrf_token": token(client, "/")})
    return sign_in(client, name, password)


def guess(app: Flask, name: str, times: int = GUESSES) -> None:
    stranger = app.test_client()
    for _ in range(times):
        assert sign_in(stranger, name, "wrong").status_code == 422


def refused(answer: TestResponse, minutes: int = 15) -> None:
    assert answer.status_code == 429
    assert f"Try again in {minutes} minutes." in answer.text
    assert 60 * (minutes - 1) < int(answer.headers["Retry-After"]) <= 60 * minutes


def wait(app: Flask, minutes: int) -> None:
    """Let what has failed have failed earlier."""
    with app.app_context():
        for attempt in db.session.scalars(select(Attempt)):
            attempt.at -= timedelta(minutes=minutes)
        db.session.commit()


def attempts(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count(Attempt.id))) or 0


def test_who_has_guessed_too_often_has_to_wait_in_any_browser(
    seeded: Flask, client: FlaskClient
) -> None:
    guess(seeded, ADMIN)
    refused(sign_in(client, ADMIN))
    assert sign_in(client, OTHER).status_code == 303
    wait(seeded, 10)
    refused(sign_in(seeded.test_client(), ADMIN), 5)
    wait(seeded, 5)
    assert sign_in_again(client, ADMIN).status_code == 303
    assert attempts(seeded) == 0


def test_a_name_that_nobody_has_is_told_the_same(seeded: Flask, client: FlaskClient) -> None:
    with seeded.app_context():
        for _ in range(GUESSES):
            throttle.begin({throttle.key_of("account", "nobody"): GUESSES})
    refused(sign_in(client, "nobody"))


def test_whoever_signs_in_may_be_wrong_as_often_as_before(
    seeded: Flask, client: FlaskClient
) -> None:
    for _ in range(2):
        guess(seeded, ADMIN, GUESSES - 1)
        assert sign_in(seeded.test_client(), ADMIN).status_code == 303
    # The address has guessed all the same.
    assert attempts(seeded) == 2 * (GUESSES - 1)


def test_a_stranger_locks_nobody_out_of_a_browser_that_is_known(
    seeded: Flask, client: FlaskClient
) -> None:
    sign_in(client, ADMIN)
    name = f"{seeded.config['SESSION_COOKIE_NAME']}_known"
    cookie = client.get_cookie(name, path="/login")
    assert cookie is not None
    assert cookie.http_only
    guess(seeded, ADMIN)
    assert sign_in_again(client, ADMIN).status_code == 303
    # It is for one account, and is not to be made up.
    guess(seeded, OTHER)
    refused(sign_in_again(client, OTHER))
    forged = seeded.test_client()
    for value in (cookie.value + "x", "", "W10"):
        forged.set_cookie(name, value, path="/login")
        refused(sign_in(forged, ADMIN))
    # Nor does it guess more often than others.
    for _ in range(GUESSES):
        assert sign_in(client, ADMIN, "wrong").status_code == 422
    refused(sign_in(client, ADMIN))


def test_an_address_guesses_the_passwords_of_many_no_more_often(
    seeded: Flask, client: FlaskClient
) -> None:
    with seeded.app_context():
        for number in range(OF_ADDRESS):
            account = throttle.key_of("account", str(number))
            throttle.begin(
                {account: GUESSES, throttle.address_key("address", "127.0.0.1"): OF_ADDRESS}
            )
    refused(sign_in(client, ADMIN))
    client.environ_base["REMOTE_ADDR"] = "192.0.2.1"
    assert sign_in(client, ADMIN).status_code == 303


def test_of_ipv6_a_network_is_an_address() -> None:
    key = throttle.address_key("address", "2001:db8:1:2:3::4")
    assert (
        key
        == throttle.address_key("address", "2001:db8:1:2::1")
        != throttle.address_key("address", "2001:db8:1:3::1")
    )
    assert throttle.address_key("address", "192.0.2.1") != throttle.address_key(
        "address", "192.0.2.2"
    )


@pytest.mark.sample
@pytest.mark.usefixtures("database")
def test_many_guesses_at_once_are_as_many_as_one_after_the_other(
    tmp_path: Path, uri: str | None
) -> None:
    config = {} if uri is None else {"SQLALCHEMY_DATABASE_URI": uri}
    apps = [create_app(tmp_path / "host", config) for _ in range(2)]

    def begins(number: int) -> bool:
        with apps[number % 2].app_context():
            try:
                throttle.begin({"account": 3, f"address {number}": 50})
            except throttle.TooManyError:
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begins, range(24))) <= 3
    # Who was refused because of others at the same moment gets in now.
    begun = [begins(number) for number in range(24, 30)]
    assert attempts(apps[0]) == 2 * 3
    assert not begun[-1]
