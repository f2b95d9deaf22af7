"""Every error of this package, and the faults that an error lists. Codes are stable.

The first sentence of an error's docstring says what its code means, as the manual does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from hexhub_backup.marking import marked

#: What a fault in an archive, in a row or in a mapping can be. Codes are stable.
FAULT_CODES = {
    # the tar
    "not_a_tar": "the file is not a tar",
    "compressed": "the tar is compressed",
    "truncated": "the file ends too early",
    "bad_header": "a tar header is damaged or contradicts itself",
    "unsupported_member": "a member that is neither a file nor a directory",
    "unsafe_name": "a name that could leave its directory, or that not every system can hold",
    "duplicate_member": "a member that is there twice, or is both a file and a folder",
    "unknown_member": "a member that the format does not know",
    "missing_member": "a required member is missing",
    "trailing_data": "bytes after the end of the tar",
    # manifest and checksums
    "bad_manifest": "manifest.json is not what the format requires",
    "unsupported_version": "a manifest of a version that this release can't read",
    "bad_checksums": "SHA256SUMS is malformed, or does not name exactly the members",
    "checksum_mismatch": "a member does not have the checksum that is recorded for it",
    "count_mismatch": "the manifest's counts are not those of the archive",
    # rows
    "bad_json": "a JSON member that is not strict JSON",
    "bad_record": "a record of the wrong shape, or a field of the wrong type",
    "duplicate_record": "two records with the same key",
    # a host's mapping
    "bad_mapping": "a mapping of the host's models that can't work",
    # a restore
    "conflict": "a record that exists and differs, under the strategy `fail`",
    "blocked": "a record that can't be written",
    "changed": "a record that has changed since the plan was made",
    "not_granted": "an account that holds a protected right, without a grant",
    "refused": "a record that the database refused when it was written",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where.

    `code` is one of `FAULT_CODES`; `row` counts from 1; `record` is a label such as
    `release jason 1.4.0`. Raises ValueError for an unknown code.
    """

    code: str
    message: str
    member: str | None = None
    row: int | None = None
    field: str | None = None
    record: str | None = None

    def __post_init__(self) -> None:
        if self.code not in FAULT_CODES:
            raise ValueError(f"no fault has the code {self.code}")

    def __str__(self) -> str:
        where = [] if self.member is None else [self.member]
        if self.row is not None:
            where.append(marked(f"row {self.row}"))
        if self.record is not None:
            where.append(self.record)
        if self.field is not None:
            where.append(marked(f"field {self.field}"))
        return marked(f"{', '.join(where)}: {self.message}") if where else self.message

    def as_json(self) -> dict[str, Any]:
        """The fault as the command line and the pages show it: only what is known."""
        return {key: value for key, value in vars(self).items() if value is not None}


class BackupError(Exception):
    """An unexpected error; the host's log has it.

    The base of all errors here. The message says what happened, to what, and what to do now;
    `title` is the heading of a page about it. `faults` lists what is wrong in detail, at most the
    first hundred.
    """

    code: ClassVar[str] = "failed"
    title: ClassVar[str] = "That did not work"

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": str(self),
            "faults": [fault.as_json() for fault in self.faults],
        }


class ArchiveError(BackupError):
    """The archive can't be used; `faults` says why."""

    code = "bad_archive"
    title = "This archive can’t be used"


class RecordError(BackupError):
    """A row of the host could not be read back from an archive, so no backup is made."""

    code = "bad_record"


class MappingError(BackupError):
    """The mapping of the host's models can't work; `init_app` raises it."""

    code = "bad_mapping"


class SettingError(BackupError):
    """A setting, or the use of the extension, can't work."""

    code = "bad_setting"


class BusyError(BackupError):
    """Another operation is running, the backup is in use, or the server has no thread for it."""

    code = "busy"
    title = "Not now"


class NotTakenError(BackupError):
    """No worker took the order in time, so it was not begun."""

    code = "not_taken"
    title = "No worker took it"


class NotFoundError(BackupError):
    """There is no such backup, operation or file."""

    code = "not_found"
    title = "Not found"


class SpaceError(BackupError):
    """There is not enough room on a disk."""

    code = "no_space"
    title = "There is not enough room"


class VersionError(BackupError):
    """Our tables, a plan, an index or an undo set of a version that this release can't read."""

    code = "unsupported_version"


class StorageError(BackupError):
    """The storage could not be read or written."""

    code = "storage"


class DestinationError(BackupError):
    """A destination could not be reached, or refused what was asked of it."""

    code = "destination"


class AwayError(DestinationError):
    """A destination could not be reached, or refused what was asked of it.

    Of one that can't be used at all just now: whatever else is asked of it would fail too.
    """


class LockedError(DestinationError):
    """A copy can't be deleted yet, because it is locked until a day to come.

    `until` is that time.
    """

    code = "locked"

    def __init__(self, message: str, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class WrongKeyError(BackupError):
    """An encrypted archive was not opened: no key was given, or none that opens it."""

    code = "wrong_key"
    title = "This archive is encrypted"


class DatabaseError(BackupError):
    """The database could not be reached, or refused what was to be written."""

    code = "database"
    #: Whether it may be written all the same, as the answer to the commit was lost.
    unanswered = False


class RefusedError(BackupError):
    """The database refused records by a rule that no plan knows: nothing was restored.

    `records` holds by the name of each kind why each record was refused, by its number: at most
    the first thousand.
    """

    code = "refused"

    def __init__(
        self, message: str, faults: Sequence[Fault], *, records: Mapping[str, Mapping[int, str]]
    ) -> None:
        super().__init__(message, faults)
        self.records = records


class ConflictError(BackupError):
    """Strategy `fail`, and there are conflicts or blocked records: nothing was restored."""

    code = "conflicts"


class ChangedError(BackupError):
    """The registry or the archive has changed since the plan was made: nothing was restored."""

    code = "changed"


class RightsError(BackupError):
    """A protected right would be given, taken or lost without a grant: nothing was changed."""

    code = "not_granted"


class NotHeldError(BackupError):
    """The rules of a destination hold no copy of the backup, so none was made there."""

    code = "not_held"


class PruneRefusedError(BackupError):
    """A prune would have deleted most backups at once, or those whose disk seems to be gone."""

    code = "prune_refused"


class CancelledError(BackupError):
    """The operation was cancelled before it had an effect."""

    code = "cancelled"


class RehearsalError(BackupError):
    """A rehearsal can't be made here, and nothing was tried: the message says what it takes."""

    code = "no_rehearsal"
    title = "A rehearsal can’t be made here"


class InterruptedOperationError(BackupError):
    """The process was told to stop, or stopped unexpectedly."""

    code = "interrupted"


def as_it_was(code: str | None, message: str, faults: Sequence[Mapping[str, Any]]) -> BackupError:
    """The error that has ended an operation, from what is recorded of it."""
    known = [BackupError]
    for each in known:
        known += each.__subclasses__()
    found = next((each for each in known if each.code == code), BackupError)
    error = found.__new__(found)
    # What some have besides is not recorded.
    BackupError.__init__(error, message, [Fault(**fault) for fault in faults])
    return error


def without_messages(error: BaseException | None) -> BaseException | None:
    """For `exc_info=`: an error and its causes by type and place, without their messages.

    A message may hold values of rows. Returns None for a BackupError, whose message is enough.
    """
    if error is None or isinstance(error, BackupError):
        return None
    name, module = type(error).__qualname__, type(error).__module__
    hidden: Exception = type(name, (Exception,), {"__module__": module})()
    hidden.__context__ = without_messages(error.__context__)
    if error.__cause__ is not None or error.__suppress_context__:
        hidden.__cause__ = without_messages(error.__cause__)
    return hidden.with_traceback(error.__traceback__)


def log_text(error: BaseException) -> str:
    """An error for a log line: its message where it is one of ours, else its type alone."""
    return str(error) if isinstance(error, BackupError) else type(error).__name__
