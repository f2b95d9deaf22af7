"""The keys with which clients come: only the SHA-256 of each is stored."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import select

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
