"""The backup directory: what lies where in it, and who is using an archive just now."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

from hexhub_backup.archive.source import FileSource
from hexhub_backup.coordination import locking
from hexhub_backup.depot import resumable
from hexhub_backup.depot.base import Stat, UploadInfo, What
from hexhub_backup.depot.local_kept import LocalKept, LocalPlan
from hexhub_backup.depot.names import id_of
from hexhub_backup.depot.new_file import NewFile, Upload
from hexhub_backup.depot.resumable import FileUpload, state_of
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.errors import BusyError, NotFoundError, SettingError
from hexhub_backup.marking import marked
from hexhub_backup.operations import undo_set

#: In the order in which they are removed.
_LEFT: tuple[What, ...] = ("changed", "refused", "findings", "undo_set", "plan")
_FOLDERS = ("contents", "operations", "plans", "running", "undo", "uploads")


class DirectoryDepot:
    """`HEXHUB_BACKUP_PATH`: the depot of one machine, or of several that share a disk. Archives
    hold password hashes: everything in it is for the owner of the process only.

    - `hexhub-backup-{id}.tar`, and `….tar.part` while it is written
    - `contents/{id}.sqlite`: what is in the archive of a backup
    - `operations/{id}.changed`: the names of what an operation changed, `….refused`: what the
      database refused of it, `….findings`: what a look at the registry has found
    - `plans/{id}/`: the index of an inspected archive, and the plan
    - `undo/{id}.sqlite`: what it takes to undo a restore
    - `uploads/{id}.tar`: an archive that came by the pages, `….part` while it comes, and `….json`
      as long as it can be resumed
    - `work-…/`: what a create or a recovery needs for itself
    """

    where = marked("on this server")
    advice = marked("Mount its disk, or let the app read it.")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.location = str(path)

    def prepare(self) -> None:
        """Make the directory. Raises SettingError where that can't be."""
        try:
            for folder in (self.path, *map(self.path.joinpath, _FOLDERS)):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingError(
                f"The backup directory {self.path} can't be made ({error.strerror}): let "
                "HEXHUB_BACKUP_PATH name a place that this process may write to."
            ) from error

    def trouble(self) -> str | None:
        """Why the directory can't be read: it is not there, its disk is not mounted or gives
        errors, or this process may not. None where it can."""
        try:
            with os.scandir(self.path) as entries:
                next(entries, None)
            # Who may list a directory may not look at what lies in it.
            (self.path / "lock").exists()
        except OSError as error:
            return marked(f"The backup directory {self.path} can't be read: {error.strerror}.")
        return None

    def archive(self, backup: str) -> Path:
        return self.path / f"hexhub-backup-{backup}.tar"

    def archive_name(self, backup: str) -> str:
        return str(self.archive(backup))

    def is_there(self, archive: str) -> bool:
        return Path(archive).exists()

    def finder(self, backups: Collection[str]) -> Callable[[str], bool]:
        return lambda backup: self.archive(backup).exists()

    def stat(self, archive: str) -> Stat:
        found = Path(archive).stat()
        return Stat(found.st_size, found.st_mtime)

    def source(self, archive: str) -> FileSource:
        return FileSource(Path(archive))

    def address(self, archive: str, file: str, seconds: int) -> str | None:
        """A file has none."""
        return None

    def new_archive(self, backup: str, about: int, work: Path) -> NewFile:
        archive = self.archive(backup)
        return NewFile(archive.with_name(f"{archive.name}.part"), archive)

    def was_published(self, backup: str) -> bool:
        """An archive has been checked and synced before it got its name."""
        return self.archive(backup).exists()

    def discard(self, backup: str) -> None:
        """What has no name yet goes with `remove_partials`."""

    def remove(self, archive: str) -> None:
        Path(archive).unlink(missing_ok=True)

    def kept(self, what: What, operation: str) -> LocalKept:
        if what == "plan":
            return LocalPlan(self.plan(operation))
        if what == "undo_set":
            return LocalKept(self.undo_set(operation), undo_set.remove)
        if what == "contents":
            return LocalKept(self.contents(operation))
        return LocalKept(self.path / "operations" / f"{operation}.{what}")

    def plan(self, operation: str) -> Path:
        return self.path / "plans" / operation

    def contents(self, backup: str) -> Path:
        return self.path / "contents" / f"{backup}.sqlite"

    def undo_set(self, operation: str) -> Path:
        return self.path / "undo" / f"{operation}.sqlite"

    def undo_sets(self) -> Iterator[str]:
        """The operations that have an undo set."""
        yield from (entry.stem for entry in sorted(self.path.joinpath("undo").glob("*.sqlite")))

    def upload(self, upload: str) -> Path:
        return self.path / "uploads" / f"{upload}.tar"

    def upload_name(self, upload: str) -> str:
        return str(self.upload(upload))

    def new_upload(self, upload: str) -> Upload:
        path = self.upload(upload)
        return Upload(path, partial=path.with_suffix(".part"))

    def new_resumable(self, upload: str, info: UploadInfo) -> None:
        resumable.begin(self.upload(upload), info)

    @contextmanager
    def resumable(self, upload: str, *, alone: bool) -> Iterator[FileUpload]:
        path = self.upload(upload)
        state = str(state_of(path))
        with (
            self.using(state, alone=True) if alone else self.source(state) as known,
            FileUpload(path, known) as found,
        ):
            yield found

    def new_work_file(self, operation: str) -> str:
        """It is an upload: it goes like one."""
        path = self.upload(operation)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        return str(path)

    def work_file(self, archive: str, _size: int) -> Upload:
        return Upload(Path(archive))

    def publish(self, upload: str, backup: str) -> None:
        path, archive = Path(upload), self.archive(backup)
        sync_file(path)
        if archive.exists():
            raise BusyError(f"The archive of backup {backup} is {self.where} by now.")
        try:
            path.rename(archive)
            sync_directory(archive.parent)
        except BaseException:
            archive.unlink(missing_ok=True)
            raise

    def archives(self) -> Iterator[str]:
        """The ids of the archives that are there."""
        for entry in sorted(self.path.glob("hexhub-backup-*.tar")):
            if (backup := id_of(entry.name)) is not None and entry.is_file():
                yield backup

    def changed_at(self) -> float | None:
        with suppress(OSError):
            return self.path.stat().st_mtime
        return None

    def misnamed(self) -> Iterator[str]:
        """The names of archives that give no id of a backup."""
        for entry in sorted(self.path.glob("hexhub-backup-*.tar")):
            if id_of(entry.name) is None:
                yield entry.name

    def found(self) -> list[str]:
        # Where the directory can't be read, `trouble` says so.
        with suppress(OSError), os.scandir(self.path) as entries:
            files = [each.name for each in entries if each.is_file(follow_symlinks=False)]
            tars = (name for name in files if name.endswith(".tar") and name.isprintable())
            return sorted(name for name in tars if id_of(name) is None)
        return []

    def found_archive(self, name: str) -> str:
        if name not in self.found():
            raise NotFoundError(f"There is no {name} in the backup directory.")
        return str(self.path / name)

    def remove_partials(self) -> None:
        """Remove what dead operations left half written; only under the lock."""
        for entry in self.path.glob("hexhub-backup-*.tar.part"):
            entry.unlink(missing_ok=True)
        for folder in self.path.glob("work-*"):
            shutil.rmtree(folder)

    def remove_operation(self, operation: str) -> None:
        """Remove the names, the plan and the undo set of an operation."""
        for what in _LEFT:
            self.kept(what, operation).remove()

    def plans(self) -> list[str]:
        """The inspections whose plan is there."""
        return sorted(entry.name for entry in self.path.joinpath("plans").iterdir())

    def is_upload(self, archive: str) -> bool:
        """Whether a path is that of an upload, there or not."""
        return Path(archive).parent == self.path / "uploads"

    def remove_upload(self, archive: str | None) -> None:
        """Remove a file that was uploaded; no other."""
        if archive is not None and self.is_upload(archive):
            Path(archive).unlink(missing_ok=True)

    def remove_uploads(self, now: datetime, stay: timedelta) -> None:
        """Remove the uploads that were last written so long ago, and are not in use. Where that
        is as far ahead, the clock was wrong then."""
        for entry in self.path.joinpath("uploads").iterdir():
            with suppress(FileNotFoundError, NotFoundError, BusyError):
                if abs(now.timestamp() - entry.stat().st_mtime) > stay.total_seconds():
                    with self.using(entry, alone=True):
                        entry.unlink()

    def free(self) -> int:
        """Bytes that can still be written."""
        return shutil.disk_usage(self.path).free

    def work(self) -> tempfile.TemporaryDirectory[str]:
        """A folder that goes with its use, or, where it can't then, with the next
        `remove_partials`: what was done in it has been done."""
        return tempfile.TemporaryDirectory(
            dir=self.path, prefix="work-", ignore_cleanup_errors=True
        )

    @contextmanager
    def using(self, archive: str | Path, *, alone: bool = False) -> Iterator[FileSource]:
        """The lock is the kernel's and dies with its holder."""
        path = Path(archive)
        try:
            descriptor = locking.open_to_lock(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"There is no file {archive}.") from error
        try:
            try:
                locking.lock(descriptor, shared=not alone)
            except BlockingIOError as error:
                raise BusyError(f"{archive} is in use just now: try again later.") from error
            yield FileSource(path, descriptor)
        finally:
            locking.close(descriptor)
