"""People who use the example host."""

from __future__ import annotations

import re

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from examples.host_app.models import User, db
from examples.host_app.seed import PASSWORD


def token(client: FlaskClient, page: str = "/login") -> str:
    """The CSRF token of a page, as its form has it."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found is not None
    return found[1]


def sign_in(
    client: FlaskClient,
    username: str,
    password: str = PASSWORD,
    *,
    code: str = "",
    address: str = "/login",
    remember: bool = False,
) -> TestResponse:
    form = {"username": username, "password": password, "code": code, "csrf_token": token(client)}
    if remember:
        form["remember"] = "1"
    return client.post(address, data=form)


def username(app: Flask, **which: object) -> str:
    """The name of the first user of a kind."""
    with app.app_context():
        found = db.session.scalars(select(User).filter_by(**which).order_by(User.id)).first()
        assert found is not None
        return found.username
