"""Prune: delete what has expired, in each place by its rules."""

from __future__ import annotations

from datetime import timedelta

from hexhub_backup import signals
from hexhub_backup.depot.names import new_id
from hexhub_backup.destinations.base import HERE
from hexhub_backup.errors import BusyError, NotFoundError, PruneRefusedError, StorageError
from hexhub_backup.history.expiring import expire, expire_copy
from hexhub_backup.history.models import Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations import prune
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.delete_copies import delete_copies
from hexhub_backup.verbs.remains import remove_remains

PRUNE_EVERY = timedelta(days=1)


def order(who: Who, operation: str | None = None, *, anyway: bool = False) -> Order:
    """Delete what has expired, and what is left of old operations. A prune that is refused on this
    server deletes nothing anywhere, and stays due; one that is refused in another place deletes
    nothing there. `anyway`: nothing is refused, as somebody has seen to it."""
    options = {"anyway": True} if anyway else {}
    return Order(id=operation or new_id(), verb=PRUNE.name, who=who, options=options)


def _work(context: Context, progress: Progress) -> Outcome:
    # First: what holds password hashes goes also where the rest is refused.
    with progress.step("delete_remains"):
        old = remove_remains(
            context.catalog,
            context.coordinator,
            context.depot,
            context.storage,
            context.settings.rules.history_days,
        )
    history, refusal = context.history, None
    anyway = bool(context.operation.options.get("anyway"))
    with progress.step("delete_backups"):
        deleted = _delete(context, progress, HERE, history.expired(anyway=anyway))
        for place in history.places:
            try:
                _delete(context, progress, place, history.expired(place, anyway=anyway))
            except PruneRefusedError as error:
                # The others have rules of their own.
                refusal = error
        copies = delete_copies(context, progress)
    context.catalog.set_due(PRUNE.name, utc_now() + PRUNE_EVERY)
    if refusal is not None:
        raise refusal
    return {"backups": deleted, "copies": copies, "operations": old}


def _delete(context: Context, progress: Progress, place: str, expired: list[str]) -> list[str]:
    """Delete backups on this server, or let their copies in a place be deleted. Returns those that
    were not in use."""
    deleted = []
    for backup in expired:
        progress.check()
        try:
            if place == HERE:
                expire(context.history, context.app, context.operation.who, backup)
            else:
                expire_copy(context.history, backup, place)
        except (BusyError, NotFoundError, StorageError) as error:
            progress.log(f"Backup {backup} stays in {place} until the next time: {error}")
        else:
            deleted.append(backup)
    return deleted


def _announce(context: Context, outcome: Outcome) -> None:
    signals.emit(
        signals.backups_pruned,
        context.app,
        operation=context.operation.id,
        actor=context.operation.actor,
        backups=outcome["backups"],
    )


PRUNE = Verb(
    name="prune",
    noun="Clean-up",
    exclusive=True,
    steps=lambda _: prune.STEPS,
    step_words={
        "delete_remains": "Remove leftovers of old operations",
        "delete_backups": "Delete expired backups",
    },
    work=_work,
    announce=_announce,
    # There is one a day.
    is_news=lambda operation: operation.deleted != [] or bool(operation.deleted_copies),
)
