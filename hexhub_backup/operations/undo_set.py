"""What a restore replaced, and the keys of what it created: enough to undo it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import made, opened, private_errors
from hexhub_backup.archive.records import RELEASES, FileType, Kind, Record, ReleaseFile
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.operations.plan import FileAction, PlannedFile
from hexhub_backup.registry.base import Action

# `left` is the record that the restore wrote, `before` the fields that it overwrote. `tag` is that
# of the file which the restore stored.
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE records (
  kind TEXT NOT NULL, n INTEGER NOT NULL, action TEXT NOT NULL, left TEXT NOT NULL, before TEXT,
  PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE files (
  type TEXT NOT NULL, n INTEGER NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL,
  action TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (type, n)
) WITHOUT ROWID;
"""
_SPARED = "CREATE TEMP TABLE spared (kind TEXT, n INTEGER, PRIMARY KEY (kind, n)) WITHOUT ROWID"


class UndoSet:
    """The undo set of one restore, in a file; memory does not grow with it. It holds password
    hashes: only its owner can read it. Raises SpaceError and BackupError where it can't be used.

    `spared` are records that an undo leaves as they are; they are forgotten when it is closed.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self._path = path
        self._database = made(path, f"{_SCHEMA} BEGIN") if make else opened(path, _SPARED)

    def close(self) -> None:
        self._database.close()

    # made by the restore

    def add_left(self, kind: Kind, rows: Iterable[tuple[int, Action, Record]]) -> None:
        """The records that are going to be written, with what is done to their rows."""
        self._fill(
            "INSERT INTO records VALUES (?, ?, ?, ?, NULL)",
            ((kind.name, n, action, json.dumps(record)) for n, action, record in rows),
        )

    def add_before(self, kind: Kind, rows: Iterable[tuple[int, Record | None]]) -> None:
        """What the rows to be overwritten hold now."""
        self._fill(
            "UPDATE records SET before = ? WHERE kind = ? AND n = ?",
            ((None if row is None else json.dumps(row), kind.name, n) for n, row in rows),
        )

    def add_file(self, planned: PlannedFile, tag: str) -> None:
        file = planned.file
        row = (file.type, planned.n, file.package, file.version, planned.action, tag)
        self._fill("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)", iter([row]))

    def flush(self) -> None:
        """Make what was added survive a power loss: later there is less to wait for."""
        with private_errors():
            self._database.execute("COMMIT")
            sync_file(self._path)
            self._database.execute("BEGIN")

    def complete(self, about: Mapping[str, Any]) -> None:
        """Say what it is about, and make all of it survive: what is decided next can be undone."""
        rows = ((key, json.dumps(value)) for key, value in about.items())
        self._fill("INSERT INTO about VALUES (?, ?)", rows)
        self.flush()
        sync_directory(self._path.parent)

    def _fill(self, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
        with private_errors():
            self._database.executemany(statement, rows)

    # read by the undo

    @property
    def about(self) -> dict[str, Any]:
        """`protected` (whether it was granted) and `actor`."""
        rows = self._database.execute("SELECT key, value FROM about")
        return {key: json.loads(value) for key, value in rows}

    def count(self, kind: Kind) -> int:
        query = "SELECT count(*) FROM records WHERE kind = ?"
        return int(self._database.execute(query, (kind.name,)).fetchone()[0])

    def left(self, kind: Kind) -> Iterator[tuple[int, Record, Action]]:
        """The records that the restore wrote, in order of n."""
        query = "SELECT n, left, action FROM records WHERE kind = ? ORDER BY n"
        for n, left, action in self._database.execute(query, (kind.name,)):
            yield n, json.loads(left), action

    def before(self, kind: Kind) -> Iterator[tuple[int, Record]]:
        """What it overwrote, where that could be kept."""
        query = "SELECT n, before FROM records WHERE kind = ? AND before IS NOT NULL ORDER BY n"
        for n, before in self._database.execute(query, (kind.name,)):
            yield n, json.loads(before)

    def spare(self, kind: Kind, numbers: Iterable[int]) -> None:
        rows = ((kind.name, n) for n in numbers)
        self._fill("INSERT OR IGNORE INTO spared VALUES (?, ?)", rows)

    def undone(self, kind: Kind) -> Iterator[tuple[int, Action, Record, Record | None]]:
        """`n`, what the restore did, the record it left and the one before it, of each record
        that was not spared."""
        rows = self._database.execute(
            "SELECT n, action, left, before FROM records WHERE kind = ? "
            "AND n NOT IN (SELECT n FROM spared WHERE kind = records.kind) ORDER BY n",
            (kind.name,),
        )
        for n, action, left, before in rows:
            yield n, action, json.loads(left), None if before is None else json.loads(before)

    def files(self, *actions: FileAction) -> Iterator[tuple[int, ReleaseFile, FileAction, str]]:
        """`n`, file, action and tag of the files of releases that were not spared."""
        rows = self._database.execute(
            "SELECT type, n, package, version, action, tag FROM files "
            "WHERE n NOT IN (SELECT n FROM spared WHERE kind = ?) ORDER BY n, type",
            (RELEASES.name,),
        )
        for file_type, n, package, version, action, tag in rows:
            if not actions or action in actions:
                kind: FileType = file_type
                yield n, ReleaseFile(kind, package, version), action, tag

    def not_kept(self, kind: Kind) -> Iterator[tuple[int, Record]]:
        """The records that the restore left where it could not keep what was before."""
        query = (
            "SELECT n, left FROM records WHERE kind = ? AND action = 'overwrite' "
            "AND before IS NULL ORDER BY n"
        )
        for n, left in self._database.execute(query, (kind.name,)):
            yield n, json.loads(left)

    def is_spared(self, kind: Kind, n: int) -> bool:
        query = "SELECT 1 FROM spared WHERE kind = ? AND n = ?"
        return self._database.execute(query, (kind.name, n)).fetchone() is not None

    def before_of(self, kind: Kind, n: int) -> Record | None:
        """What was before a record; None where there was none."""
        query = "SELECT before FROM records WHERE kind = ? AND n = ?"
        row = self._database.execute(query, (kind.name, n)).fetchone()
        return None if row is None or row[0] is None else json.loads(row[0])
