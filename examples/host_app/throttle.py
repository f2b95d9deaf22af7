"""How often somebody may guess: what has failed is counted in the database, over all processes.

An attempt is written down before it is made, and deleted when it succeeds. So many that come at
once are counted as many that come one after the other.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from examples.host_app.database import delete_by_id
from examples.host_app.models import Attempt, db, now

_WINDOW = timedelta(minutes=15)


class TooManyError(Exception):
    """There were too many attempts: in words for people, and in seconds until the next one."""

    def __init__(self, until: datetime) -> None:
        self.seconds = max(1, ceil((until - now()).total_seconds()))
        minutes = ceil(self.seconds / 60)
        unit = "minute" if minutes == 1 else "minutes"
        super().__init__(f"Too many attempts. Try again in {minutes} {unit}.")


@dataclass(frozen=True)
class Begun:
    """An attempt that counts as failed until it has succeeded."""

    _rows: tuple[int, ...]

    def succeeded(self, *forgiven: str) -> None:
        """Take it back, and with it all earlier ones with the `forgiven` keys."""
        delete_by_id(Attempt.id, or_(Attempt.id.in_(self._rows), Attempt.key.in_(forgiven)))


def begin(limits: Mapping[str, int]) -> Begun:
    """An attempt, of which so many may fail in a quarter of an hour with each of these keys.

    Raises TooManyError where that many have, or are just being made.
    """
    since = now() - _WINDOW
    delete_by_id(Attempt.id, Attempt.at < since)
    with Session(db.engine, expire_on_commit=False) as session, session.begin():
        rows = [Attempt(key=key) for key in limits]
        session.add_all(rows)
    begun = Begun(tuple(row.id for row in rows))
    with db.engine.connect() as connection:
        times = {
            key: connection.scalars(
                select(Attempt.at)
                .where(Attempt.key == key, Attempt.at >= since)
                .order_by(Attempt.at.desc())
                .limit(most + 1)
            ).all()
            for key, most in limits.items()
        }
    over = [times[key][most] for key, most in limits.items() if len(times[key]) > most]
    if over:
        # What was refused does not put off the next one.
        begun.succeeded()
        raise TooManyError(max(over) + _WINDOW)
    return begun


def key_of(kind: str, text: str) -> str:
    """A key for a text of whatever length."""
    return f"{kind} {hashlib.sha256(text.encode()).hexdigest()[:32]}"


def address_key(kind: str, address: str | None) -> str:
    """The key of whoever asks from an address. Of IPv6 everybody has 2⁶⁴ of them."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return key_of(kind, address or "")
    network = ipaddress.ip_network((found, 64 if found.version == 6 else 32), strict=False)
    return key_of(kind, str(network))
