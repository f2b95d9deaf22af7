"""Rehearse: restore an archive beside the registry, to know that it can be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hexhub_backup import signals
from hexhub_backup.depot.local_kept import LocalKept
from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import ArchiveError, RefusedError, RehearsalError
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Operation, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations import rehearse
from hexhub_backup.operations.progress import Progress
from hexhub_backup.registry.base import Rehearsable
from hexhub_backup.storage.layout import hexhub_layout
from hexhub_backup.storage.local import LocalStorage
from hexhub_backup.verbs import fetching, inspect, restore, verify
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.work_folder import remove_again, work_folder

#: Seconds between two looks whether what goes first has ended.
_LOOK = 1.0


def order(
    history: History,
    who: Who,
    name: str,
    opened: Order | None = None,
    *,
    place: str | None = None,
    operation: str | None = None,
) -> Order:
    """Rehearse a restore of an archive, which `fetching.to_read` finds. Raises NotFoundError,
    WrongKeyError where it is encrypted, OSError."""
    operation = operation or new_id()
    backup, options = fetching.to_read(history, operation, name, opened, place)
    return Order(id=operation, verb=REHEARSE.name, who=who, backup=backup, options=options)


def _steps(operation: Operation) -> tuple[str, ...]:
    return (*fetching.steps(operation), *rehearse.STEPS)


def _work(context: Context, progress: Progress) -> Outcome:
    archive: str = context.operation.options["archive"]
    if not isinstance(context.registry, Rehearsable):
        raise RehearsalError(
            "The registry of this app is its own, and can't be had a second time: give it the "
            "functions of hexhub_backup.registry.base.Rehearsable."
        )
    try:
        with work_folder(context) as folder:
            check, files = context.check_restored, folder / "files"
            fetching.fetch_to(context, archive, progress)
            outcome = rehearse.rehearse(
                operation_id=context.operation.id,
                archive=archive,
                open_archive=context.depot.source,
                folder=folder,
                kept=LocalKept,
                registry=context.registry,
                database=context.settings.rehearsal_database,
                storage=_storage(context, files),
                check_release=context.check_release,
                check=None if check is None else lambda scratch: check(scratch.engine, files),
                words=_WORDS,
                wait=lambda: _wait(context, progress),
                progress=progress,
            )
            fetching.refuse_another(context, outcome["manifest"])
            return outcome
    finally:
        verify.give_up(context)


def _storage(context: Context, folder: Path) -> LocalStorage:
    """An empty one, in which the host's own code finds a file where it looks for one."""
    folder.mkdir(mode=0o700)
    return LocalStorage(folder, layout=getattr(context.storage, "layout", hexhub_layout))


def _wait(context: Context, progress: Progress) -> None:
    """Let what changes the registry or its backups go first. A rehearsal holds no connection
    meanwhile."""
    other = context.catalog.exclusive_operation()
    if other is not None:
        progress.log(f"Waiting for operation {other.id} ({other.verb}) to end.")
    while other is not None:
        progress.check()
        time.sleep(_LOOK)
        other = context.catalog.exclusive_operation()


def _end(context: Context, ended: Mapping[str, Any]) -> None:
    """What the row of the backup says that was rehearsed: nothing where it could not be tried."""
    remove_again(context, ended)
    backup, completed = context.operation.backup_id, ended["state"] == "completed"
    if backup is not None and (completed or ended["code"] in _NOT_RESTORABLE):
        restorable = completed and not ended["outcome"]["findings"]
        context.catalog.update_backup(backup, rehearsed_at=utc_now(), restorable=restorable)


def _announce(context: Context, outcome: Outcome) -> None:
    signals.emit(
        signals.backup_rehearsed,
        context.app,
        operation=context.operation.id,
        backup=context.operation.backup_id,
        actor=context.operation.actor,
        address=context.operation.address,
        restorable=not outcome["findings"],
        outcome=outcome,
    )


def _give_up(context: Context) -> None:
    if isinstance(context.registry, Rehearsable):
        context.registry.remove_scratch(
            name=context.operation.id,
            folder=context.depot.kept("plan", context.operation.id).here(),
            database=context.settings.rehearsal_database,
        )
    verify.give_up(context)


#: The codes of errors that say that an archive can't be restored.
_NOT_RESTORABLE = (ArchiveError.code, RefusedError.code)
_WORDS = {
    **verify.VERIFY.step_words,
    **inspect.INSPECT.step_words,
    **restore.RESTORE.step_words,
}

REHEARSE = Verb(
    name="rehearse",
    noun="Rehearsal",
    exclusive=False,
    alone=True,
    steps=_steps,
    step_words={
        "check_space": "Check free space",
        "make_scratch": "Make an empty registry beside yours",
        "read_all": "Read the archive",
        "restore_all": "Restore it beside the registry",
        "hold_against": "Compare what came back with the archive",
    },
    work=_work,
    end=_end,
    announce=_announce,
    give_up=_give_up,
    audit_event="backup.rehearsed",
    # The clock does it week by week: what it finds is news.
    is_news=lambda operation: "due_at" not in operation.options or bool(operation.warning_count),
)
