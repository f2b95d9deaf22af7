"""Create: back up the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hexhub_backup import signals
from hexhub_backup.depot.names import new_id
from hexhub_backup.history.adopting import described
from hexhub_backup.history.contents import compared, earlier_contents
from hexhub_backup.history.models import Backup, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations import create
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.copy import want_copies


def order(who: Who, operation: str | None = None) -> Order:
    """Back up the registry. The backup has the operation's id."""
    backup = operation or new_id()
    return Order(id=backup, verb=CREATE.name, who=who, backup=backup)


def write_archive(context: Context, backup: str, progress: Progress) -> Outcome:
    """Write the archive of a new backup; see `operations.create`."""
    with context.depot.work() as folder:
        return create.create(
            registry=context.registry,
            storage=context.storage,
            new_archive=lambda about: context.depot.new_archive(backup, about, Path(folder)),
            contents=context.depot.kept("contents", backup),
            earlier=lambda: earlier_contents(context.catalog, context.depot),
            room=context.depot,
            work=Path(folder),
            created_by=context.operation.actor,
            generator=context.generator,
            host_version=context.settings.host_version,
            check_release=context.check_release,
            progress=progress,
        )


def new_backup(context: Context, backup: str, **values: Any) -> Backup:
    """The row of a backup that an operation makes."""
    return Backup(id=backup, created_at=utc_now(), created_by=context.operation.actor, **values)


def announce(context: Context, backup: str, outcome: Outcome) -> None:
    """Send `backup_created`."""
    operation = context.operation
    signals.emit(
        signals.backup_created,
        context.app,
        backup=backup,
        operation=operation.id,
        actor=operation.actor,
        address=operation.address,
        archive=context.depot.archive_name(backup),
        size_bytes=outcome["size_bytes"],
        manifest=outcome["manifest"],
    )


def _work(context: Context, progress: Progress) -> Outcome:
    return write_archive(context, context.operation.id, progress)


def _begin(context: Context) -> None:
    context.catalog.add_backup(new_backup(context, context.operation.id, state="running"))


def _end(context: Context, ended: Mapping[str, Any]) -> None:
    state, made = ended["state"], ended["outcome"] or {}
    context.catalog.update_backup(
        context.operation.id,
        state=state,
        reason=ended["reason"],
        duration_seconds=ended["duration_seconds"],
        size_bytes=made.get("size_bytes"),
        sha256=made.get("sha256"),
        manifest=made.get("manifest"),
        since=made.get("since"),
        changed_files=made.get("changed_files"),
        warning_count=ended["warning_count"],
        # It was read back as a part of its creation.
        verified_at=utc_now() if state == "completed" else None,
        intact=True if state == "completed" else None,
    )
    if state == "completed":
        want_copies(context, context.operation.id)


def _announce(context: Context, outcome: Outcome) -> None:
    announce(context, context.operation.id, outcome)


def _happened(context: Context) -> bool:
    return context.depot.was_published(context.operation.id)


def _finish(context: Context) -> Outcome:
    backup = context.operation.id
    found = described(context.depot, backup)
    return {
        "manifest": found.manifest,
        "size_bytes": found.size_bytes,
        **compared(context.depot, found),
    }


def _give_up(context: Context) -> None:
    context.depot.kept("contents", context.operation.id).remove()
    context.depot.discard(context.operation.id)


CREATE = Verb(
    name="create",
    noun="Backup",
    exclusive=True,
    steps=lambda _: create.STEPS,
    step_words={
        "check_space": "Check free space",
        "export_users": "Read users",
        "export_packages": "Read packages",
        "export_releases": "Read releases",
        "export_owners": "Read owners",
        "copy_packages": "Copy package files",
        "copy_docs": "Copy docs files",
        "write_manifest": "Write the manifest",
        "verify": "Verify the archive",
        "publish": "Publish the archive",
    },
    work=_work,
    begin=_begin,
    end=_end,
    announce=_announce,
    happened=_happened,
    finish=_finish,
    give_up=_give_up,
    failure_audit_event="backup.failed",
)
