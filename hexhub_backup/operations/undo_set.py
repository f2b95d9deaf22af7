"""What a restore replaced, and the keys of what it created: enough to undo it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import made, opened, private_errors
from hexhub_backup.archive.records import RELEASES, Kind, Record, ReleaseFile
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.errors import BackupError
from hexhub_backup.operations.plan import FileAction, PlannedFile
from hexhub_backup.registry.base import Action

# `left` is the record that the restore wrote, `before` the fields that it overwrote. `tag` is that
# of the file which the restore stored; on a second line follows that of the file which was kept.
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
_FOR_UNDO = """
CREATE TEMP TABLE spared (
  kind TEXT, n INTEGER, gone INTEGER, PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TEMP TABLE looks (
  type TEXT, n INTEGER, tag TEXT, code TEXT, message TEXT, PRIMARY KEY (type, n)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class LeftFile:
    """A file that the restore stored for release `n`: its `tag`, and that of the file which was
    kept for it, None where it replaced none."""

    n: int
    file: ReleaseFile
    action: FileAction
    tag: str
    kept: str | None


@dataclass(frozen=True)
class Look:
    """What became of a file that the restore stored. `tag`: it is as it was left, and has this
    tag now. `code` and `message`: why it stays. Neither: it is gone, and was not there before."""

    tag: str | None = None
    code: str | None = None
    message: str | None = None


class UndoSet:
    """The undo set of one restore, in a file; memory does not grow with it. It holds password
    hashes: only its owner can read it. Raises SpaceError and BackupError where it can't be used.

    `spared` are records that an undo leaves as they are, `looks` what it finds of the files; both
    are forgotten when it is closed.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self._path = path
        self._database = made(path, f"{_SCHEMA} BEGIN") if make else opened(path, _FOR_UNDO)

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

    def add_file(self, planned: PlannedFile, tag: str, kept: str | None) -> None:
        """A file that was staged, and the tag of the one that was kept; both sealed."""
        file = planned.file
        tags = tag if kept is None else f"{tag}\n{kept}"
        row = (file.type, planned.n, file.package, file.version, planned.action, tags)
        self._fill("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)", iter([row]))

    def placed(self) -> Iterator[tuple[ReleaseFile, str]]:
        """The files that are placed where there was none, with their tags."""
        for left in self._files("action = 'place' ORDER BY type, n"):
            yield left.file, left.tag

    def kept(self, planned: PlannedFile) -> str:
        """The tag of the file that was kept for another."""
        (left,) = self._files("type = ? AND n = ?", planned.file.type, planned.n)
        return left.kept or ""

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

    def spare(self, kind: Kind, numbers: Iterable[int], *, gone: bool = False) -> None:
        """Leave records as they are, with their files; those of rows that are `gone` go."""
        rows = ((kind.name, n, gone) for n in numbers)
        self._fill("INSERT OR IGNORE INTO spared VALUES (?, ?, ?)", rows)

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

    def files(self) -> Iterator[LeftFile]:
        """All files that the restore stored."""
        return self._files("1 ORDER BY n, type")

    def add_look(self, left: LeftFile, look: Look) -> None:
        row = (left.file.type, left.n, look.tag, look.code, look.message)
        self._fill("INSERT INTO looks VALUES (?, ?, ?, ?, ?)", iter([row]))

    def looks(self) -> Iterator[tuple[LeftFile, Look]]:
        """What was found of the files of releases that were not spared."""
        rows = self._database.execute(
            "SELECT files.n, type, package, version, action, files.tag, looks.tag, code, message "
            "FROM files JOIN looks USING (type, n) "
            "WHERE files.n NOT IN (SELECT n FROM spared WHERE kind = ? AND NOT gone) "
            "ORDER BY files.n, type",
            (RELEASES.name,),
        )
        for row in rows:
            yield _left_file(row[:6]), Look(*row[6:])

    def undone_files(self) -> Iterator[tuple[LeftFile, str]]:
        """The files that an undo removes or replaces, each with the tag that it has now."""
        for left, look in self.looks():
            if look.tag is not None:
                yield left, look.tag

    def _files(self, where: str, *values: Any) -> Iterator[LeftFile]:
        rows = self._database.execute(
            f"SELECT n, type, package, version, action, tag FROM files WHERE {where}",  # noqa: S608 (conditions of this class)
            values,
        )
        yield from map(_left_file, rows)

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

    def decided(self, n: int) -> Record | None:
        """The release as an undo leaves it: None where it is gone, and without a field where the
        restore has not written its row."""
        query = "SELECT action, before FROM records WHERE kind = ? AND n = ?"
        row = self._database.execute(query, (RELEASES.name, n)).fetchone()
        if row is None:
            return {}
        action, before = row
        return None if action == "create" else json.loads(before)


def placed_by(path: Path) -> Iterator[tuple[ReleaseFile, str]]:
    """What the restore of this undo set may have placed. Without a set that can be read that is
    nothing: it was whole before a file was placed."""
    try:
        with closing(UndoSet(path)) as undo, private_errors():
            yield from undo.placed()
    except BackupError:
        return


def _left_file(row: tuple[Any, ...]) -> LeftFile:
    n, file_type, package, version, action, tags = row
    tag, _, kept = tags.partition("\n")
    return LeftFile(n, ReleaseFile(file_type, package, version), action, tag, kept or None)
