"""The keys with which clients come: only the SHA-256 of each is stored."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import select

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
