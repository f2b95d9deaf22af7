"""What every upload is held to while it comes: its room, its first bytes, and its file's name."""

from __future__ import annotations

from hexhub_backup import formatting
from hexhub_backup.depot.base import Depot
from hexhub_backup.errors import ArchiveError, SpaceError
from hexhub_backup.extras import require
from hexhub_backup.marking import marked
from hexhub_backup.operations import verify
from hexhub_backup.verbs.fetching import is_encrypted

#: Bytes that an upload leaves free, for the database and the events beside it.
_SPARE = 16 * 1024 * 1024
#: Characters of a file's name that are kept.
_NAME_LENGTH = 200


def check_announced(depot: Depot, length: int) -> None:
    """Raises SpaceError where there is no room for an upload of so many bytes, none of which has
    come."""
    free = depot.free()
    if free is not None and length > free:
        raise _no_room(depot, length, free)


def check_room(depot: Depot, arrived: int, coming: int) -> None:
    """Raises SpaceError where there is no room for what comes next: the length may not have been
    announced, and others write to the disk too."""
    free = depot.free()
    if free is not None and free < coming + _SPARE:
        raise _no_room(depot, arrived, free, is_all=False)


def _no_room(depot: Depot, length: int, left: int, *, is_all: bool = True) -> SpaceError:
    size, free, place = formatting.size(length), formatting.size(left), depot.location
    return SpaceError(
        f"The upload is {size}, and {free} is free in {place}: make room there, and upload it "
        "again."
        if is_all
        else f"The upload is more than {size}, and {free} is free in {place}: make room there, "
        "and upload it again."
    )


def check_kind(head: bytes, file_name: str | None) -> None:
    """Whether a file that begins so may be an archive: rather at its beginning than after gigabytes
    of it. Raises ArchiveError, and SettingError for one that can't be opened here."""
    if is_encrypted(head):
        require("age", "An encrypted archive")
        return
    try:
        verify.check_head(head)
    except ArchiveError as error:
        why = "; ".join(fault.message for fault in error.faults) or error
        file = file_name or marked("The file")
        raise ArchiveError(f"{file} can't be used: {why}.", error.faults) from None


def plain_name(name: str) -> str:
    """A file's name without its folder, of which some browsers tell."""
    return formatting.one_line(name.replace("\\", "/").rpartition("/")[2])[:_NAME_LENGTH]
