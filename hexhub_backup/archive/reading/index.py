"""What a reader learns of an archive, in an SQLite file, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import HOLD, Format, private_errors
from hexhub_backup.archive.records import Key
from hexhub_backup.marking import marked

# `place` is what a member or directory has for itself; null where that is its name, as of the files
# of releases. `rows` are as they stand in the archive. `records` numbers those that count, in byte
# order of the key; `key` is its fields with a NUL between, which no field can hold and sorts before
# all. `docs` says whether the row says that it has docs, `at` is the time of `Kind.newest` in
# microseconds, of rows that share a key. `sums` is empty where SHA256SUMS is known to be right.
# `files` are the members of the releases; null are those that should be there. What follows is not
# needed of an archive whose files are in the order of its releases: `expected` are the names that
# the files of a release may have. What is only in archives of HexHub's: `left_out` are records of
# which a row has a fault (`joined` is the key as `rows` has it), `left_out_files` the names that
# their files may have; `unsafe` are names of files that no record may have; `flat` are files that
# have another name than releases have for them, null where it is not known whose they are.
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE members (
    n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, place TEXT, type TEXT NOT NULL,
    offset INTEGER NOT NULL, size INTEGER NOT NULL, sha256 TEXT
);
CREATE UNIQUE INDEX members_by_place ON members (place) WHERE place IS NOT NULL;
CREATE TABLE directories (place TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE sums (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE rows (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, row INTEGER NOT NULL,
    key BLOB NOT NULL, docs INTEGER NOT NULL, body TEXT NOT NULL, at INTEGER
);
CREATE TABLE records (
    kind INTEGER, n INTEGER, id INTEGER NOT NULL, PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE files (type TEXT, n INTEGER, member INTEGER, PRIMARY KEY (type, n)) WITHOUT ROWID;
CREATE TABLE expected (
    type TEXT, n INTEGER, member TEXT, expected INTEGER NOT NULL, flat TEXT, PRIMARY KEY (type, n)
) WITHOUT ROWID;
CREATE INDEX expected_by_member ON expected (member);
CREATE TABLE left_out (
    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, key TEXT NOT NULL, joined BLOB NOT NULL,
    reason TEXT NOT NULL, rows INTEGER NOT NULL, UNIQUE (kind, joined)
);
CREATE TABLE left_out_files (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE unsafe (name TEXT PRIMARY KEY, why TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE fits (name TEXT PRIMARY KEY, member TEXT, releases INTEGER) WITHOUT ROWID;
CREATE TABLE flat (member TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID;
"""
_FORMAT = Format(
    name=marked("index of an archive"),
    version=2,
    oldest=2,
    fix=marked("inspect the archive again"),
    schema=_SCHEMA,
)


class Index:
    """The SQLite file. Made in one go and thrown away when something fails, it needs no journal;
    the fact `complete` is the last that is written."""

    def __init__(self, path: Path, *, make: bool) -> None:
        """Raises BackupError where the file can't be made or opened, VersionError where it is of
        another version."""
        if make:
            path.unlink(missing_ok=True)
            self._connection = _FORMAT.make(path)
            with private_errors():
                # What is written is looked at in between: one transaction looks at the locks once.
                self._connection.execute("BEGIN EXCLUSIVE")
        else:
            self._connection = _FORMAT.open(path)

    def close(self) -> None:
        self._connection.close()

    def complete(self) -> None:
        """Keep what was written, for whoever opens the index. Without it all of that is lost."""
        self.remember(complete=True)
        with private_errors():
            self._connection.execute("COMMIT")
            self._connection.executescript(HOLD)

    def query(self, sql: str, *parameters: Any) -> Iterator[tuple[Any, ...]]:
        """The rows, streamed."""
        with private_errors():
            rows = self._connection.execute(sql, parameters)
            # The cursor itself would be closed with this generator, which may be thrown away
            # after the connection was closed.
            yield from iter(rows.fetchone, None)

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        """The first row, or None."""
        with private_errors():
            row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
            return row

    def number(self, sql: str, *parameters: Any) -> int:
        """The one number of a query such as a count."""
        row = self.one(sql, *parameters)
        return 0 if row is None else int(row[0] or 0)

    def load(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Run the statement for each of the rows, streamed. A sqlite3.IntegrityError is raised
        as it is: it says that a row is there already."""
        with private_errors():
            self._connection.executemany(sql, rows)

    def fact(self, name: str) -> Any:
        row = self.one("SELECT value FROM facts WHERE name = ?", name)
        return None if row is None else row[0]

    def remember(self, **facts: Any) -> None:
        self.load("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", facts.items())


def key_of(key: bytes) -> Key:
    """The fields of a key as `rows` has it."""
    return tuple(key.decode().split("\0"))
