"""The keys with which clients come: only the SHA-256 of each is stored."""

from __future__ import annotations

import hashlib
import secrets
from typing import NoReturn

from flask import abort, request
from sqlalchemy import select
from werkzeug.datastructures import WWWAuthenticate

from examples.host_app.models import ApiKey, User, db
from examples.host_app.refusals import RefusedError

_LONGEST = 255


def digest(key: str) -> str:
    """As it is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def of(user: User) -> list[ApiKey]:
    """Those of an account, in the order in which they were made."""
    return list(db.session.scalars(select(ApiKey).filter_by(user_id=user.id).order_by(ApiKey.id)))


def create(user: User, name: str) -> str:
    """A new key of an account, in a transaction that the caller ends. It is shown once.

    Raises RefusedError for a name that is none, or that another key of the account has.
    """
    if not 0 < len(name) <= _LONGEST or not name.isprintable():
        raise RefusedError("name", f"A name has 1 to {_LONGEST} printable characters")
    if any(each.name == name for each in of(user)):
        raise RefusedError("name", f"There is a key {name} already")
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
