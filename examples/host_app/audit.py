"""The audit log: what people and commands did here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from sqlalchemy.orm import Session

from examples.host_app.models import AuditEvent, db, now


def record_audit_event(
    event: str,
    *,
    actor: str | None,
    at: datetime | None = None,
    address: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write one event, in a transaction of its own: it stays whatever the caller's does.

    `at` is now where it is not given, and UTC where it has no zone; `details` is a JSON object.
    """
    if at is None:
        at = now()
    elif at.tzinfo is not None:
        at = at.astimezone(timezone.utc).replace(tzinfo=None)
    with Session(db.engine) as session, session.begin():
        session.add(
            AuditEvent(
                event=event, actor=actor, at=at, address=address, details=dict(details or {})
            )
        )
