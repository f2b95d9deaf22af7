"""A cookie by which a browser is known where somebody has signed in before.

Guesses of strangers can close an account to strangers for a while, and go on as long as they like.
A browser that is known has guesses of its own, so nobody can lock its user out.
"""

from __future__ import annotations

import secrets

from flask import current_app, request, url_for
from itsdangerous import BadData, URLSafeTimedSerializer
from werkzeug.wrappers import Response

_SECONDS = 365 * 24 * 60 * 60


def of_request(username: str) -> str | None:
    """What tells this browser from others, if this account has signed in with it."""
    try:
        name, browser = _signer().loads(request.cookies.get(_cookie(), ""), max_age=_SECONDS)
    except (BadData, TypeError, ValueError):
        return None
    return str(browser) if name == username else None


def remember(response: Response, username: str) -> None:
    """Let the browser be known from now on."""
    response.set_cookie(
        _cookie(),
        _signer().dumps([username, secrets.token_hex(16)]),
        max_age=_SECONDS,
        path=url_for("accounts.login"),
        secure=current_app.config["SESSION_COOKIE_SECURE"],
        httponly=True,
        samesite="Lax",
    )


def _cookie() -> str:
    return f"{current_app.config['SESSION_COOKIE_NAME']}_known"


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), salt="known browser")
