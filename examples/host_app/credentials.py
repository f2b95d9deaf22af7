"""Who asks, by what a client sends in `Authorization`: a key, bare, or the token of a device."""

from __future__ import annotations

from typing import NoReturn

from flask import abort, request
from werkzeug.datastructures import WWWAuthenticate

from examples.host_app import api_keys, devices
from examples.host_app.models import User


def account_of_request() -> User | None:
    """Who asks; None where no key and no token comes.

    Aborts with 401 for one that is not known or has expired, and with 403 for that of a deactivated
    account.
    """
    secret = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not secret:
        return None
    account = api_keys.account_of(secret)
    if account is None and (device := devices.with_access_token(secret)):
        if devices.is_access_over(device):
            ask_for_one("This token has expired. Refresh it.", error="token_expired")
        account = device.user
    if account is None:
        ask_for_one("This key is not known here. Give another one.")
    if not account.is_active:
        abort(403, "The account of this key is deactivated. Ask an administrator.")
    return account


def ask_for_one(message: str, error: str = "") -> NoReturn:
    """Abort with 401."""
    # As text: Werkzeug would leave out the quotes, without which mix does not know the error.
    asked = 'realm="hex"' + (f', error="{error}"' if error else "")
    abort(401, message, www_authenticate=WWWAuthenticate("bearer", token=asked))
