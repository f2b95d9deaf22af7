"""Inspect: plan a restore."""

from __future__ import annotations

from typing import Any

from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Operation, Who
from hexhub_backup.history.plans import Plans
from hexhub_backup.operations import inspection
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs import fetching
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb


def order(
    history: History,
    who: Who,
    name: str,
    choice: Choice,
    opened: Order | None = None,
    *,
    place: str | None = None,
) -> Order:
    """Plan a restore of an archive, which `fetching.to_read` finds. The operation's id is the
    plan's. Raises NotFoundError, WrongKeyError where it is encrypted, OSError."""
    operation = new_id()
    backup, options = fetching.to_read(history, operation, name, opened, place)
    return Order(
        id=operation,
        verb=INSPECT.name,
        who=who,
        backup=backup,
        options={**options, "choice": choice.as_json()},
    )


def order_again(plans: Plans, who: Who, plan: str, choice: Choice) -> Order:
    """Plan a restore of the archive of another plan, for another choice or another admin. Raises
    NotFoundError."""
    before = plans.inspection(plan)
    archive = before.options["archive"]
    if not plans.depot.is_there(archive):
        raise NotFoundError(
            f"The archive of plan {plan} is not there any more: start from the file again."
        )
    options = {"archive": archive, "choice": choice.as_json(), "before": plan}
    if "file_name" in before.options:
        options["file_name"] = before.options["file_name"]
    return Order(verb=INSPECT.name, who=who, backup=before.backup_id, follows=plan, options=options)


def _steps(operation: Operation) -> tuple[str, ...]:
    if "before" in operation.options:
        return inspection.STEPS_AGAIN
    return (*fetching.steps(operation), *inspection.STEPS)


def _work(context: Context, progress: Progress) -> Outcome:
    depot, options = context.depot, context.operation.options
    choice, before = Choice.of_json(options["choice"]), options.get("before")
    plan = depot.kept("plan", context.operation.id)
    try:
        fetching.fetch_to(context, options["archive"], progress)
        outcome = inspection.inspect(
            archive=options["archive"],
            open_archive=depot.source,
            folder=plan.here(),
            registry=context.registry,
            storage=context.storage,
            choice=choice,
            actor=context.operation.actor,
            progress=progress,
            before=None if before is None else depot.kept("plan", before).here(),
            without=(depot.kept("refused", each).here() for each in choice.without),
        )
        fetching.refuse_another(context, outcome["manifest"])
        plan.keep()
    except BaseException:
        _give_up(context)
        raise
    return outcome


def _give_up(context: Context) -> None:
    options: dict[str, Any] = context.operation.options
    context.depot.kept("plan", context.operation.id).remove()
    if "before" not in options:
        # Nothing leads back to it.
        context.depot.remove_upload(options["archive"])


INSPECT = Verb(
    name="inspect",
    noun="Inspection",
    exclusive=False,
    steps=_steps,
    step_words={"compare": "Compare with the registry"},
    work=_work,
    give_up=_give_up,
    makes_plan=True,
)
