"""The depot: where archives, plans, undo sets and uploads live."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from hexhub_backup.archive.source import Source
from hexhub_backup.archive.writing.new_archive import NewArchive
from hexhub_backup.operations.kept_file import KeptFile

#: What an operation may leave for others to read.
What = Literal["contents", "plan", "undo_set", "changed", "refused", "findings"]


class Stat(NamedTuple):
    """Of an archive that is there: its bytes, and when it was written, in seconds since 1970."""

    size: int
    modified: float


class NewUpload(AbstractContextManager["NewUpload"], Protocol):
    """An archive that comes in, written from its beginning to its end."""

    #: What it is called when it is complete.
    name: str

    def write(self, data: bytes) -> None:
        """Write what comes next. Raises OSError, BackupError."""

    def complete(self) -> None:
        """All of it is there. Raises OSError, BackupError."""

    def discard(self) -> None:
        """Let nothing be left of it, also where it is complete. Idempotent."""


class UploadInfo(NamedTuple):
    """What is known of a resumable upload from its beginning on."""

    #: Bytes that it will have.
    length: int
    #: The username of the admin whose upload it is.
    owner: str
    #: What the client says of the file, as tus's header Upload-Metadata has it.
    metadata: str


class ResumableUpload(Protocol):
    """An archive that comes in over several requests, in whichever process each of them is
    served."""

    #: What the archive is called when it is complete.
    name: str
    info: UploadInfo
    #: Seconds since 1970: when something of it was last kept.
    written: float

    @property
    def offset(self) -> int:
        """Bytes of it that are there."""

    def head(self, length: int) -> bytes:
        """Its first bytes, so many at most; less than so many are there."""

    def write(self, data: bytes) -> None:
        """Write what comes next. Raises OSError, BackupError."""

    def keep(self) -> None:
        """Let what was written survive this process. Raises OSError, BackupError."""

    def complete(self) -> None:
        """All of it is there: let it be an archive. Idempotent. Raises OSError, BackupError."""

    def release(self) -> None:
        """It is complete and belongs to an operation: nobody resumes it any more."""

    def discard(self) -> None:
        """Let nothing be left of it. Idempotent."""


class Depot(Protocol):
    """The files that operations of several processes share. Its own errors are OSErrors."""

    #: For people: where the depot is, what a sentence calls that ("on this server"), and what to do
    #: where it can't be read.
    location: str
    where: str
    advice: str
    #: The directory in which this machine makes what it makes.
    path: Path

    def prepare(self) -> None:
        """Make it. Raises SettingError where that can't be."""

    def trouble(self) -> str | None:
        """Why it can't be read; None where it can."""

    def free(self) -> int | None:
        """Bytes that can still be written; None where nothing limits them."""

    def using(self, archive: str, *, alone: bool = False) -> AbstractContextManager[Source]:
        """Hold the archive of a name, so that it is not deleted meanwhile; `alone` in order to
        delete it. Gives what reads it, as long as it is held. Raises NotFoundError, BusyError."""

    # what they make

    # Archives have names, which orders, plans and people have too: that of a backup's archive, of
    # an upload, or the absolute path of a file of this machine.

    def archive_name(self, backup: str) -> str:
        """What the archive of a backup is called, there or not."""

    def is_there(self, archive: str) -> bool:
        """Whether there is an archive of a name. Raises OSError where that can't be told."""

    def finder(self, backups: Collection[str]) -> Callable[[str], bool]:
        """A function that says of each of these backups whether its archive is there. It raises
        OSError where that can't be told."""

    def stat(self, archive: str) -> Stat:
        """Raises OSError."""

    def source(self, archive: str) -> Source:
        """What reads an archive, to be closed. Raises NotFoundError, ArchiveError."""

    def address(self, archive: str, file: str, seconds: int) -> str | None:
        """A secret address at which whoever has it reads an archive for so many seconds, as an
        attachment called `file`; None where there is no such thing. Raises BackupError."""

    def new_archive(self, backup: str, about: int, work: Path) -> NewArchive:
        """Begin the archive of a backup, which will have about so many bytes. `work` is a folder
        for what that needs on this machine. Raises OSError, BackupError."""

    def was_published(self, backup: str) -> bool:
        """Whether the archive of a backup, whose row does not say so, is known to have been checked
        and published."""

    def discard(self, backup: str) -> None:
        """Remove what a create has left of the archive of a backup that was not published.
        Idempotent."""

    def remove(self, archive: str) -> None:
        """Remove the archive of a name, where there is one."""

    def archives(self) -> Iterator[str]:
        """The ids of the archives that are there."""

    def changed_at(self) -> float | None:
        """When a file last came or went, by the depot's clock; None where that takes more than a
        moment to know, or can't be told."""

    def misnamed(self) -> Iterator[str]:
        """The names of archives that give no id of a backup."""

    def found(self) -> list[str]:
        """The names of other tars that somebody has put there: no backups of ours."""

    def found_archive(self, name: str) -> str:
        """What such a tar is called as an archive. Raises NotFoundError where it is not there."""

    def kept(self, what: What, operation: str) -> KeptFile:
        """What an operation leaves: its `plan` (a folder with the index of the inspected archive,
        and the plan), its `undo_set` (what it takes to undo a restore), the names of what it
        `changed`, what the database `refused` of it, and its `findings`. The `contents` of an
        archive are kept by the id of its backup, and go with that."""

    def plans(self) -> list[str]:
        """The inspections whose plan is there."""

    def undo_sets(self) -> Iterator[str]:
        """The operations that have an undo set."""

    def remove_operation(self, operation: str) -> None:
        """Remove all that is kept of an operation."""

    # what comes in

    def upload_name(self, upload: str) -> str:
        """What an upload is called, there or not."""

    def new_upload(self, upload: str) -> NewUpload:
        """Begin an archive that comes by the pages. Raises OSError, BackupError."""

    def new_resumable(self, upload: str, info: UploadInfo) -> None:
        """Begin an upload that comes over several requests. Raises OSError, BackupError."""

    def resumable(self, upload: str, *, alone: bool) -> AbstractContextManager[ResumableUpload]:
        """Such an upload: to look at, or `alone` in order to write it. The lock dies with its
        process. Raises NotFoundError, BusyError where somebody else writes it, OSError."""

    def new_work_file(self, operation: str) -> str:
        """Make an empty one that a copy is fetched into: it goes like an upload. Gives its name.
        Raises OSError, BackupError."""

    def work_file(self, archive: str, size: int) -> NewUpload:
        """Begin to write a work file, which is there, anew, with about `size` bytes. Raises
        OSError, BackupError."""

    def publish(self, upload: str, backup: str) -> None:
        """Let an upload be the archive of a backup, durably; all or nothing. Raises BusyError where
        that has one, OSError, BackupError."""

    def is_upload(self, archive: str) -> bool:
        """Whether a name is that of an upload, there or not."""

    def remove_upload(self, archive: str | None) -> None:
        """Remove what was uploaded; nothing else."""

    def remove_uploads(self, now: datetime, stay: timedelta) -> None:
        """Remove the uploads that were last written so long ago, and are not in use."""

    # what is left

    def work(self) -> AbstractContextManager[str]:
        """A folder that goes with its use."""

    def remove_partials(self) -> None:
        """Remove what dead operations left half written; only under the lock."""
