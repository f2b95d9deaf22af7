"""Every error this package raises, and every code that a fault or a warning can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

#: What a fault in an archive, in a row or in a mapping can be. Codes are stable.
FAULT_CODES = {
    # the tar
    "not_a_tar": "the file is not a tar",
    "compressed": "the tar is compressed",
    "truncated": "the file ends too early",
    "bad_header": "a tar header is damaged or lies",
    "unsupported_member": "a member that is neither a file nor a directory",
    "unsafe_name": "a name that could leave its place, or that not every system can hold",
    "duplicate_member": "a member that is there twice, or is both a file and a folder",
    "unknown_member": "a member that the format does not know",
    "missing_member": "a member that has to be there is not",
    "trailing_data": "bytes behind the end of the tar",
    # manifest and checksums
    "bad_manifest": "manifest.json does not say what it should",
    "unsupported_version": "a manifest of a version that this release does not read",
    "bad_checksums": "SHA256SUMS is malformed, or does not name exactly the members",
    "checksum_mismatch": "a member is not what its checksum says",
    "count_mismatch": "the manifest counts otherwise than the archive holds",
    # rows
    "bad_json": "a JSON member that is not strict JSON",
    "bad_record": "a record whose shape or a field whose type is wrong",
    "duplicate_record": "two records of one key",
    # a host's mapping
    "bad_mapping": "a mapping of the host's models that can not work",
    # a restore
    "conflict": "a record that exists and differs, under the strategy fail",
    "blocked": "a record that can not be written",
    "changed": "a record that is no longer as the plan found it",
    "not_granted": "an account that holds a protected right, without a grant",
    "refused": "a record that the database refused when it was written",
}

#: What an operation can warn of. Codes are stable.
WARNING_CODES = {
    "blocked": "a record was left out, because it can not be written",
    "changed_since": "an undo left a record that others changed after the restore",
    "duplicate_record": "rows of one key were merged, the newest counts",
    "field_without_column": "a field of the archive has no column here: it was left out",
    "file_changed": "the host changed a file meanwhile: it was left as it is",
    "file_without_release": "a file whose release is not in the archive was left out",
    "missing_docs_file": "a release says it has docs, but there is no docs file",
    "missing_package_file": "a release has no package file",
    "not_checked": "something could not be checked, because the archive has no checksums",
    "no_right_left": "nobody who is active holds a protected right that somebody held before, or "
    "that somebody holds in the archive",
    "not_kept": "what a record was before could not be kept for an undo",
    "own_account": "the account of the acting admin was not changed",
    "privileged_account": "an account that holds a protected right, here or in the archive, was "
    "left as it is, as it was not granted",
    "recovered": "the process ended after the decision; the rest was done by recovery",
    "referred_to": "an undo left a record that other rows refer to by now",
    "still_hidden": "a record was restored, but the host still hides its row",
    "totp_not_restored": "the account has no TOTP secret: its second factor is off",
    "unknown_password_scheme": "a password hash of an unknown scheme was restored as it is",
}

#: What a plan tells beside warnings, so that nobody overlooks it. Codes are stable.
NOTE_CODES = {
    "credentials_changed": "an account gets the password, e-mail, second factor or deactivation "
    "of the archive",
    "docs_file_differs": "a docs file has another content than the stored one",
    "package_file_differs": "a package file has another content than the one that is served now",
    "privileged_credentials_changed": "the same of an account that holds a protected right, as it "
    "was granted",
    "right_changed": "a protected column comes from the archive, as it was granted",
    "right_not_granted": "a protected column of the archive is left out, as it was not granted",
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where.

    `code` is one of `FAULT_CODES`; `row` counts from 1; `record` is a label such as
    `release jason 1.4.0`.
    """

    code: str
    message: str
    member: str | None = None
    row: int | None = None
    field: str | None = None
    record: str | None = None

    def __str__(self) -> str:
        where = [] if self.member is None else [self.member]
        if self.row is not None:
            where.append(f"row {self.row}")
        if self.record is not None:
            where.append(self.record)
        if self.field is not None:
            where.append(f"field {self.field}")
        return ": ".join([", ".join(where), self.message] if where else [self.message])

    def as_json(self) -> dict[str, Any]:
        """The fault as the command line and the pages show it: only what is known."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Warning_:  # noqa: N801 (a builtin has the plain name)
    """Something an admin should know though the operation went on."""

    code: str
    message: str
    record: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "record": self.record}


class BackupError(Exception):
    """Base of all errors here: a message that names the mend, and a stable `code`.

    `faults` lists what is wrong in detail, the first hundred at most.
    """

    code: ClassVar[str] = "failed"

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
    """An archive that is refused; `faults` says why."""

    code = "bad_archive"


class RecordError(BackupError):
    """A row of the host that could not be read back from an archive, so none is written."""

    code = "bad_record"


class MappingError(BackupError):
    """A mapping of the host's models that can not work, found at `init_app`."""

    code = "bad_mapping"


class SettingError(BackupError):
    """A setting, or a use of the extension, that can not work."""

    code = "bad_setting"


class BusyError(BackupError):
    """Another operation is running; the message names it."""

    code = "busy"


class NotFoundError(BackupError):
    """There is no backup, operation or file of that name."""

    code = "not_found"


class SpaceError(BackupError):
    """There is not enough room on a disk."""

    code = "no_space"


class StorageError(BackupError):
    """The storage could not be read or written."""

    code = "storage"


class DatabaseError(BackupError):
    """The database could not be reached, or refused what was to be written."""

    code = "database"


class RefusedError(BackupError):
    """The database refused records by a rule that no plan knows: nothing was restored.

    `records` has of each kind's name the numbers of the records, and why; the first thousand.
    """

    code = "refused"

    def __init__(
        self, message: str, faults: Sequence[Fault], *, records: Mapping[str, Mapping[int, str]]
    ) -> None:
        super().__init__(message, faults)
        self.records = records


class ConflictError(BackupError):
    """Strategy `fail`, and there is a conflict or a blocked record: nothing was restored."""

    code = "conflicts"


class ChangedError(BackupError):
    """The registry or the archive is not what the plan was made of: nothing was restored."""

    code = "changed"


class RightsError(BackupError):
    """Who holds a protected right was to change without a grant: nothing was changed."""

    code = "not_granted"


class PruneRefusedError(BackupError):
    """A prune that would have deleted too much at once."""

    code = "prune_refused"


class CancelledError(BackupError):
    """The operation was cancelled before it had an effect."""

    code = "cancelled"


class InterruptedOperationError(BackupError):
    """The process was told to stop, or died."""

    code = "interrupted"


def without_messages(error: BaseException | None) -> BaseException | None:
    """For `exc_info=`: the types of an error and its causes, and where each was raised, without
    their messages, which may hold values of rows. None for a BackupError, which says all itself.
    """
    if error is None or isinstance(error, BackupError):
        return None
    name, module = type(error).__qualname__, type(error).__module__
    hidden: Exception = type(name, (Exception,), {"__module__": module})()
    hidden.__context__ = without_messages(error.__context__)
    if error.__cause__ is not None or error.__suppress_context__:
        hidden.__cause__ = without_messages(error.__cause__)
    return hidden.with_traceback(error.__traceback__)


def said(error: BaseException) -> str:
    """What a log line may say of an error: its message where it is one of ours, else its type."""
    return str(error) if isinstance(error, BackupError) else type(error).__name__
