"""When a backup expires: one rule for those that are made, adopted and let go."""

from __future__ import annotations

from datetime import datetime, timedelta


def expiry(created_at: datetime, retention_days: int, *, adopted_at: datetime | None) -> datetime:
    """So many days after it was made. The clock of one that was adopted, whose time may be long
    past, starts anew with `adopted_at`: when it was found, or let go by who had kept it."""
    return (adopted_at or created_at) + timedelta(days=retention_days)
