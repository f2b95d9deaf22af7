"""Copy: put a copy of a backup at a destination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from hexhub_backup.depot.base import Depot
from hexhub_backup.destinations.base import find
from hexhub_backup.destinations.encryption import recipients_of
from hexhub_backup.errors import (
    ArchiveError,
    BackupError,
    BusyError,
    CancelledError,
    DestinationError,
    NotFoundError,
    NotTakenError,
)
from hexhub_backup.history.instance import instance_id
from hexhub_backup.history.models import COPIED, COPYING, FAILED, WAITING, Copy, Operation, Who
from hexhub_backup.history.places import Places
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.marking import marked
from hexhub_backup.operations import copy, verify
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import files_of
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.verify import check, give_up
from hexhub_backup.verbs.work_folder import remove_again

#: What no further attempt would change.
_FINAL = (ArchiveError.code, CancelledError.code, NotFoundError.code)
#: What may end an order whose copy no operation has claimed.
_BEFORE_IT_BEGAN = (CancelledError.code, NotTakenError.code)

#: What the row has of the outcome, as it is.
_KNOWN = ("file", "size_bytes", "sha256", "archive_sha256", "recipients")


def order(depot: Depot, who: Who, backup: str, place: str) -> Order:
    """Make the copy of a backup that waits for a place."""
    options = {"archive": depot.archive_name(backup), "place": place}
    return Order(verb=COPY.name, who=who, backup=backup, options=options)


def places_of(operations: Iterable[Operation]) -> set[str]:
    """The places that the copies among some operations are for."""
    return {str(each.options["place"]) for each in operations if each.verb == COPY.name}


def put_off(catalog: Catalog, order: Order, error: BackupError) -> None:
    """Put off a copy whose order was refused, because there is nothing to copy."""
    if not isinstance(error, NotFoundError):
        return
    backup, place = str(order.backup), str(order.options["place"])
    for row in catalog.copies.of(backup):
        if row.place == place:
            values = _next_attempt(row, str(error), utc_now())
            catalog.copies.update(backup, place, states=(WAITING,), **values)


def want_copies(context: Context, backup: str) -> None:
    """Let a new backup be copied to each destination; idempotent."""
    for place in context.destinations:
        if not any(each.place == place for each in context.catalog.copies.of(backup)):
            context.catalog.copies.want(backup, place, utc_now())


def _place(context: Context) -> str:
    return str(context.operation.options["place"])


def _backup(context: Context) -> str:
    return str(context.operation.backup_id)


def _begin(context: Context) -> None:
    if not context.catalog.copies.claim(_backup(context), _place(context), context.operation.id):
        raise BusyError(
            f"The copy of backup {_backup(context)} to {_place(context)} does not wait to be made: "
            "another process makes it, or it is there. Look at the backup's page."
        )


def _work(context: Context, progress: Progress) -> Outcome:
    try:
        return _copy(context, progress)
    except DestinationError:
        # Who has cancelled it while it waited for the place wants no further attempt.
        progress.check()
        raise


def _copy(context: Context, progress: Progress) -> Outcome:
    backup = context.catalog.backup(_backup(context))
    if backup.state != "completed" or backup.intact is False or backup.manifest is None:
        raise NotFoundError(
            f"Backup {backup.id} is not copied, because it is not known to be good: verify it."
        )
    destination = find(context.destinations, _place(context))
    # First: it is known at once where the place is away, before an archive is read.
    Places(context.catalog.engine).note(destination, destination.about().notes)
    name = context.depot.archive_name(backup.id)
    with context.depot.using(name) as archive:
        # What has been damaged since it was made must not look like a good copy.
        found = check(context, name, progress)
        called = marked(f"The archive of backup {backup.id}")
        verify.refuse_another(backup.manifest, found["manifest"], called=called)
        if _row(context).intact is False:
            # A copy that was read and is damaged is in the way of this good one.
            for file in files_of(backup.id):
                destination.delete(file)
        return copy.copy(
            backup=backup.id,
            archive=archive,
            created_at=backup.created_at,
            manifest=backup.manifest,
            destination=destination,
            encryption=recipients_of(destination, context.settings.age_recipients) or None,
            instance=instance_id(context.catalog.engine),
            progress=progress,
        )


def _end(context: Context, ended: Mapping[str, Any]) -> None:
    """Write what became of the copy; only where this operation has claimed it."""
    remove_again(context, ended)
    now, done = utc_now(), ended["outcome"]
    if ended["state"] == "completed":
        until = done["locked_until"]
        _write(
            context,
            state=COPIED,
            reason=None,
            attempts=0,
            copied_at=now,
            locked_until=None if until is None else datetime.fromisoformat(until),
            verified_at=None,
            intact=None,
            **{name: done[name] for name in _KNOWN},
        )
        return
    if ended["code"] == ArchiveError.code:
        context.catalog.update_backup(_backup(context), verified_at=now, intact=False)
    with suppress(NotFoundError):
        final = ended["code"] in _FINAL
        values = _next_attempt(_row(context), ended["reason"], now, final=final)
        _write(context, **values)
        if ended["code"] in _BEFORE_IT_BEGAN:
            row = (_backup(context), _place(context))
            context.catalog.copies.update(*row, states=(WAITING,), **values)


def _next_attempt(
    row: Copy, reason: str | None, now: datetime, *, final: bool = False
) -> dict[str, Any]:
    attempts = row.attempts + 1
    due = None if final else copy.next_attempt(row.ordered_at, attempts, now)
    state = FAILED if due is None else WAITING
    return {"state": state, "reason": reason, "attempts": attempts, "due_at": due}


def _row(context: Context) -> Copy:
    """Raises NotFoundError where the copy is not wanted any more."""
    for each in context.catalog.copies.of(_backup(context)):
        if each.place == _place(context):
            return each
    raise NotFoundError(f"Backup {_backup(context)} is not to be copied to {_place(context)}.")


def _write(context: Context, **values: Any) -> None:
    context.catalog.copies.update(
        _backup(context),
        _place(context),
        states=(COPYING,),
        operation=context.operation.id,
        **values,
    )


def _steps(operation: Operation) -> tuple[str, ...]:
    return (*verify.STEPS, copy.step_of(operation.options["place"]), copy.SIDECAR)


COPY = Verb(
    name="copy",
    noun="Copy",
    exclusive=False,
    steps=_steps,
    # The other one has the name of its place in it: "Copy to offsite".
    step_words={copy.SIDECAR: "Write down beside it what it is"},
    work=_work,
    begin=_begin,
    end=_end,
    give_up=give_up,
    audit_event="backup.copied",
    is_news=lambda _: False,
)
