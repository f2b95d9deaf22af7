"""The backup directory: what lies where in it, and who is using an archive just now."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path

from hexhub_backup.errors import BusyError, NotFoundError, SettingError
from hexhub_backup.history import locking

_ARCHIVE = re.compile(r"hexhub-backup-([0-9A-Za-z][0-9A-Za-z-]{0,39})\.tar")
#: No ids of backups: the pages have these addresses.
RESERVED_IDS = frozenset({"new", "operations", "plans", "restore", "static"})
_FOLDERS = ("operations", "plans", "running", "undo", "uploads")


def new_id() -> str:
    """An id that sorts by time and that nobody can guess into use twice:
    `20260131-103000-9f3ac1`."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _id_of(archive: Path) -> str | None:
    match = _ARCHIVE.fullmatch(archive.name)
    return None if match is None or match[1] in RESERVED_IDS else match[1]


class BackupDirectory:
    """`HEXHUB_BACKUP_PATH`. Archives hold password hashes: everything in it is for the owner
    of the process only.

    - `hexhub-backup-{id}.tar`, and `….tar.part` while it is written
    - `operations/{id}.jsonl`: the kept events, `….changed`: the names of what it changed,
      `….refused`: what the database refused of it, `….stop`: a wish to cancel
    - `plans/{id}/`: the index of an inspected archive, and the plan
    - `running/{id}`: leads to the events of an operation that runs
    - `undo/{id}.sqlite`: what it takes to undo a restore
    - `uploads/{id}.tar`: an archive that came by the pages, and `….part` while it comes
    - `work-…/`: what a create or a recovery needs for itself
    - `lock`: who is at work; `tables.lock`: who makes our tables
    """

    def __init__(self, path: Path) -> None:
        self.path = path

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

    def archive(self, backup: str) -> Path:
        return self.path / f"hexhub-backup-{backup}.tar"

    def partial(self, backup: str) -> Path:
        return self.path / f"hexhub-backup-{backup}.tar.part"

    def events(self, operation: str) -> Path:
        return self.path / "operations" / f"{operation}.jsonl"

    def changed(self, operation: str) -> Path:
        return self.path / "operations" / f"{operation}.changed"

    def refused(self, operation: str) -> Path:
        return self.path / "operations" / f"{operation}.refused"

    def stop_wish(self, operation: str) -> Path:
        return self.path / "operations" / f"{operation}.stop"

    @contextmanager
    def running(self, operation: str) -> Iterator[None]:
        """Let `is_running` say so. Its events are locked by now, until it ends or its process
        dies. Raises OSError."""
        mark = self.path / "running" / operation
        mark.symlink_to(Path("..", "operations", self.events(operation).name))
        try:
            yield
        finally:
            # One that stays is found to be dead.
            with suppress(OSError):
                mark.unlink()

    def is_running(self) -> bool:
        """Whether an operation runs, in whichever process. Asks no database. Raises OSError."""
        for mark in self.path.joinpath("running").glob("*"):
            if locking.is_held(mark):
                return True
            mark.unlink(missing_ok=True)
        return False

    def plan(self, operation: str) -> Path:
        return self.path / "plans" / operation

    def undo_set(self, operation: str) -> Path:
        return self.path / "undo" / f"{operation}.sqlite"

    def undo_sets(self) -> Iterator[str]:
        """The operations that have an undo set."""
        yield from (entry.stem for entry in sorted(self.path.joinpath("undo").glob("*.sqlite")))

    def upload(self, upload: str) -> Path:
        return self.path / "uploads" / f"{upload}.tar"

    def partial_upload(self, upload: str) -> Path:
        return self.path / "uploads" / f"{upload}.part"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def tables_lock(self) -> Path:
        return self.path / "tables.lock"

    def archives(self) -> Iterator[str]:
        """The ids of the archives that are there."""
        for entry in sorted(self.path.glob("hexhub-backup-*.tar")):
            if (backup := _id_of(entry)) is not None and entry.is_file():
                yield backup

    def misnamed(self) -> Iterator[str]:
        """The names of archives that give no id of a backup."""
        for entry in sorted(self.path.glob("hexhub-backup-*.tar")):
            if _id_of(entry) is None:
                yield entry.name

    def remove_partials(self) -> None:
        """Remove what dead operations left half written; only under the lock."""
        for entry in self.path.glob("hexhub-backup-*.tar.part"):
            entry.unlink(missing_ok=True)
        for folder in self.path.glob("work-*"):
            shutil.rmtree(folder)

    def remove_operation(self, operation: str) -> None:
        """Remove the events, the names, the plan and the undo set of an operation."""
        for of in (self.events, self.changed, self.refused, self.undo_set, self.stop_wish):
            of(operation).unlink(missing_ok=True)
        self.remove_plan(operation)

    def remove_plan(self, operation: str) -> None:
        with suppress(FileNotFoundError):
            shutil.rmtree(self.plan(operation))

    def plans(self) -> list[str]:
        """The inspections whose plan is there."""
        return sorted(entry.name for entry in self.path.joinpath("plans").iterdir())

    def is_upload(self, path: Path) -> bool:
        """Whether a path is that of an upload, there or not."""
        return path.parent == self.path / "uploads"

    def remove_upload(self, path: Path | str | None) -> None:
        """Remove a file that was uploaded; no other."""
        if path is not None and self.is_upload(Path(path)):
            Path(path).unlink(missing_ok=True)

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
    def using(self, archive: Path, *, alone: bool = False) -> Iterator[int]:
        """Hold an archive, so that it is not deleted meanwhile; `alone` in order to delete it.
        Gives a descriptor that reads it.

        The lock is the kernel's and dies with its holder. Raises NotFoundError, BusyError.
        """
        try:
            descriptor = locking.open_to_lock(archive, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(f"There is no file {archive}.") from error
        try:
            try:
                locking.lock(descriptor, shared=not alone)
            except BlockingIOError as error:
                raise BusyError(f"{archive} is in use just now: try again later.") from error
            yield descriptor
        finally:
            locking.close(descriptor)
