"""What people say of a backup: its label and note, and that they know why package files changed."""

from __future__ import annotations

from typing import Any

from hexhub_backup import signals
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.models import Backup, Who
from hexhub_backup.history.store import Catalog, utc_now

#: Characters of a label and of a note.
LABEL_LENGTH, NOTE_LENGTH = 80, 2000


def describe(catalog: Catalog, backup: str, *, label: str, note: str) -> None:
    """Give a backup a label and a note; empty ones take them away. Raises NotFoundError."""
    catalog.backup(backup)
    catalog.update_backup(
        backup,
        label=" ".join(label.split())[:LABEL_LENGTH] or None,
        note=note.strip()[:NOTE_LENGTH] or None,
    )


def acknowledge(catalog: Catalog, app: Any, who: Who, backup: str, note: str) -> Backup:
    """Say that somebody knows why package files of a backup have changed; the `note` says why. Once
    that was said, it stays as it is. Raises NotFoundError, also where none have changed."""
    found = catalog.backup(backup)
    if not found.changed_files:
        raise NotFoundError(
            f"No package file of backup {backup} has changed: there is nothing to acknowledge."
        )
    if not found.has_alarm:
        return found
    note = note.strip()[:NOTE_LENGTH]
    catalog.update_backup(
        backup,
        acknowledged_at=utc_now(),
        acknowledged_by=who.actor,
        acknowledged_note=note or None,
    )
    signals.emit(
        signals.change_acknowledged,
        app,
        backup=backup,
        actor=who.actor,
        address=who.address,
        changed_files=found.changed_files,
        note=note,
    )
    return catalog.backup(backup)
