"""Verify: check an archive, here or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from typing import Any

from hexhub_backup.depot.names import new_id
from hexhub_backup.errors import ArchiveError
from hexhub_backup.history.contents import earlier_contents, has_contents
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import Copy, Operation, Who
from hexhub_backup.history.store import utc_now
from hexhub_backup.operations import verify
from hexhub_backup.operations.listing import ContentsWriter, fields_of
from hexhub_backup.operations.progress import Progress
from hexhub_backup.verbs import fetching
from hexhub_backup.verbs.base import Context, Order, Outcome, Verb
from hexhub_backup.verbs.work_folder import work_folder


def order(
    history: History,
    who: Who,
    name: str,
    place: str | None = None,
    opened: Order | None = None,
) -> Order:
    """Check an archive; `name` is a backup's id or a path. Of a backup it is the copy at a `place`,
    or the best copy where there is no file on this server, or what was `opened` of it with a key.
    Raises NotFoundError, WrongKeyError where it is a file that is encrypted, OSError."""
    if opened is not None:
        options = fetching.opened_file(opened)
        return Order(verb=VERIFY.name, who=who, backup=opened.backup, options=options)
    if place is not None:
        return _order_of_copy(history, who, fetching.copy_at(history, name, place))
    if (copy := history.elsewhere(name)) is not None:
        return _order_of_copy(history, who, copy)
    archive, backup = history.find(name)
    fetching.refuse_encrypted_file(history.depot, archive)
    return Order(verb=VERIFY.name, who=who, backup=backup, options={"archive": archive})


def _order_of_copy(history: History, who: Who, copy: Copy) -> Order:
    operation = new_id()
    options = options_of(history, operation, copy)
    return Order(id=operation, verb=VERIFY.name, who=who, backup=copy.backup_id, options=options)


def hash_tells(copy: Copy) -> bool:
    """Whether the SHA-256 of a copy says all: the archive was checked when the copy was made, or
    since then, or takes a key. Any other that was found is checked like any archive."""
    known = copy.copied_at is not None or copy.encrypted or bool(copy.intact)
    return known and copy.sha256 is not None


def options_of(history: History, operation: str, copy: Copy) -> dict[str, Any]:
    """The options of an operation that checks a copy. Raises as `fetching.work_file`."""
    if hash_tells(copy):
        return fetching.options_of(copy)
    return fetching.work_file(history, operation, copy)


def check(context: Context, archive: str, progress: Progress, backup: str | None = None) -> Outcome:
    """Check the archive of a name, and list its contents where it is that of a `backup` which has
    no list. Raises ArchiveError, also for a copy of another archive."""
    with ExitStack() as opened:
        folder = opened.enter_context(work_folder(context))
        listing = earlier = None
        if backup is not None and not has_contents(context.catalog, context.depot, backup):
            fields = fields_of(context.registry)
            listing = ContentsWriter(folder / "contents.sqlite", fields)
            opened.enter_context(closing(listing))
            row = context.catalog.backup(backup)
            earlier = earlier_contents(context.catalog, context.depot, row)
        found = verify.verify(
            source=context.depot.source(archive),
            index=folder / "index.sqlite",
            progress=progress,
            check_release=context.check_release,
            listing=listing,
            earlier=earlier,
        )
        fetching.refuse_another(context, found["manifest"])
        if backup is not None and listing is not None:
            listing.keep(context.depot.kept("contents", backup))
        return found


def give_up(context: Context) -> None:
    """Remove the index of a check that has stopped, and the copy that was fetched for it;
    idempotent."""
    context.depot.kept("plan", context.operation.id).remove()
    context.depot.remove_upload(context.depot.upload_name(context.operation.id))


def _work(context: Context, progress: Progress) -> Outcome:
    options = context.operation.options
    if "archive" not in options:
        fetching.read_copy(context, lambda _: None, progress)
        backup = context.catalog.backup(str(context.operation.backup_id))
        return {"manifest": backup.manifest, "size_bytes": backup.size_bytes, "digest": None}
    archive: str = options["archive"]
    try:
        fetching.fetch_to(context, archive, progress)
        return check(context, archive, progress, context.operation.backup_id)
    finally:
        give_up(context)


def _end(context: Context, ended: Mapping[str, Any]) -> None:
    backup, intact = context.operation.backup_id, ended["state"] == "completed"
    if backup is None or not (intact or ended["code"] == ArchiveError.code):
        return
    if "place" not in context.operation.options:
        context.catalog.update_backup(backup, verified_at=utc_now(), intact=intact)
        return
    fetching.remember_check(context, ended)
    if intact:
        fetching.learn_manifest(context, backup, ended["outcome"]["manifest"])


def _steps(operation: Operation) -> tuple[str, ...]:
    checked = verify.STEPS if "archive" in operation.options else ()
    return (*fetching.steps(operation), *checked)


VERIFY = Verb(
    name="verify",
    noun="Verification",
    exclusive=False,
    steps=_steps,
    step_words={
        "read_archive": "Read the archive",
        "check_manifest": "Verify the manifest",
        "check_files": "Verify every byte",
    },
    work=_work,
    end=_end,
    give_up=give_up,
    audit_event="backup.verified",
)
