"""The keys with which clients come: only the SHA-256 of each is stored."""

from __future__ import annotations

import hashlib
import secrets
from typing import NoReturn

from flask import abort, request
from sqlalchemy import select
from werkzeug.datastructures import WWWAuthenticate

from examples.host_app.models import ApiKey, User, db


def digest(key: str) -> str:
    """As it is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(user: User, name: str) -> str:
    """A new key of an account, in a transaction that the caller ends. It is shown once."""
    key = secrets.token_hex(16)
    db.session.add(ApiKey(user_id=user.id, name=name, key_sha256=digest(key)))
    return key


def account_of(key: str) -> User | None:
    """The account that a key belongs to, deactivated or not."""
    return db.session.scalar(
        select(User).join(ApiKey, ApiKey.user_id == User.id).where(ApiKey.key_sha256 == digest(key))
    )


def account_of_request() -> User | None:
    """Who asks, by the key that comes bare in `Authorization`; None where none comes.

    Aborts with 401 for a key that is not known, and with 403 for that of a deactivated account.
    """
    key = request.headers.get("Authorization", "")
    account = account_of(key) if key else None
    if key and account is None:
        ask_for_one("This key is not known here. Give another one.")
    if account is not None and not account.is_active:
        abort(403, "The account of this key is deactivated. Ask an administrator.")
    return account


def ask_for_one(message: str) -> NoReturn:
    """Abort with 401."""
    abort(401, message, www_authenticate=WWWAuthenticate("bearer", {"realm": "hex"}))
