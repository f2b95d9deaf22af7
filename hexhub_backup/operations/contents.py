"""The contents of an archive: what a page lists and searches, in a file of its own beside it.

It is made with the archive, and made again from it where it is missing: nothing else hangs on it.
It holds no secret, no e-mail, no second factor and no protected column, so that who looks through
a backup, or has this file, learns none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.records import (
    FILE_TYPES,
    RELEASES,
    FileEntry,
    FileType,
    Key,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.marking import marked

# `records` are numbered in byte order of the key, from 1, each kind for itself; `name` is the key's
# parts with spaces between, in small letters, to be searched. `bodies` are apart, so that a search
# reads less. `key` and `release` are the parts of a key with a NUL between, which no part holds and
# which sorts before all. `children` are the records of `kind` that name one of the kind `parent`.
# `offset` is where the bytes of a file are in the tar. Package files never change: `changed` are
# those that did, with what the newest earlier backup had that has the release, and `gone` are those
# that earlier backups had and this one has not, so that they are still known to the next.
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE records (kind TEXT, n INTEGER, name TEXT NOT NULL, PRIMARY KEY (kind, n))
WITHOUT ROWID;
CREATE TABLE bodies (
  kind TEXT, n INTEGER, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE children (
  parent TEXT, name TEXT, kind TEXT, n INTEGER, PRIMARY KEY (parent, name, kind, n)
) WITHOUT ROWID;
CREATE TABLE files (
  type TEXT, release TEXT, offset INTEGER NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (type, release)
) WITHOUT ROWID;
CREATE TABLE changed (
  release TEXT PRIMARY KEY, sha256 TEXT NOT NULL, earlier TEXT NOT NULL, backup TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE gone (release TEXT PRIMARY KEY, sha256 TEXT NOT NULL, backup TEXT NOT NULL)
WITHOUT ROWID;
"""
FORMAT = Format(
    name=marked("list of an archive's contents"),
    version=1,
    oldest=1,
    fix=marked("remove the file, and verify the backup"),
    schema=_SCHEMA,
)
_COUNT_NAMED = """
SELECT count(*) FROM records WHERE kind = :kind AND instr(name, :text)
"""
_COUNT_CHILDREN = """
SELECT count(*) FROM children WHERE parent = :parent AND name = :name AND kind = :kind
"""
_ALL = """
SELECT n, key, body FROM bodies WHERE kind = :kind AND n > :offset ORDER BY n LIMIT :limit
"""
_NAMED = """
SELECT n, key, body FROM bodies WHERE kind = :kind AND n IN (
  SELECT n FROM records WHERE kind = :kind AND instr(name, :text)
  ORDER BY n LIMIT :limit OFFSET :offset
) ORDER BY n
"""
_BY_NAME = """
SELECT n, key, body FROM bodies
WHERE kind = :kind AND n IN (SELECT n FROM records WHERE kind = :kind AND name = :name)
"""
_CHILDREN = """
SELECT n, key, body FROM bodies WHERE kind = :kind AND n IN (
  SELECT n FROM children WHERE parent = :parent AND name = :name AND kind = :kind
  ORDER BY n LIMIT :limit OFFSET :offset
) ORDER BY n
"""
_FILE = "SELECT offset, size, sha256 FROM files WHERE type = ? AND release = ?"
_KNOWN = """
SELECT release, sha256, '' AS backup FROM files WHERE type = 'package'
UNION ALL SELECT release, sha256, backup FROM gone ORDER BY release
"""
# Only releases have files.
_STATES = """
SELECT bodies.key, body, package.sha256, docs.sha256 FROM bodies
LEFT JOIN files AS package
  ON bodies.kind = 'releases' AND package.type = 'package' AND package.release = bodies.key
LEFT JOIN files AS docs
  ON bodies.kind = 'releases' AND docs.type = 'docs' AND docs.release = bodies.key
WHERE bodies.kind = ? ORDER BY n
"""
_CHANGED = "SELECT release, sha256, earlier, backup FROM changed ORDER BY release LIMIT ?"

#: As names are searched.
folded = str.casefold


def joined_key(key: Key) -> str:
    """A key as it is here."""
    return "\0".join(key)


def split_key(text: str) -> Key:
    """The key that is here as a text."""
    return tuple(text.split("\0"))


class Listed(NamedTuple):
    """One record, by the fields that are listed."""

    kind: Kind
    n: int
    key: Key
    fields: Record

    @property
    def told(self) -> list[str]:
        """What a list says of it beside its key: `private`, `deactivated`, `full`."""
        words = []
        for name, word in self.kind.told.items():
            value = self.fields.get(name)
            if value:
                words.append(word or value)
        return words


class ChangedFile(NamedTuple):
    """The package file of a release, which has another SHA-256 than the newest earlier `backup`
    had for it."""

    release: Key
    sha256: str
    earlier: str
    backup: str

    @property
    def label(self) -> str:
        """What its release is called in messages."""
        return RELEASES.label(self.release)


class State(NamedTuple):
    """A record as it is compared: its fields as JSON, and of a release the SHA-256 of its files."""

    body: str
    package: str | None
    docs: str | None


class Earlier(NamedTuple):
    """The contents of an earlier backup, to be closed."""

    backup: str
    contents: Contents


class Contents:
    """The contents of an archive, to be read. Raises VersionError where this release does not know
    the file, BackupError where it is damaged."""

    def __init__(self, path: Path) -> None:
        self._database, about = FORMAT.open_with_about(path)
        self._about: Mapping[str, Any] = about

    def close(self) -> None:
        self._database.close()

    def is_of(self, checksums: Mapping[str, str]) -> bool:
        """Whether it lists the archive whose manifest has these checksums."""
        return bool(dict(checksums) == self._about["checksums"])

    @property
    def compared(self) -> dict[str, Any]:
        """What came of comparing it with an earlier backup, when it was listed."""
        return dict(self._about["compared"])

    def count(self, kind: Kind, text: str = "") -> int:
        """How many records have `text` in their key."""
        if not text:
            return int(self._about["counts"].get(kind.name, 0))
        return self._number(_COUNT_NAMED, {"kind": kind.name, "text": folded(text)})

    def search(self, kind: Kind, text: str, *, offset: int, limit: int) -> Iterator[Listed]:
        """`limit` of these records, from `offset` on, in byte order of their keys."""
        values = {"kind": kind.name, "text": folded(text), "offset": offset, "limit": limit}
        if not text:
            return self._listed(kind, _ALL, values)
        return self._listed(kind, _NAMED, values)

    def record(self, kind: Kind, name: str) -> Listed | None:
        """The record of a kind whose key is one field; None where there is none."""
        found = self._listed(kind, _BY_NAME, {"kind": kind.name, "name": folded(name)})
        return next((each for each in found if each.key == (name,)), None)

    def child_counts(self, listed: Listed) -> dict[str, int]:
        """How many records of each kind name a record, by the names of the kinds."""
        values = {"parent": listed.kind.name, "name": listed.key[0]}
        return {
            kind.name: self._number(_COUNT_CHILDREN, {**values, "kind": kind.name})
            for kind in listed.kind.children
        }

    def children(self, listed: Listed, kind: Kind, *, offset: int, limit: int) -> Iterator[Listed]:
        """`limit` of the records of a kind that name a record, from `offset` on, in byte order of
        their keys."""
        values = {"parent": listed.kind.name, "name": listed.key[0], "kind": kind.name}
        return self._listed(kind, _CHILDREN, {**values, "offset": offset, "limit": limit})

    def file(self, file_type: FileType, release: Key) -> FileEntry | None:
        """Where the file of a release is; None where the archive has none."""
        with private_errors():
            row = self._database.execute(_FILE, (file_type, joined_key(release))).fetchone()
        if row is None:
            return None
        package, version = release
        return FileEntry(ReleaseFile(file_type, package, version).member, *row)

    def files_of(self, listed: Listed) -> dict[FileType, FileEntry]:
        """The files of a record by their types; only releases have any."""
        if listed.kind is not RELEASES:
            return {}
        found = {each: self.file(each, listed.key) for each in FILE_TYPES}
        return {file_type: entry for file_type, entry in found.items() if entry is not None}

    def known_files(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """The SHA-256 of each package file that this backup or an earlier one had, by the key of
        the release, in byte order; with the backup that had it, none for this one."""
        return known_files_in(self._database)

    def changed_files(self, *, limit: int) -> Iterator[ChangedFile]:
        """The first package files that changed since an earlier backup."""
        with private_errors():
            for release, *others in self._database.execute(_CHANGED, (limit,)):
                yield ChangedFile(split_key(release), *others)

    def states(self, kind: Kind) -> Iterator[tuple[str, State]]:
        """Each record of a kind as it is compared, by its key, in byte order."""
        return states_in(self._database, kind)

    def _listed(self, kind: Kind, query: str, values: Mapping[str, Any]) -> Iterator[Listed]:
        with private_errors():
            for n, key, body in self._database.execute(query, values):
                yield Listed(kind, n, split_key(key), json.loads(body))

    def _number(self, query: str, values: Mapping[str, Any]) -> int:
        with private_errors():
            return int(self._database.execute(query, values).fetchone()[0])


def known_files_in(database: sqlite3.Connection) -> Iterator[tuple[str, tuple[str, str]]]:
    with private_errors():
        for release, sha256, backup in database.execute(_KNOWN):
            yield release, (sha256, backup)


def states_in(database: sqlite3.Connection, kind: Kind) -> Iterator[tuple[str, State]]:
    with private_errors():
        for key, *state in database.execute(_STATES, (kind.name,)):
            yield key, State._make(state)
