"""The signals of what has happened for good: sent by the run, or by recovery in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexhub_backup import signals
from hexhub_backup.operations.changed import changed_names


def announce_backup(
    app: Any,
    operation: str,
    outcome: dict[str, Any],
    *,
    backup: str,
    actor: str,
    address: str | None,
    archive: Path,
) -> None:
    """Send `backup_created` for the outcome of a create, or of one before a restore."""
    signals.emit(
        signals.backup_created,
        app,
        backup=backup,
        operation=operation,
        actor=actor,
        address=address,
        archive=str(archive),
        size_bytes=outcome["size_bytes"],
        manifest=outcome["manifest"],
    )


def announce_restore(
    app: Any,
    operation: str,
    outcome: dict[str, Any],
    *,
    actor: str,
    address: str | None,
    changed: Path,
) -> None:
    """Send `restore_completed` for the outcome of a restore; `changed` is the file of names."""
    signals.emit(
        signals.restore_completed,
        app,
        operation=operation,
        actor=actor,
        address=address,
        outcome=outcome,
        **changed_names(changed),
    )


def announce_undo(
    app: Any,
    operation: str,
    outcome: dict[str, Any],
    *,
    actor: str,
    address: str | None,
    changed: Path,
) -> None:
    """Send `restore_undone` for the outcome of an undo; `changed` is the file of names."""
    signals.emit(
        signals.restore_undone,
        app,
        operation=operation,
        undone=outcome["undone"],
        actor=actor,
        address=address,
        outcome=outcome,
        **changed_names(changed),
    )
