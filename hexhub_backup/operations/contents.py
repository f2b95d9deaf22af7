"""The contents of an archive: what a page lists and searches, in a file of its own beside it.

It is made with the archive, and made again from it where it is missing: nothing else hangs on it.
It holds no secret, no e-mail, no second factor and no protected column, so that who looks through
a backup, or has this file, learns none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hexhub_backup.archive.credentials import is_listed
from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileEntry,
    FileType,
    Key,
    Kind,
    Record,
    ReleaseFile,
    as_json,
    of_json,
)
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.operations.joining import Following
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.registry.base import Registry

# `records` are numbered in byte order of the key, from 1, each kind for itself; `name` is the key's
# parts with spaces between, in small letters, to be searched. `bodies` are apart, so that a search
# reads less.
# `children` are the records of `kind` that name a record of the kind `parent`. `files` are known by
# their releases, `offset` is where the bytes are in the tar.
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
  type TEXT, package TEXT, version TEXT, member TEXT NOT NULL, offset INTEGER NOT NULL,
  size INTEGER NOT NULL, sha256 TEXT NOT NULL, PRIMARY KEY (type, package, version)
) WITHOUT ROWID;
"""
_FORMAT = Format(
    name="list of an archive's contents",
    version=1,
    oldest=1,
    fix="remove the file, and verify the backup",
    schema=_SCHEMA,
)
# Made last: filling is quicker without it.
_INDEX = "CREATE INDEX records_by_name ON records (kind, name);"
_INSERTS = {
    "records": "INSERT INTO records (kind, n, name) VALUES (?, ?, ?)",
    "bodies": "INSERT INTO bodies (kind, n, key, body) VALUES (?, ?, ?, ?)",
    "children": "INSERT OR IGNORE INTO children (parent, name, kind, n) VALUES (?, ?, ?, ?)",
    "files": "INSERT INTO files (type, package, version, member, offset, size, sha256) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)",
}
_ABOUT = "INSERT INTO about (key, value) VALUES (?, ?)"
_COUNT_RECORDS = "SELECT kind, count(*) FROM records GROUP BY kind"
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
_FILE = """
SELECT member, offset, size, sha256 FROM files WHERE type = ? AND package = ? AND version = ?
"""
_FILES = """
SELECT package, version, member, offset, size, sha256 FROM files WHERE type = ?
ORDER BY package, version
"""
# More would bring on collections of garbage.
_BATCH = 100

#: The fields of each kind whose values are listed.
Fields = Mapping[Kind, Sequence[str]]
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


_folded = str.casefold


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
        for name in self.kind.told:
            value = self.fields.get(name)
            if value:
                is_text = self.kind.fields[name] == "text"
                words.append(value if is_text else name.removesuffix("_at").replace("_", " "))
        return words


def fields_of(registry: Registry) -> Fields:
    """The fields that are listed of the records of a registry: those that a comparison looks at,
    but for secrets, e-mail and second factor."""
    return {kind: sorted(filter(is_listed, registry.compared(kind))) for kind in KINDS}


class ContentsWriter:
    """Lists the contents of one archive; memory does not grow with it. Raises SpaceError and
    BackupError where the file can't be written. Without `complete` it is no list."""

    def __init__(self, path: Path, fields: Fields) -> None:
        self._path = path
        self._fields = fields
        self._database = _FORMAT.make(path)
        self._database.execute("BEGIN")
        self._numbers = dict.fromkeys(KINDS, 0)
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERTS}

    def close(self) -> None:
        self._database.close()

    def add(self, kind: Kind, records: Iterable[Record]) -> None:
        """Add records that come in byte order of their keys."""
        fields, rows, number = self._fields[kind], self._rows, self._numbers[kind]
        for record in records:
            number += 1
            key = kind.key_of(record)
            body = _encode({name: record[name] for name in fields if name in record})
            rows["records"].append((kind.name, number, _folded(" ".join(key))))
            rows["bodies"].append((kind.name, number, as_json(key), body))
            for field, parent in kind.parents.items():
                if (name := record.get(field)) is not None:
                    rows["children"].append((parent.name, name, kind.name, number))
            if len(rows["records"]) >= _BATCH:
                self._flush()
        self._numbers[kind] = number

    def add_file(self, file: ReleaseFile, entry: FileEntry) -> None:
        self._rows["files"].append((*file, *entry))
        if len(self._rows["files"]) >= _BATCH:
            self._flush()

    def complete(self, checksums: Mapping[str, str]) -> None:
        """Make it readable, and durable. `checksums` are those of the archive's manifest."""
        self._flush()
        with private_errors():
            counts = dict(self._database.execute(_COUNT_RECORDS))
            about = {"checksums": dict(checksums), "counts": counts}
            self._database.executemany(_ABOUT, [(key, json.dumps(about[key])) for key in about])
            self._database.execute("COMMIT")
            self._database.executescript(_INDEX)
        sync_file(self._path)

    def keep(self, kept: KeptFile) -> None:
        """Let it be what is kept, for all machines. Raises OSError, BackupError."""
        place = kept.here()
        self._path.replace(place)
        sync_directory(place.parent)
        kept.keep()

    def _flush(self) -> None:
        with private_errors():
            for table, rows in self._rows.items():
                self._database.executemany(_INSERTS[table], rows)
                rows.clear()


def list_archive(reader: ArchiveReader, writer: ContentsWriter, check: Callable[[], None]) -> None:
    """List what is in an archive that was read to its end; `check` is called now and then."""
    for kind in KINDS:
        check()
        writer.add(kind, (record for _, record in reader.records(kind)))
    for file_type in FILE_TYPES:
        check()
        entries = Following(reader.files(file_type))
        for n, (package, version) in enumerate(reader.keys(RELEASES), start=1):
            if (entry := entries.at(n)) is not None:
                writer.add_file(ReleaseFile(file_type, package, version), entry)


class Contents:
    """The contents of an archive, to be read. Raises VersionError where this release does not know
    the file, BackupError where it is damaged."""

    def __init__(self, path: Path) -> None:
        self._database = _FORMAT.open(path)
        try:
            with private_errors():
                rows = self._database.execute("SELECT key, value FROM about").fetchall()
        except BaseException:
            self._database.close()
            raise
        self._about: Mapping[str, Any] = {key: json.loads(value) for key, value in rows}

    def close(self) -> None:
        self._database.close()

    def is_of(self, checksums: Mapping[str, str]) -> bool:
        """Whether it lists the archive whose manifest has these checksums."""
        return bool(dict(checksums) == self._about["checksums"])

    def count(self, kind: Kind, text: str = "") -> int:
        """How many records have `text` in their key."""
        if not text:
            return int(self._about["counts"].get(kind.name, 0))
        return self._number(_COUNT_NAMED, {"kind": kind.name, "text": _folded(text)})

    def search(self, kind: Kind, text: str, *, offset: int, limit: int) -> Iterator[Listed]:
        """`limit` of these records, from `offset` on, in byte order of their keys."""
        values = {"kind": kind.name, "text": _folded(text), "offset": offset, "limit": limit}
        if not text:
            return self._listed(kind, _ALL, values)
        return self._listed(kind, _NAMED, values)

    def record(self, kind: Kind, name: str) -> Listed | None:
        """The record of a kind whose key is one field; None where there is none."""
        found = self._listed(kind, _BY_NAME, {"kind": kind.name, "name": _folded(name)})
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

    def file(self, file_type: str, release: Key) -> FileEntry | None:
        """Where the file of a release is; None where the archive has none."""
        with private_errors():
            row = self._database.execute(_FILE, (file_type, *release)).fetchone()
        return None if row is None else FileEntry(*row)

    def files_of(self, listed: Listed) -> dict[FileType, FileEntry]:
        """The files of a record by their types; only releases have any."""
        if listed.kind is not RELEASES:
            return {}
        found = {each: self.file(each, listed.key) for each in FILE_TYPES}
        return {file_type: entry for file_type, entry in found.items() if entry is not None}

    def files(self, file_type: FileType) -> Iterator[tuple[Key, FileEntry]]:
        """The files of a type with the keys of their releases, in byte order of these."""
        with private_errors():
            for package, version, *entry in self._database.execute(_FILES, (file_type,)):
                yield (package, version), FileEntry(*entry)

    def _listed(self, kind: Kind, query: str, values: Mapping[str, Any]) -> Iterator[Listed]:
        with private_errors():
            for n, key, body in self._database.execute(query, values):
                yield Listed(kind, n, of_json(key), json.loads(body))

    def _number(self, query: str, values: Mapping[str, Any]) -> int:
        with private_errors():
            return int(self._database.execute(query, values).fetchone()[0])
