"""Compare: list the registry as it is now, to be held against a backup."""

from __future__ import annotations

from hexhub_backup.history.contents import listed_contents
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Who
from hexhub_backup.operations import compare
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.work_folder import remove_again, work_folder


def order(history: History, who: Who, backup: str) -> Order:
    """List the registry, for a comparison with a backup. The list is kept by the operation's id.
    Raises NotFoundError, also where the contents of the backup are not listed."""
    listed_contents(history.depot, history.backup(backup)).close()
    return Order(verb=COMPARE.name, who=who, backup=backup)


def _work(context: Context, progress: Progress) -> Outcome:
    with work_folder(context) as folder:
        return compare.list_registry(
            registry=context.registry,
            storage=context.storage,
            work=folder,
            contents=context.depot.kept("contents", context.operation.id),
            progress=progress,
        )


def _give_up(context: Context) -> None:
    for what in ("plan", "contents"):
        context.depot.kept(what, context.operation.id).remove()


COMPARE = Verb(
    name="compare",
    noun="Comparison with now",
    exclusive=False,
    steps=lambda _: compare.STEPS,
    step_words={"list_records": "List the records", "read_files": "Read the files"},
    work=_work,
    end=remove_again,
    give_up=_give_up,
)
