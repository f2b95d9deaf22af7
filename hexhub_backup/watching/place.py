"""What there is of the backups in a destination."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hexhub_backup import formatting
from hexhub_backup.marking import marked


@dataclass(frozen=True)
class Place:
    """The good copies in a destination: how many there are, how many of them were never verified,
    and when of the others the one was verified whose turn is next."""

    name: str
    copies: int
    not_verified: int
    verified_at: datetime | None

    def words(self, now: datetime) -> str:
        """A sentence about it."""
        found = formatting.plural(self.copies, "{count} good copy", "{count} good copies")
        if not self.copies:
            return marked(f"{self.name}: no good copy.")
        if self.not_verified:
            if self.copies == 1:
                return marked(f"{self.name}: {found}, not verified yet.")
            return marked(f"{self.name}: {found}, {self.not_verified:,} not verified yet.")
        when = "" if self.verified_at is None else formatting.ago(self.verified_at, now)
        if self.copies == 1:
            return marked(f"{self.name}: {found}, verified {when}.")
        return marked(f"{self.name}: {found}, the one to be read next verified {when}.")
