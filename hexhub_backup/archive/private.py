"""SQLite files of our own beside the backups: made in one go, then only read.

The index of an archive, a plan, an undo set: they hold what does not fit in memory.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hexhub_backup.errors import BackupError, SpaceError


def made(path: Path, schema: str) -> sqlite3.Connection:
    """A new file, that only its owner can read, on which the script `schema` was run.

    It is thrown away when something fails before it is done, and needs no journal. Raises
    OSError, SpaceError, BackupError.
    """
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    return _connected(path, "rw", f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {schema}")


def opened(path: Path, script: str = "") -> sqlite3.Connection:
    """A file that was made, to be read; `script` is run first. Raises BackupError."""
    # One look at the file's locks, rather than one for each of many small queries.
    return _connected(path, "ro", f"BEGIN; PRAGMA schema_version; {script}")


def _connected(path: Path, mode: str, script: str) -> sqlite3.Connection:
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
    """Give errors of these files their words; all others pass through."""
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
        raise BackupError(f"A file in the backup directory can not be used: {name}.") from None
