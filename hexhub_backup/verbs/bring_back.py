"""Bring back: fetch a copy into the depot, where the archive is missing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import BusyError, NotFoundError
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Operation, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations import verify
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs import fetching
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.verify import check
from hexhub_backup.verbs.work_folder import remove_again

_PUBLISH = "publish"


def order(
    history: History,
    who: Who,
    backup: str,
    place: str | None = None,
    opened: Order | None = None,
) -> Order:
    """Fetch the copy at a place, or the best one, or take what was `opened` of it with a key.
    Raises NotFoundError, BusyError where the archive is there, WrongKeyError where the copy is
    encrypted, OSError."""
    found = history.backup(backup)
    if not found.file_missing:
        raise BusyError(f"The archive of backup {backup} is {history.depot.where} already.")
    if place is None and found.elsewhere is None:
        raise NotFoundError(f"Backup {backup} has no good copy that could be brought back.")
    copy = found.elsewhere if place is None else fetching.copy_at(history, backup, place)
    assert copy is not None  # noqa: S101 (one of the two, as was just seen)
    operation = new_id()
    # A file that is there until it becomes the archive: it tells a crash before from one after.
    if opened is None:
        options = fetching.work_file(history, operation, copy)
    else:
        options = fetching.opened_file(opened)
    return Order(id=operation, verb=BRING_BACK.name, who=who, backup=backup, options=options)


def _work(context: Context, progress: Progress) -> Outcome:
    backup, fetched = str(context.operation.backup_id), _fetched(context)
    fetching.fetch_to(context, fetched, progress)
    outcome = check(context, fetched, progress, backup)
    with ExitStack() as on_failure, progress.step(_PUBLISH):
        _refuse_deleted(context)
        context.depot.publish(fetched, backup)
        on_failure.callback(context.depot.remove, context.depot.archive_name(backup))
        # Again: who has deleted it just before has found no archive here.
        _refuse_deleted(context)
        progress.decided()
        on_failure.pop_all()
    return {**outcome, "place": context.operation.options["place"]}


def _refuse_deleted(context: Context) -> None:
    """Raises NotFoundError where the backup was deleted while its copy was read."""
    backup = context.history.backup(str(context.operation.backup_id))
    if backup.going:
        raise NotFoundError(f"Backup {backup.id} is being deleted: it is not brought back.")


def _fetched(context: Context) -> str:
    return str(context.operation.options["archive"])


def _end(context: Context, ended: Mapping[str, Any]) -> None:
    remove_again(context, ended)
    backup = str(context.operation.backup_id)
    if ended["state"] == "completed":
        now, made = utc_now(), ended["outcome"] or {}
        known = {"size_bytes": made["size_bytes"]} if "size_bytes" in made else {}
        context.catalog.update_backup(backup, verified_at=now, intact=True, **known)
        if "manifest" in made:
            fetching.learn_manifest(context, backup, made["manifest"])
    fetching.remember_check(context, ended)
    context.depot.remove_upload(_fetched(context))


def _happened(context: Context) -> bool:
    """What was fetched was checked and synced before it got the archive's name. Where it still has
    its own, somebody else has put that archive there."""
    depot = context.depot
    archive = depot.archive_name(str(context.operation.backup_id))
    return depot.is_there(archive) and not depot.is_there(_fetched(context))


def _finish(context: Context) -> Outcome:
    return {"place": context.operation.options["place"]}


def _give_up(context: Context) -> None:
    context.depot.kept("plan", context.operation.id).remove()
    context.depot.remove_upload(_fetched(context))


def _steps(operation: Operation) -> tuple[str, ...]:
    return (*fetching.steps(operation), *verify.STEPS, _PUBLISH)


BRING_BACK = Verb(
    name="bring_back",
    noun="Return of a copy",
    # It waits for another server: what happens here meanwhile is not held up.
    exclusive=False,
    alone=True,
    steps=_steps,
    step_words={_PUBLISH: "Publish the archive"},
    work=_work,
    end=_end,
    happened=_happened,
    finish=_finish,
    give_up=_give_up,
    audit_event="backup.brought_back",
)
