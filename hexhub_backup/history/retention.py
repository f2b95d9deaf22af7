"""When a backup expires: one rule for those that are made, adopted and let go."""

from __future__ import annotations

from datetime import datetime, timedelta


def expiry(since: datetime, retention_days: int) -> datetime:
    """A backup expires this many days after it was made, adopted, or let go by who had kept it,
    whichever was last: what somebody has just decided to have never goes with the next prune."""
    return since + timedelta(days=retention_days)
