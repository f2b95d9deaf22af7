"""Restore: do what a plan says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from hexhub_backup import signals
from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import ChangedError, RefusedError
from hexhub_backup.history.models import Operation, Who
from hexhub_backup.history.plans import Plans
from hexhub_backup.history.store import Catalog, utc_now
from hexhub_backup.operations import commit_protocol, refused, restore
from hexhub_backup.operations.progress import Progress, Within
from hexhub_backup.verbs import create
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb, finish_commit
from hexhub_backup.verbs.copy import want_copies

#: The step of a restore in which the registry is backed up as it is.
BACKUP_FIRST = "back_up_first"


def order(plans: Plans, who: Who, plan: str, *, backup_first: bool = False) -> Order:
    """Do what a plan says. Raises NotFoundError, ChangedError where the plan was made for another
    admin."""
    inspected = plans.inspection(plan)
    if inspected.actor != who.actor:
        raise ChangedError(
            f"The plan {plan} was made for {inspected.actor}, whose own account it spares: "
            "inspect the archive yourself."
        )
    return Order(
        verb=RESTORE.name,
        who=who,
        backup=inspected.backup_id,
        follows=plan,
        options={**inspected.options, "plan": plan, "backup_first": backup_first},
    )


def carried_out_by(catalog: Catalog, plan: str) -> Operation | None:
    """The restore that did what a plan said, where one did."""
    return catalog.completed_after(plan, RESTORE.name)


def _steps(operation: Operation) -> tuple[str, ...]:
    first = (BACKUP_FIRST,) if operation.options["backup_first"] else ()
    return (*first, *restore.STEPS)


def _work(context: Context, progress: Progress) -> Outcome:
    operation, depot = context.operation, context.depot
    plan: str = operation.options["plan"]
    first = {}
    if operation.options["backup_first"]:
        with closing(context.plans.open(plan)) as found:
            places_directly = context.storage.places_directly
            progress.expect(restore.expected(found, places_directly=places_directly))
        first["backup_first"] = _back_up_first(context, progress)
    with _keeping_refused(context, plan):
        done = restore.restore(
            operation_id=operation.id,
            open_archive=depot.source,
            folder=depot.kept("plan", plan).here(),
            undo_set=depot.kept("undo_set", operation.id),
            changed=depot.kept("changed", operation.id),
            registry=context.registry,
            storage=context.storage,
            decisions=context.decisions,
            progress=progress,
        )
    # It holds password hashes, and is not true any more. Where it can't be removed now, prune does
    # it: the restore has happened.
    with suppress(OSError):
        depot.kept("plan", plan).remove()
    return {**done, **first}


@contextmanager
def _keeping_refused(context: Context, plan: str) -> Iterator[None]:
    """Keep what the database refuses, for the next plan."""
    operation = context.operation.id
    try:
        yield
    except RefusedError as error:
        with closing(context.plans.open(plan)) as found:
            digest = found.about["digest"]
        kept = context.depot.kept("refused", operation)
        refused.save(kept.here(), digest, error.records)
        kept.keep()
        raise RefusedError(
            f"{error} Correct what is refused where the archive was made, or restore the rest: "
            f"plan again without these records (--without {operation}).",
            error.faults,
            records=error.records,
        ) from None


def _back_up_first(context: Context, progress: Progress) -> str:
    backup = new_id()
    with progress.step(BACKUP_FIRST):
        warned = progress.warning_count
        within = Within(progress, BACKUP_FIRST, create.CREATE.step_words)
        outcome = create.write_archive(context, backup, within)
        context.catalog.add_backup(
            create.new_backup(
                context,
                backup,
                state="completed",
                size_bytes=outcome["size_bytes"],
                sha256=outcome["sha256"],
                manifest=outcome["manifest"],
                since=outcome["since"],
                changed_files=outcome["changed_files"],
                warning_count=progress.warning_count - warned,
                # It was read back as a part of its creation.
                verified_at=utc_now(),
                intact=True,
            )
        )
        want_copies(context, backup)
        create.announce(context, backup, outcome)
        progress.log(f"Backup {backup} holds the registry as it was before.")
    return backup


def _announce(context: Context, outcome: Outcome) -> None:
    signals.emit(
        signals.restore_completed,
        context.app,
        operation=context.operation.id,
        actor=context.operation.actor,
        address=context.operation.address,
        outcome=outcome,
        **context.history.changed(context.operation.id),
    )


def _finish(context: Context) -> Outcome:
    outcome = finish_commit(context)
    # It holds password hashes, and is not true any more.
    context.depot.kept("plan", context.operation.options["plan"]).remove()
    return outcome


def _give_up(context: Context) -> None:
    operation, depot = context.operation.id, context.depot
    commit_protocol.give_up(
        operation,
        context.storage,
        depot.kept("undo_set", operation),
        depot.kept("changed", operation),
    )


RESTORE = Verb(
    name="restore",
    noun="Restore",
    exclusive=True,
    steps=_steps,
    step_words={
        BACKUP_FIRST: "Back up the registry as it is",
        "check_space": "Check free space",
        "stage_package_files": "Prepare package files",
        "stage_doc_files": "Prepare docs files",
        "restore_users": "Prepare users",
        "restore_packages": "Prepare packages",
        "restore_releases": "Prepare releases",
        "restore_owners": "Prepare owners",
        "decide": "Apply everything at once",
        "place_files": "Replace files",
    },
    work=_work,
    announce=_announce,
    finish=_finish,
    give_up=_give_up,
    failure_audit_event="backup.restore_failed",
)
