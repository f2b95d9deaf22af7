"""Which registry this is, to others that have copies in the same places."""

from __future__ import annotations

import secrets

from sqlalchemy import Connection, func, select, update

from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.tables import backups, instance
from hexhub_backup.history.transactions import GetEngine, add_new, begin

#: The origin of a backup of which nothing says who made it.
UNKNOWN = "unknown"
_ROW = 1


def instance_id(engine: GetEngine) -> str:
    """What stands for this registry beside its copies: random, made when it is first asked for, and
    as old as its database. Raises DatabaseError."""
    with begin(engine) as connection:
        found = connection.execute(select(instance.c.id)).scalar()
    if found is not None:
        return str(found)
    add_new(engine, instance, {"number": _ROW, "id": secrets.token_hex(16), "taken_over": False})
    return instance_id(engine)


def to_take_over(engine: GetEngine) -> int:
    """How many of the backups that were found this registry could take over: the machine that made
    them may be lost. Of another registry, as long as nobody says so: it may still run.

    0 where this one has made a backup, or has taken over some already, or where those that were
    found are of several registries: then nobody can tell. Those of which nothing says who made them
    count only where nothing says so of any. Raises DatabaseError."""
    with begin(engine) as connection:
        origin = _origin(connection)
        query = select(func.count()).where(backups.c.origin == origin)
        return 0 if origin is None else connection.execute(query).scalar_one()


def take_over(engine: GetEngine) -> int:
    """Let this registry go on as the one that made the backups which were found: they are its own,
    and it is that one to others. Returns how many there are. Raises NotFoundError where there is
    none `to_take_over`, DatabaseError."""
    own = instance_id(engine)
    with begin(engine, "writing") as connection:
        origin = _origin(connection)
        if origin is None:
            raise NotFoundError(
                "There are no backups to take over: they have to be found first, be of one other "
                "registry, and this one must have made none."
            )
        name = own if origin == UNKNOWN else origin
        connection.execute(update(instance).values(id=name, taken_over=True))
        taken = update(backups).where(backups.c.origin == origin).values(origin=None)
        return connection.execute(taken).rowcount


def _origin(connection: Connection) -> str | None:
    made_here = select(backups.c.id).where(
        backups.c.origin.is_(None), backups.c.adopted_at.is_(None), backups.c.state == "completed"
    )
    origins = set(connection.execute(select(backups.c.origin).distinct()).scalars()) - {None}
    if not origins:
        return None
    before = connection.execute(select(instance.c.taken_over)).scalar()
    if before or connection.execute(made_here.limit(1)).scalar() is not None:
        return None
    known = origins - {UNKNOWN} or origins
    return known.pop() if len(known) == 1 else None
