"""One look at a registry: its releases beside what backups know of their files, and what seems to
be wrong, in a file of its own, since not all of it fits in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.records import FILE_TYPES, RELEASES, FileType, Record, ReleaseFile
from hexhub_backup.archive.times import format_time, microseconds
from hexhub_backup.marking import marked
from hexhub_backup.operations.contents import Contents, joined_key, split_key
from hexhub_backup.operations.findings import CHANGED, MISSING, STRAY, UNFIT, Finding

# `release` is a key, its parts with a NUL between. `inserted` and `updated` are in microseconds,
# NULL where the row does not say. `known` says that a backup was found which has the release, or
# that none can; `package` and `docs` are the SHA-256 that it gives, NULL where the file is held
# against none. `names` are those of all files that belong to a row. `rank` is how well a backup
# serves to bring a file back, 0 best. `record` is there where package files are looked into.
_SCHEMA = """
CREATE TABLE releases (
  release TEXT PRIMARY KEY, says_docs INTEGER NOT NULL, inserted INTEGER, updated INTEGER,
  known INTEGER NOT NULL DEFAULT 0, package TEXT, docs TEXT, package_by TEXT, docs_by TEXT,
  record TEXT
) WITHOUT ROWID;
CREATE TABLE packages (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE names (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE suspects (
  release TEXT, type TEXT, found TEXT NOT NULL, stored TEXT, expected TEXT, known_by TEXT,
  backup TEXT, rank INTEGER NOT NULL DEFAULT 9, reason TEXT, PRIMARY KEY (release, type)
) WITHOUT ROWID;
CREATE TABLE strays (
  name TEXT PRIMARY KEY, release TEXT, type TEXT, expected TEXT, backup TEXT,
  rank INTEGER NOT NULL DEFAULT 9
) WITHOUT ROWID;
"""
_FORMAT = Format(
    name=marked("list of releases"),
    version=1,
    oldest=1,
    fix=marked("check the registry again"),
    schema=_SCHEMA,
)
_ADD = "INSERT INTO releases (release, says_docs, inserted, updated, record) VALUES (?, ?, ?, ?, ?)"
_UNKNOWN = """
SELECT release, updated FROM releases WHERE release > ? AND known = 0 ORDER BY release LIMIT ?
"""
_HOLD = """
UPDATE releases SET known = 1, package = ?, package_by = ?, docs = ?, docs_by = ? WHERE release = ?
"""
_DOUBT = "UPDATE releases SET package = ?, package_by = ? WHERE release = ? AND package = ?"
_WANTED = "SELECT release, says_docs, package, docs, record FROM releases ORDER BY release"
_SUSPECT = """
INSERT INTO suspects (release, type, found, stored, expected, known_by, reason)
SELECT release, ?1, ?2, ?3, {0}, {0}_by, ?5 FROM releases WHERE release = ?4
"""
_WITHOUT_BYTES = """
SELECT suspects.release, type, found, expected, package, docs FROM suspects
JOIN releases USING (release)
WHERE (release, type) > (?, ?) AND rank > ? AND found != 'unfit' ORDER BY release, type LIMIT ?
"""
_FIND = """
UPDATE suspects SET backup = ?, rank = ?, expected = ?, known_by = coalesce(known_by, ?)
WHERE release = ? AND type = ? AND rank > ?
"""
_CLAIM = """
UPDATE strays SET backup = ?, rank = ?, expected = ?, release = ?, type = ?
WHERE name = ? AND rank > ?
"""
_SUSPECTS = """
SELECT release, type, stored, expected, known_by, backup, reason FROM suspects
WHERE found = ? ORDER BY release, type DESC
"""
_STRAYS = "SELECT name, release, type, expected, backup FROM strays ORDER BY name"
_PART = 1000
#: How much worse it is to bring a file back from a backup that takes a key, and from one that would
#: bring another file of the release back too which is not the right one.
_LOCKED, _OTHER = 2, 1


class Wanted(NamedTuple):
    """A file that is looked at. Its release `says` that it is there; `sha256` is what it is held
    against, None where nothing is known. A package file has the `record` of its release where it is
    looked into."""

    file: ReleaseFile
    says: bool
    sha256: str | None
    record: Record | None = None


class _Suspect(NamedTuple):
    """A file that seems to be wrong, and what both files of its release are held against."""

    release: str
    type: FileType
    found: str
    expected: str | None
    package: str | None
    docs: str | None


class Examined:
    """One look, in a file at `path`. Raises SpaceError and BackupError."""

    def __init__(self, path: Path) -> None:
        self._database: sqlite3.Connection = _FORMAT.make(path)
        self._database.execute("BEGIN")

    def close(self) -> None:
        self._database.close()

    # the registry

    def add(self, batch: Batch, wanted: Callable[[str], bool], *, whole: bool) -> None:
        """Add those releases whose keys are wanted, with their records where they are wanted
        `whole`."""
        columns = batch.columns
        none = (None,) * len(batch)
        rows = zip(
            map(joined_key, zip(*(columns[name] for name in RELEASES.key), strict=True)),
            columns.get("has_docs", none),
            columns.get("inserted_at", none),
            columns.get("updated_at", none),
            batch.records() if whole else none,
            strict=True,
        )
        self._many(
            _ADD,
            (
                (
                    key,
                    bool(has_docs),
                    _moment(inserted),
                    _moment(updated),
                    None if record is None else json.dumps(record),
                )
                for key, has_docs, inserted, updated, record in rows
                if wanted(key)
            ),
        )

    def add_packages(self, names: Iterable[str]) -> None:
        """Add the packages that a release may require."""
        statement = "INSERT OR IGNORE INTO packages (name) VALUES (?)"
        self._many(statement, ((name,) for name in names))

    def has_package(self, name: str) -> bool:
        return bool(self._all("SELECT 1 FROM packages WHERE name = ?", name))

    def add_names(self, names: Iterable[str]) -> None:
        """Add those of files that belong to a row."""
        self._many("INSERT OR IGNORE INTO names (name) VALUES (?)", ((name,) for name in names))

    def add_stored(self, names: Iterable[str]) -> None:
        """Add those of stored files; a file without a row is a stray."""
        statement = "INSERT OR IGNORE INTO strays (name) SELECT ?1 WHERE ?1 NOT IN names"
        self._many(statement, ((name,) for name in names))

    # what backups know

    def hold_against(self, backup: str, created_at: datetime, contents: Contents) -> None:
        """Hold the releases that no newer backup has against what this one has. Docs may be
        published anew, and the row says so: they are not held against an older backup."""
        made = microseconds(format_time(created_at))
        after = ""
        while rows := self._all(_UNKNOWN, after, _PART):
            held: list[tuple[Any, ...]] = []
            for release, updated in rows:
                key = split_key(release)
                package = contents.file("package", key)
                if package is not None:
                    docs = contents.file("docs", key)
                    if docs is None or updated is None or updated > made:
                        held.append((package.sha256, backup, None, None, release))
                    else:
                        held.append((package.sha256, backup, docs.sha256, backup, release))
            self._many(_HOLD, held)
            after = rows[-1][0]

    def pass_over(self, created_at: datetime) -> bool:
        """Pass over the releases that are newer than a backup: none that is older has them. Returns
        whether there are others that no backup was found to have so far."""
        made = microseconds(format_time(created_at))
        self._many("UPDATE releases SET known = 1 WHERE known = 0 AND inserted > ?", [(made,)])
        return bool(self._all(_UNKNOWN, "", 1))

    def doubt(self, contents: Contents) -> None:
        """Hold the package files that a backup says have changed against what they were before. It
        is called for each backup of which nobody has said why, the newest first."""
        changed = contents.changed_files(limit=-1)
        self._many(
            _DOUBT,
            (
                (each.earlier, each.backup, joined_key(each.release), each.sha256)
                for each in changed
            ),
        )

    # the files

    def wanted(self) -> Iterator[Wanted]:
        """The files that are to be looked at, in byte order of the releases."""
        with private_errors():
            for release, says_docs, package, docs, text in self._database.execute(_WANTED):
                key = split_key(release)
                record = None if text is None else json.loads(text)
                yield Wanted(ReleaseFile("package", *key), says=True, sha256=package, record=record)
                if says_docs or docs is not None:
                    yield Wanted(ReleaseFile("docs", *key), says=bool(says_docs), sha256=docs)

    def suspect(
        self, file: ReleaseFile, found: str, stored: str | None, reason: str | None = None
    ) -> None:
        """A file is missing or has changed, as it seems, or is none that a client takes."""
        release = joined_key((file.package, file.version))
        self._many(_SUSPECT.format(file.type), [(file.type, found, stored, release, reason)])

    # what seems to be wrong

    @property
    def any_suspect(self) -> bool:
        return bool(self._all("SELECT 1 FROM suspects LIMIT 1")) or self.any_stray

    @property
    def any_stray(self) -> bool:
        return bool(self._all("SELECT 1 FROM strays LIMIT 1"))

    def is_suspect(self, release: str) -> bool:
        return bool(self._all("SELECT 1 FROM suspects WHERE release = ? LIMIT 1", release))

    def is_stray(self, name: str) -> bool:
        return bool(self._all("SELECT 1 FROM strays WHERE name = ?", name))

    def look_for_bytes(
        self,
        backup: str,
        contents: Contents,
        name_of: Callable[[ReleaseFile], str],
        *,
        locked: bool,
    ) -> None:
        """See which of these files a backup could bring back, and none did that serves as well; it
        is called for the newest one first. `locked` says that this one takes a key."""
        worst = _LOCKED if locked else 0
        after: tuple[str, str] = ("", "")
        while rows := self._all(_WITHOUT_BYTES, *after, worst, _PART):
            found: list[tuple[Any, ...]] = []
            for each in map(_Suspect._make, rows):
                rank, sha256 = _brings(contents, each, worst)
                if sha256 is not None:
                    found.append((backup, rank, sha256, backup, each.release, each.type, rank))
                after = each.release, each.type
            self._many(_FIND, found)
        if not self._all("SELECT 1 FROM strays WHERE rank > ? LIMIT 1", worst):
            return
        for release, state in contents.states(RELEASES):
            for file_type in FILE_TYPES:
                if (sha256 := getattr(state, file_type)) is not None:
                    name = name_of(ReleaseFile(file_type, *split_key(release)))
                    claim = (backup, worst, sha256, release, file_type, name, worst)
                    self._many(_CLAIM, [claim])

    def findings(self, name_of: Callable[[ReleaseFile], str]) -> Iterator[Finding]:
        """All that seems to be wrong, the worst first."""
        with private_errors():
            for kind in (MISSING, CHANGED, UNFIT):
                for release, file_type, *rest in self._database.execute(_SUSPECTS, (kind,)):
                    file = ReleaseFile(file_type, *split_key(release))
                    yield Finding(kind, file.package, file.version, file.type, name_of(file), *rest)
            for name, release, file_type, expected, backup in self._database.execute(_STRAYS):
                package, version = (None, None) if release is None else split_key(release)
                known = {"expected": expected, "known_by": backup, "backup": backup}
                yield Finding(STRAY, package, version, file_type, name, **known)

    def _many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with private_errors():
            self._database.executemany(statement, rows)

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with private_errors():
            return self._database.execute(query, values).fetchall()


def _brings(contents: Contents, suspect: _Suspect, worst: int) -> tuple[int, str | None]:
    """How well a backup serves to bring a file back, and the SHA-256 that it has; None where that
    is not the right one."""
    key = split_key(suspect.release)
    entry = contents.file(suspect.type, key)
    if entry is None or suspect.expected not in (None, entry.sha256):
        return worst, None
    if suspect.found == MISSING:
        # Nothing that is there is replaced.
        return worst, entry.sha256
    other: FileType = "docs" if suspect.type == "package" else "package"
    beside, right = contents.file(other, key), getattr(suspect, other)
    spoils = beside is not None and right is not None and beside.sha256 != right
    return worst + _OTHER * spoils, entry.sha256


def _moment(text: str | None) -> int | None:
    try:
        return None if text is None else microseconds(text)
    except ValueError:
        return None
