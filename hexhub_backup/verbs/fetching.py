"""Reading a copy: for a verification, a plan, or to bring a backup back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hexhub_backup import formatting
from hexhub_backup.depot.base import Depot
from hexhub_backup.destinations.base import find
from hexhub_backup.errors import (
    ArchiveError,
    NotFoundError,
    SpaceError,
    StorageError,
    WrongKeyError,
)
from hexhub_backup.history.kept import History
from hexhub_backup.history.models import COPIED, MISSING, Copy, Operation
from hexhub_backup.history.store import utc_now
from hexhub_backup.marking import marked
from hexhub_backup.operations import fetch, verify
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import NOBODY
from hexhub_backup.verbs.base import Context, Order

#: What a file of age begins with.
AGE = b"age-encryption.org/v1"


def options_of(copy: Copy) -> dict[str, Any]:
    """The options of an operation that reads a copy: where it is, and which of those that may have
    been made there one after the other."""
    return {"place": copy.place, "made_by": copy.operation_id}


def work_file(history: History, operation: str, copy: Copy) -> dict[str, Any]:
    """The options of an operation that reads a copy in a file of its own, which belongs to it. Not
    more than a name yet. Raises WrongKeyError where the copy is encrypted, OSError."""
    refuse_encrypted(copy)
    return {"archive": history.depot.new_work_file(operation), **options_of(copy)}


def opened_file(opened: Order) -> dict[str, Any]:
    """The options of an operation on what an order has opened with a key."""
    carried = ("place", "made_by", "file_name")
    kept = {name: opened.options[name] for name in carried if name in opened.options}
    return {**kept, "archive": opened.options["archive"], "opened": True}


def to_read(
    history: History, operation: str, name: str, opened: Order | None, place: str | None
) -> tuple[str | None, dict[str, Any]]:
    """The backup of an archive that an operation reads, where there is one, and the options that
    name it: of a backup, by id or path, or of what was `opened` of it with a key. A copy (that at a
    `place`, or the best one where there is no file on this server) is fetched into a file that goes
    with the operation. Raises NotFoundError, WrongKeyError where it is encrypted, OSError."""
    if opened is not None:
        return opened.backup, opened_file(opened)
    if (copy := copy_to_read(history, name, place)) is not None:
        return copy.backup_id, work_file(history, operation, copy)
    archive, backup = history.find(name)
    refuse_encrypted_file(history.depot, archive)
    return backup, {"archive": archive}


def copy_at(history: History, backup: str, place: str) -> Copy:
    """The copy of a backup at a place. Raises NotFoundError where there is none to read."""
    for copy in history.catalog.copies.of(backup):
        if copy.place == place and copy.state == COPIED:
            return copy
    raise NotFoundError(f"Backup {backup} has no copy in {place}: look at the backup's page.")


def copy_of(context: Context) -> Copy:
    """The copy that the operation is about. Raises NotFoundError where it is there no more."""
    operation = context.operation
    copy = copy_at(context.history, str(operation.backup_id), operation.options["place"])
    # An order of an older release does not say.
    if operation.options.get("made_by", copy.operation_id) != copy.operation_id:
        raise NotFoundError(
            f"The copy of backup {copy.backup_id} in {copy.place} was made anew meanwhile: start "
            "again."
        )
    return copy


def copy_to_read(history: History, name: str, place: str | None) -> Copy | None:
    """The copy of a backup at a `place`; without one the best copy, where there is no file on this
    server, and None where there is, or `name` is the path of a file. Raises NotFoundError."""
    return history.elsewhere(name) if place is None else copy_at(history, name, place)


def refuse_encrypted(copy: Copy) -> None:
    """Raises WrongKeyError for a copy that takes a key to be read."""
    if copy.encrypted:
        to = ", ".join(copy.recipients) or marked("keys that nothing names")
        raise WrongKeyError(
            f"The copy of backup {copy.backup_id} in {copy.place} is encrypted to {to}: hand in "
            "the private key of one of them, on the page Restore or by --identity FILE on the "
            "command line."
        )


def is_encrypted(head: bytes) -> bool:
    """Whether a file that begins so is one of age."""
    return head.startswith(AGE)


def is_encrypted_file(depot: Depot, archive: str) -> bool:
    """Whether the archive of a name is a file of age. Raises NotFoundError."""
    try:
        with depot.source(archive) as source:
            return is_encrypted(source.read(0, len(AGE)))
    except (ArchiveError, StorageError):
        # What is no file, or can't be read, is for the reader to refuse.
        return False


def refuse_encrypted_file(depot: Depot, archive: str) -> None:
    """Raises WrongKeyError for a file that takes a key to be read, NotFoundError."""
    if is_encrypted_file(depot, archive):
        raise WrongKeyError(
            f"{archive} is encrypted: hand in the private key of one of its recipients, on the "
            "page Restore or by --identity FILE on the command line."
        )


def steps(operation: Operation) -> tuple[str, ...]:
    """The step in which the copy is read, where one is."""
    place, opened = operation.options.get("place"), operation.options.get("opened")
    return () if place is None or opened else (fetch.step_of(place),)


def read_copy(context: Context, write: Callable[[bytes], object], progress: Progress) -> str:
    """Read the copy that the operation is about, and hold its bytes against the SHA-256 that they
    had, and one that is not encrypted against the archive's. Returns that of its bytes. Raises as
    `operations.fetch`, and NotFoundError where the copy is gone: then that is remembered."""
    copy = copy_of(context)
    destination = find(context.destinations, copy.place)
    try:
        found = fetch.fetch(
            destination=destination,
            file=str(copy.file),
            size=copy.size_bytes or 0,
            sha256=copy.sha256,
            write=write,
            progress=progress,
        )
    except FileNotFoundError:
        reason = marked(f"{copy.file} is not in {destination.location} any more.")
        remember(context, copy, state=MISSING, reason=reason, due_at=None)
        raise NotFoundError(f"{reason} Use another copy, or copy the backup again.") from None
    if not copy.encrypted and copy.archive_sha256 not in (None, found):
        raise ArchiveError(
            f"The copy {copy.file} in {destination.location} is another archive: its SHA-256 is "
            "not that of the backup. Use another copy."
        )
    return found


def remember(context: Context, copy: Copy, **values: Any) -> bool:
    """Write down what was found out about a copy. False where it is to go, or was made anew,
    meanwhile: nothing is known of that one."""
    return context.catalog.copies.update(
        copy.backup_id, copy.place, states=(COPIED,), operation=copy.operation_id, **values
    )


def fetch_to(context: Context, archive: str, progress: Progress) -> None:
    """Write the copy that the operation is about, where that is one, into its work file; one
    that was opened with a key is in it. Raises SpaceError where it can't be held."""
    if not steps(context.operation):
        return
    copy = copy_of(context)
    size = copy.size_bytes or 0
    refuse_too_large(context.depot, size)
    with context.depot.work_file(archive, size) as file:
        read_copy(context, file.write, progress)
        file.complete()


def refuse_another(context: Context, found: Mapping[str, Any]) -> None:
    """Raises ArchiveError where the copy that was read, whose manifest was `found`, is not that of
    this backup. What is no copy says itself what it is."""
    backup, place = str(context.operation.backup_id), context.operation.options.get("place")
    if place is None:
        return
    known = context.catalog.backup(backup).manifest
    called = marked(f"The copy of backup {backup} in {place}")
    verify.refuse_another(known, found, called=called)


def learn_manifest(context: Context, backup: str, found: Mapping[str, Any]) -> None:
    """Write down the manifest of a copy that was read, where that of the backup is not known, or
    only what lay beside a copy: that names nobody, and no missing file."""
    row = context.catalog.backup(backup)
    if row.manifest is None or (row.adopted and row.manifest["created_by"] == NOBODY):
        context.catalog.update_backup(backup, manifest=found)


def refuse_too_large(depot: Depot, size: int) -> None:
    """Raises SpaceError where there is no room for a copy of so many bytes."""
    if (free := depot.free()) is not None and size > free:
        raise SpaceError(
            f"The copy has {formatting.size(size)}, and {formatting.size(free)} is free in "
            f"{depot.location}: make room there. Nothing was written."
        )


def remember_check(context: Context, ended: Mapping[str, Any]) -> None:
    """Write down what the end of an operation that read all of a copy says of that copy: nothing of
    one that was made anew meanwhile."""
    operation, intact = context.operation, ended["state"] == "completed"
    if intact or ended["code"] == ArchiveError.code:
        context.catalog.copies.update(
            str(operation.backup_id),
            operation.options["place"],
            states=(COPIED,),
            operation=operation.options.get("made_by", ...),
            **checked(intact=intact, reason=ended["reason"]),
        )


def checked(*, intact: bool, reason: str | None) -> dict[str, Any]:
    """What the row of a copy says that was read just now; `reason` tells what is wrong with it."""
    return {"verified_at": utc_now(), "intact": intact, "reason": reason, "due_at": None}
