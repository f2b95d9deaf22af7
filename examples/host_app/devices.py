"""Clients that sign in without a password (`mix hex.user auth`): the device grant of RFC 8628.

A client gets two codes. It shows the short one, which somebody who is signed in confirms on a page,
and asks with the long one until that is done. Then it gets a token that opens the API for half an
hour, and one that gets it the next two. All of this is stored as SHA-256, but for the short code.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, delete, insert, or_, select

from examples.host_app import throttle
from examples.host_app.api_keys import digest
from examples.host_app.database import delete_by_id, update_by_id
from examples.host_app.models import Device, DeviceCode, User, db, now

CODE_LIFE = timedelta(minutes=10)
ACCESS_LIFE = timedelta(minutes=30)
#: A device that does not ask for so long is signed out.
IDLE = timedelta(days=30)
#: How often a client may ask, as it is told. A network may bring two requests closer together.
INTERVAL = timedelta(seconds=5)
_TOLERANCE = timedelta(seconds=1)
#: How long a client that is late is told that its code has expired.
_KEPT = timedelta(hours=1)
#: Of an account, and of an address, in a quarter of an hour.
_GUESSES, _NEW_CODES = 10, 30
#: No word comes of these, and none is taken for another: RFC 8628, 6.1.
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LONGEST = 255


class GrantError(Exception):
    """Why there is no token: the code of RFC 6749 or 8628, and words for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str


def begin(name: str, scope: str, address: str | None) -> tuple[str, DeviceCode]:
    """A device code, and the row with the user code.

    Raises GrantError for a scope that there is not, and TooManyError.
    """
    if "api" not in scope.split() or {*scope.split()} - {"api", "repositories"}:
        raise GrantError(
            "invalid_scope", "A client may do here all that the account may. Ask for the scope api."
        )
    throttle.begin({throttle.address_key("new code", address): _NEW_CODES})
    _forget()
    secret = secrets.token_urlsafe(32)
    code = DeviceCode(
        device_sha256=digest(secret),
        user_code="".join(secrets.choice(_LETTERS) for _ in range(8)),
        name="".join(each for each in name if each.isprintable())[:_LONGEST] or "no name",
        scope=" ".join(sorted({*scope.split()})),
        address=address,
    )
    db.session.add(code)
    db.session.commit()
    return secret, code


def waiting(typed: str, user: User) -> DeviceCode | None:
    """The client that waits for this code to be confirmed. Raises TooManyError for who guesses."""
    attempt = throttle.begin({throttle.key_of("device code", str(user.id)): _GUESSES})
    user_code = "".join(each for each in typed.upper() if each in _LETTERS)
    found = db.session.scalar(
        select(DeviceCode).where(
            DeviceCode.user_code == user_code,
            DeviceCode.inserted_at > now() - CODE_LIFE,
            DeviceCode.user_id.is_(None),
            ~DeviceCode.denied,
        )
    )
    if found is not None:
        attempt.succeeded()
    return found


def allow(code: DeviceCode, user: User) -> bool:
    """Let a client sign in. False where somebody else was quicker."""
    return _decide(code, user_id=user.id)


def deny(code: DeviceCode) -> bool:
    return _decide(code, denied=True)


def _decide(code: DeviceCode, **values: object) -> bool:
    undecided = and_(DeviceCode.id == code.id, DeviceCode.user_id.is_(None), ~DeviceCode.denied)
    return update_by_id(DeviceCode.id, undecided, values) == 1


def exchange(secret: str) -> Tokens:
    """The tokens for a device code, once. Raises GrantError while there are none."""
    code = db.session.scalar(select(DeviceCode).filter_by(device_sha256=digest(secret)))
    if code is None:
        raise GrantError("invalid_grant", "There is no such device code.")
    if code.inserted_at <= now() - CODE_LIFE:
        raise GrantError("expired_token", "The code has expired. Begin again.")
    if code.denied:
        raise GrantError("access_denied", "The code was denied.")
    user_id, name = code.user_id, code.name
    if user_id is None:
        last, code.asked_at = code.asked_at, now()
        too_soon = last is not None and code.asked_at - last < INTERVAL - _TOLERANCE
        db.session.commit()
        if too_soon:
            raise GrantError("slow_down", f"Ask every {INTERVAL.seconds} seconds.")
        raise GrantError("authorization_pending", "Nobody has confirmed the code yet.")
    tokens = _new_tokens()
    with db.engine.begin() as connection:
        taken = connection.execute(delete(DeviceCode).where(DeviceCode.id == code.id))
        if taken.rowcount != 1:
            raise GrantError("invalid_grant", "There is no such device code.")
        connection.execute(insert(Device).values(user_id=user_id, name=name, **_stored(tokens)))
    return tokens


def refresh(token: str) -> Tokens:
    """The next tokens of a device; those before are none any more. Raises GrantError."""
    is_good = and_(Device.refresh_sha256 == digest(token), Device.refreshed_at > now() - IDLE)
    tokens = _new_tokens()
    values = {"refreshed_at": now(), **_stored(tokens)}
    if update_by_id(Device.id, is_good, values) != 1:
        raise GrantError("invalid_grant", "This token is not known, or was used. Sign in again.")
    return tokens


def revoke(token: str) -> None:
    """Sign out the device that has this token, of either kind."""
    known = or_(Device.access_sha256 == digest(token), Device.refresh_sha256 == digest(token))
    delete_by_id(Device.id, known)


def with_access_token(token: str) -> Device | None:
    return db.session.scalar(select(Device).filter_by(access_sha256=digest(token)))


def is_access_over(device: Device) -> bool:
    return device.refreshed_at <= now() - ACCESS_LIFE


def of(user: User) -> list[Device]:
    """Those that an account is signed in with, in the order in which they came."""
    signed_in = Device.refreshed_at > now() - IDLE
    query = select(Device).where(Device.user_id == user.id, signed_in).order_by(Device.id)
    return list(db.session.scalars(query))


def _new_tokens() -> Tokens:
    return Tokens(access=secrets.token_urlsafe(32), refresh=secrets.token_urlsafe(32))


def _stored(tokens: Tokens) -> dict[str, str]:
    return {"access_sha256": digest(tokens.access), "refresh_sha256": digest(tokens.refresh)}


def _forget() -> None:
    """Delete what has expired."""
    delete_by_id(DeviceCode.id, DeviceCode.inserted_at < now() - _KEPT)
    delete_by_id(Device.id, Device.refreshed_at < now() - IDLE)
