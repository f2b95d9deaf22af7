"""Undo: take back what a restore did."""

from __future__ import annotations

from hexhub_backup import signals
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Operation, Who
from hexhub_backup.history.store import Catalog
from hexhub_backup.operations import commit_protocol, undo
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb, finish_commit


def order(history: History, who: Who, operation: str, *, granted: bool = False) -> Order:
    """Take back what a restore did; accounts that hold a protected right change only where
    `granted`. Raises NotFoundError where there is nothing to undo."""
    restored = history.catalog.operation(operation)
    if not history.undoable(restored):
        raise NotFoundError(
            f"Operation {operation} can't be undone: only a restore that changed something "
            "can, once, until the retention is over."
        )
    return Order(
        verb=UNDO.name,
        who=who,
        follows=operation,
        options={"operation": operation, "protected": granted},
    )


def undone_by(catalog: Catalog, operation: str) -> Operation | None:
    """The undo of a restore, where it was undone."""
    return catalog.completed_after(operation, UNDO.name)


def _work(context: Context, progress: Progress) -> Outcome:
    operation, depot = context.operation, context.depot
    undone: str = operation.options["operation"]
    return undo.undo(
        operation_id=operation.id,
        undone=undone,
        undo_set=depot.kept("undo_set", undone),
        changed=depot.kept("changed", operation.id),
        actor=operation.actor,
        granted=operation.options["protected"],
        registry=context.registry,
        storage=context.storage,
        decisions=context.decisions,
        progress=progress,
    )


def _announce(context: Context, outcome: Outcome) -> None:
    signals.emit(
        signals.restore_undone,
        context.app,
        operation=context.operation.id,
        undone=outcome["undone"],
        actor=context.operation.actor,
        address=context.operation.address,
        outcome=outcome,
        **context.history.changed(context.operation.id),
    )


def _finish(context: Context) -> Outcome:
    undone = context.operation.options["operation"]
    outcome = finish_commit(context)
    commit_protocol.forget_undone(undone, context.storage, context.depot.kept("undo_set", undone))
    return outcome


def _give_up(context: Context) -> None:
    operation = context.operation.id
    changed = context.depot.kept("changed", operation)
    commit_protocol.give_up(operation, context.storage, None, changed)


UNDO = Verb(
    name="undo",
    noun="Undo",
    exclusive=True,
    steps=lambda _: undo.STEPS,
    step_words={
        "stage_files": "Prepare files",
        "stage_records": "Prepare records",
        "decide": "Apply everything at once",
        "place_files": "Replace files",
    },
    work=_work,
    announce=_announce,
    finish=_finish,
    give_up=_give_up,
    failure_audit_event="backup.restore_failed",
)
