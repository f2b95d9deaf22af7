"""What a restore replaced, and the keys of what it created: enough to undo it."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import DamagedError, Format, private_errors
from hexhub_backup.archive.records import RELEASES, Kind, Record, ReleaseFile
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.marking import marked
from hexhub_backup.operations.decisions import JournalEntry
from hexhub_backup.operations.planned import FileAction, PlannedFile
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
_FORMAT = Format(
    name=marked("undo set"),
    version=1,
    # Version 1 has the tables of version 0.
    oldest=0,
    fix=marked("undo the restore with the release that made it, or a newer one"),
    schema=_SCHEMA,
)
_INSERT_FILE = """
INSERT INTO files (type, package, version, n, action, tag) VALUES (?, ?, ?, ?, ?, ?)
"""
_PLACED = "SELECT type, package, version, tag FROM files WHERE action = 'place'"
# Whether the restore creates the release of a file.
_IS_NEW = """ AND :new = EXISTS (
  SELECT 1 FROM records WHERE kind = :kind AND records.n = files.n AND records.action = 'create'
)"""
_FILES = "SELECT files.n, type, package, version, action, files.tag FROM files"
_UNDONE = """
FROM records WHERE kind = ? AND n NOT IN (SELECT n FROM spared WHERE kind = records.kind)
"""
# All of them are of releases that were not spared.
_LOOKS = """
SELECT n, type, package, version, tag, code FROM looks
WHERE n NOT IN (SELECT n FROM spared WHERE kind = :kind AND NOT gone) AND {} ORDER BY n, type
"""
_LOST, _SEEN = _LOOKS.format("code IS NOT NULL"), _LOOKS.format("code IS NULL")
_UNDONE_FILES = """
FROM looks WHERE n NOT IN (SELECT n FROM spared WHERE kind = :kind AND NOT gone)
AND tag IS NOT NULL
"""
_JOURNAL = """
SELECT looks.n, looks.action, type, package, version, tag, records.action, before FROM looks
LEFT JOIN records ON records.kind = :kind AND records.n = looks.n
WHERE tag IS NOT NULL ORDER BY looks.n, type
"""
_SPARE = """
INSERT INTO spared (kind, n, gone) VALUES (?, ?, ?)
ON CONFLICT (kind, n) DO UPDATE SET gone = min(gone, excluded.gone)
"""
_FOR_UNDO = """
CREATE TEMP TABLE spared (
  kind TEXT, n INTEGER, gone INTEGER, PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TEMP TABLE looks (
  n INTEGER, type TEXT, package TEXT, version TEXT, action TEXT, tag TEXT, code TEXT,
  PRIMARY KEY (n, type)
) WITHOUT ROWID;
"""
_ADD_LOOK = """
INSERT INTO looks (n, type, package, version, action, tag, code) VALUES (?, ?, ?, ?, ?, ?, ?)
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

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> LeftFile:
        tag, _, kept = row["tag"].partition("\n")
        return cls(
            n=row["n"],
            file=ReleaseFile(row["type"], row["package"], row["version"]),
            action=row["action"],
            tag=tag,
            kept=kept or None,
        )


@dataclass(frozen=True)
class Look:
    """What became of a file that the restore stored. `tag`: it is as it was left, and has this
    tag now. `code`: why it stays. Neither: it is gone, and was not there before."""

    tag: str | None = None
    code: str | None = None


class UndoSet:
    """The undo set of one restore, in a file; memory does not grow with it. It holds password
    hashes: only its owner can read it. Raises SpaceError and BackupError where it can't be used.

    `spared` are records that an undo leaves as they are, `looks` what it finds of the files; both
    are forgotten when it is closed.
    """

    def __init__(self, path: Path, *, make: bool = False, mode: str = "ro") -> None:
        """`mode` is that of `Format.open`."""
        self._path = path
        if make:
            self._database = _FORMAT.make(path)
            self._database.execute("BEGIN")
        else:
            self._database = _FORMAT.open(path, _FOR_UNDO, mode=mode)
        self._database.row_factory = sqlite3.Row

    def close(self) -> None:
        self._database.close()

    # made by the restore

    def add_left(self, kind: Kind, rows: Iterable[tuple[int, Action, str]]) -> None:
        """The records that are going to be written, as JSON, with what is done to their rows."""
        self._fill(
            "INSERT INTO records (kind, n, action, left) VALUES (?, ?, ?, ?)",
            ((kind.name, n, action, body) for n, action, body in rows),
        )

    def add_before(self, kind: Kind, rows: Iterable[tuple[int, Record | None]]) -> None:
        """What the rows to be overwritten hold now."""
        self._fill(
            "UPDATE records SET before = ? WHERE kind = ? AND n = ?",
            ((None if row is None else json.dumps(row), kind.name, n) for n, row in rows),
        )

    def add_files(self, staged: Iterable[tuple[PlannedFile, str, str | None]]) -> None:
        """Files that were staged, each with its tag and that of the one that was kept; both
        sealed."""
        rows = (
            (*each.file, each.n, each.action, tag if kept is None else f"{tag}\n{kept}")
            for each, tag, kept in staged
        )
        self._fill(_INSERT_FILE, rows)

    def placed(self, *, new: bool | None = None) -> Iterator[tuple[ReleaseFile, str]]:
        """The files that are placed where there was none, with their tags: all, or only those of
        releases that are `new`, or that have a row already."""
        query = _PLACED + ("" if new is None else _IS_NEW) + " ORDER BY type, n"
        values = {"new": new, "kind": RELEASES.name}
        for file_type, package, version, tag in self._database.execute(query, values):
            yield ReleaseFile(file_type, package, version), tag

    def replaced(self) -> Iterator[LeftFile]:
        """The files that replace another, in order of n."""
        return self._files(_FILES + " WHERE action = 'replace' ORDER BY n, type")

    def list_placed(self, about: Mapping[str, Any]) -> None:
        """Say what it is about, and make what was added survive a power loss: what is placed from
        now on can be taken back. What is added later comes in wholly, or not at all."""
        rows = ((key, json.dumps(value)) for key, value in about.items())
        self._fill("INSERT INTO about (key, value) VALUES (?, ?)", rows)
        with private_errors():
            self._database.execute("COMMIT")
        sync_file(self._path)
        sync_directory(self._path.parent)
        with private_errors():
            self._database.executescript(
                "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA; BEGIN"
            )

    def complete(self) -> None:
        """Make all of it survive a power loss: what is decided next can be undone."""
        with private_errors():
            self._database.execute("COMMIT")

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
        """How many records the restore wrote."""
        query = "SELECT count(*) FROM records WHERE kind = ?"
        return int(self._database.execute(query, (kind.name,)).fetchone()[0])

    def left(self, kind: Kind) -> Iterator[tuple[int, Record, Action]]:
        """The records that the restore wrote, in order of n."""
        query = "SELECT n, left, action FROM records WHERE kind = ? ORDER BY n"
        for n, left, action in self._database.execute(query, (kind.name,)):
            yield n, json.loads(left), action

    def actions(self, kind: Kind) -> Iterator[tuple[int, Action]]:
        """What the restore did to the row of each record, in order of n."""
        query = "SELECT n, action FROM records WHERE kind = ? ORDER BY n"
        yield from iter(self._database.execute(query, (kind.name,)).fetchone, None)

    def before(self, kind: Kind) -> Iterator[tuple[int, Record]]:
        """What it overwrote, where that could be kept."""
        query = "SELECT n, before FROM records WHERE kind = ? AND before IS NOT NULL ORDER BY n"
        for n, before in self._database.execute(query, (kind.name,)):
            yield n, json.loads(before)

    def spare(self, kind: Kind, numbers: Iterable[int], *, gone: bool = False) -> None:
        """Leave records as they are, with their files; those of rows that are `gone` go, unless
        one of these is left for a reason of its own."""
        rows = ((kind.name, n, gone) for n in numbers)
        self._fill(_SPARE, rows)

    def undone(self, kind: Kind) -> Counter[Action]:
        """To how many of the records that were not spared the restore did what."""
        query = f"SELECT action, count(*) {_UNDONE} GROUP BY action"
        return Counter(dict(map(tuple, self._database.execute(query, (kind.name,)))))

    def undone_roots(self, kind: Kind) -> Iterator[str]:
        """The names of the roots of the records that were not spared (`Kind.root`)."""
        query = f"SELECT DISTINCT json_extract(left, '$.{kind.key[0]}') {_UNDONE}"
        for (name,) in self._database.execute(query, (kind.name,)):
            yield name

    def brought_back(self, kind: Kind) -> Iterator[tuple[Record, Record]]:
        """The record that the restore left and the one before it, of each that was not spared."""
        query = f"SELECT left, before {_UNDONE} AND before IS NOT NULL"
        for left, before in self._database.execute(query, (kind.name,)):
            yield json.loads(left), json.loads(before)

    def files(self) -> Iterator[LeftFile]:
        """All files that the restore stored."""
        return self._files(_FILES + " ORDER BY n, type")

    def add_looks(self, looks: Iterable[tuple[LeftFile, Look]]) -> None:
        """With all that is asked of a file later, while others wait."""
        rows = ((left.n, *left.file, left.action, look.tag, look.code) for left, look in looks)
        self._fill(_ADD_LOOK, rows)

    def lost(self) -> Iterator[tuple[int, ReleaseFile, str]]:
        """The files that stay, each with its release and the reason; of releases that were not
        spared."""
        for n, *file, _, code in self._database.execute(_LOST, {"kind": RELEASES.name}):
            yield n, ReleaseFile(*file), code

    def seen(self) -> Iterator[tuple[int, ReleaseFile, str | None]]:
        """The others of these releases, each with the tag that it has, None where it is gone."""
        rows = self._database.execute(_SEEN, {"kind": RELEASES.name})
        for n, file_type, package, version, tag, _ in rows:
            yield n, ReleaseFile(file_type, package, version), tag

    def undone_files(self) -> Counter[FileAction]:
        """How many files an undo removes or replaces, by what the restore did."""
        query = f"SELECT action, count(*) {_UNDONE_FILES} GROUP BY action"
        rows = self._database.execute(query, {"kind": RELEASES.name})
        return Counter(dict(map(tuple, rows)))

    def undone_packages(self) -> Iterator[str]:
        """The packages that they are of."""
        query = f"SELECT DISTINCT package {_UNDONE_FILES}"
        for (package,) in self._database.execute(query, {"kind": RELEASES.name}):
            yield package

    def journal(self) -> Iterator[tuple[int, JournalEntry]]:
        """What an undo does to each of the files that are as they were left, if no record is
        spared; each with the number of its release."""
        rows = self._database.execute(_JOURNAL, {"kind": RELEASES.name})
        for n, stored, file_type, package, version, tag, did, before in rows:
            # What could not be kept is spared.
            record = {} if did is None else None if before is None else json.loads(before)
            file = ReleaseFile(file_type, package, version)
            yield n, JournalEntry(file, "remove" if stored == "place" else "replace", tag, record)

    def spared_releases(self) -> Iterator[int]:
        """The numbers of the releases whose files stay."""
        query = "SELECT n FROM spared WHERE kind = ? AND NOT gone"
        for (n,) in self._database.execute(query, (RELEASES.name,)):
            yield n

    def _files(self, query: str) -> Iterator[LeftFile]:
        return map(LeftFile.of_row, self._database.execute(query))

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


def placed_by(path: Path) -> Iterator[tuple[ReleaseFile, str]]:
    """What the restore of this undo set may have placed. That is nothing without a set, or with one
    that was not written to its end: it lists all of it before a file is placed.

    Raises VersionError, and SpaceError and BackupError where it can't be read just now.
    """
    if not path.exists():
        return
    try:
        with closing(UndoSet(path, mode="rw")) as undo, private_errors():
            yield from undo.placed()
    except DamagedError:
        return


def remove(path: Path) -> None:
    """Remove an undo set, and the journal that a dead process may have left beside it."""
    for each in (path.with_name(f"{path.name}-journal"), path):
        each.unlink(missing_ok=True)
