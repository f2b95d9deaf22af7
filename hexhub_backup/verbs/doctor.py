"""Doctor: look whether the files of the registry are what its rows and its backups say."""

from __future__ import annotations

from datetime import datetime, timedelta

from hexhub_backup.depot.names import new_id
from hexhub_backup.history.findings import (
    CHECK,
    LastCheck,
    doubted_backups,
    known_backups,
    last_check,
)
from hexhub_backup.history.kept import History
from hexhub_backup.history.lists import OperationFilter, list_operations
from hexhub_backup.history.models import Who
from hexhub_backup.operations import doctor
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs import restore, undo
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.work_folder import remove_again, work_folder

#: Until one that has failed is tried again by the clock.
_AGAIN = timedelta(days=1)


def order(who: Who, operation: str | None = None, *, gently: bool = False) -> Order:
    """Look at every file of the registry; `gently` at the rate that is set for verifications. What
    it has found is kept by its id."""
    options = {"gently": True} if gently else {}
    return Order(id=operation or new_id(), verb=DOCTOR.name, who=who, options=options)


def due(history: History, *, days: int, now: datetime) -> bool:
    """Whether the last check was so many `days` ago, or there was none; or it has found something,
    and something was restored since. After one that has failed a day is enough; and without a good
    backup there is nothing to hold it against."""
    if next(history.good_backups(own=True), None) is None:
        return False
    engine = history.catalog.engine
    recent = list_operations(engine, OperationFilter(verb=CHECK), limit=1)
    if recent and recent[0].state != "completed" and recent[0].queued_at > now - _AGAIN:
        return False
    last = last_check(engine)
    if last is None or last.queued_at <= now - timedelta(days=days):
        return True
    return any(last.found.values()) and restored_since(history, last)


def restored_since(history: History, last: LastCheck) -> bool:
    """Whether a restore or an undo was completed since a check began."""
    for verb in (restore.RESTORE, undo.UNDO):
        wanted = OperationFilter(verb=verb.name, state="completed")
        newest = list_operations(history.catalog.engine, wanted, limit=1)
        if newest and (newest[0].finished_at or newest[0].queued_at) > last.queued_at:
            return True
    return False


def _work(context: Context, progress: Progress) -> Outcome:
    history, depot = context.history, context.depot
    gently = "gently" in context.operation.options
    with work_folder(context) as folder:
        return doctor.examine(
            registry=context.registry,
            storage=context.storage,
            work=folder,
            findings=depot.kept("findings", context.operation.id),
            good=lambda: known_backups(history),
            doubted=lambda: doubted_backups(history),
            rate=context.settings.verify_rate if gently else 0,
            check_release=context.check_release,
            progress=progress,
        )


def _give_up(context: Context) -> None:
    for what in ("plan", "findings"):
        context.depot.kept(what, context.operation.id).remove()


DOCTOR = Verb(
    name=CHECK,
    noun="Registry check",
    exclusive=False,
    alone=True,
    steps=lambda _: doctor.STEPS,
    step_words={
        "list_releases": "List the releases",
        "list_files": "List the stored files",
        "ask_backups": "Look up the files in the backups",
        "read_files": "Read the files",
        "look_again": "Look again at what seems to be wrong",
    },
    work=_work,
    end=remove_again,
    give_up=_give_up,
    audit_event="backup.registry_checked",
    # The clock does it week by week: what it finds is news.
    is_news=lambda operation: "gently" not in operation.options or bool(operation.warning_count),
)
