"""SQLite files of our own beside the backups: made in one go, then only read.

The index of an archive, a plan, an undo set: they hold what does not fit in memory. Each is of a
`Format`, which has a version: a release never reads a file that it does not know how to read.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexhub_backup.errors import BackupError, SpaceError, VersionError
from hexhub_backup.marking import marked

#: Begin to read: one look at the file's locks, rather than one for each of many small queries.
HOLD = "BEGIN; PRAGMA schema_version;"


class DamagedError(BackupError):
    """An unexpected error; the host's log has it.

    One of these files is damaged, or was not written to its end: it never can be read.
    """


class OutdatedError(VersionError):
    """Our tables, a plan, an index or an undo set of a version that this release can't read.

    It is of an older release, or was never written to its end.
    """


@dataclass(frozen=True, kw_only=True)
class Format:
    """One kind of these files. Its version is the `user_version` of the SQLite file, which is 0
    in files that were made before they had one."""

    #: What it is, in messages.
    name: str
    #: The version that is written, and the oldest that is read.
    version: int
    oldest: int
    #: What to do about a file of another version.
    fix: str
    #: The script that makes the tables of `version`.
    schema: str

    def make(self, path: Path, script: str = "") -> sqlite3.Connection:
        """A new file, that only its owner can read; `script` is run first.

        It is thrown away when something fails before it is done, and needs no journal. Raises
        OSError, SpaceError, BackupError.
        """
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        script = f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {script}"
        return _connected(path, "rw", f"{script} PRAGMA user_version={self.version}; {self.schema}")

    def open_with_about(self, path: Path) -> tuple[sqlite3.Connection, dict[str, Any]]:
        """The same as `open`, for reading, and what its table `about` says: values as JSON."""
        connection = self.open(path)
        try:
            with private_errors():
                rows = connection.execute("SELECT key, value FROM about").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection, {key: json.loads(value) for key, value in rows}

    def open(self, path: Path, script: str = "", *, mode: str = "ro") -> sqlite3.Connection:
        """A file that was made, to be read; `script` is run first. With the mode `rw` a change is
        taken back in whose middle its process died. Raises VersionError where this release does
        not read it, BackupError."""
        connection = _connected(path, mode)
        try:
            with private_errors():
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                self._check_version(path, version)
                connection.executescript(f"{HOLD} {script}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_version(self, path: Path, version: int) -> None:
        if self.oldest <= version <= self.version:
            return
        known = marked(f"version {self.version}")
        if self.oldest < self.version:
            known = marked(f"versions {self.oldest} to {self.version}")
        raised = OutdatedError if version < self.oldest else VersionError
        raise raised(
            marked(
                f"The {self.name} in {path} is of version {version}, and this release reads "
                f"{known}: {self.fix}."
            )
        )


def _connected(path: Path, mode: str, script: str = "") -> sqlite3.Connection:
    with private_errors():
        address = f"{path.resolve().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, isolation_level=None)
        try:
            connection.executescript(f"PRAGMA temp_store=FILE; {script}")
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def private_errors() -> Iterator[None]:
    """Translate the errors of these files; all others pass through."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        if "full" in str(error):
            raise SpaceError(
                "The disk of the backup directory is full: make room there, then try again."
            ) from None
        # Not its message, which may hold a value: these files hold password hashes.
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        damaged = type(error) is sqlite3.DatabaseError or "no such table" in str(error)
        raised = DamagedError if damaged else BackupError
        raise raised(marked(f"A file in the backup directory can not be used: {name}.")) from None
