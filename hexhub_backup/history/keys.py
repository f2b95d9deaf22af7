"""The keys that were proved: somebody had the private half, and it opened what was encrypted."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update

from hexhub_backup.history.tables import keys
from hexhub_backup.history.transactions import GetEngine, add_new, begin


@dataclass(frozen=True, kw_only=True)
class ProvedKey:
    """The fingerprint of a public key, and when and by whom it was proved last."""

    fingerprint: str
    proved_at: datetime
    proved_by: str


@dataclass(frozen=True)
class ProvedKeys:
    """The rows. Every method is one or two short transactions. Raises DatabaseError."""

    engine: GetEngine

    def all(self) -> dict[str, ProvedKey]:
        """By their fingerprints."""
        with begin(self.engine) as connection:
            rows = connection.execute(select(keys)).all()
        return {row.fingerprint: ProvedKey(**row._mapping) for row in rows}

    def put(self, key: ProvedKey) -> None:
        """Remember that a key was proved, or was proved again."""
        values = dataclasses.asdict(key)
        if not add_new(self.engine, keys, values):
            query = update(keys).where(keys.c.fingerprint == key.fingerprint)
            with begin(self.engine) as connection:
                connection.execute(query.values(**values))
