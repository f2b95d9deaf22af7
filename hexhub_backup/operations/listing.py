"""Listing what is in an archive, while it is written or once it was read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.credentials import is_listed
from hexhub_backup.archive.private import private_errors
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    PACKAGES,
    RELEASES,
    FileEntry,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.operations.contents import (
    FORMAT,
    ChangedFile,
    Earlier,
    State,
    folded,
    joined_key,
    known_files_in,
    split_key,
    states_in,
)
from hexhub_backup.operations.joining import Following, merged
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.registry.base import Registry

# Made last: filling is quicker without it.
_INDEX = "CREATE INDEX records_by_name ON records (kind, name);"
_INSERTS = {
    "records": "INSERT INTO records (kind, n, name) VALUES (?, ?, ?)",
    "bodies": "INSERT INTO bodies (kind, n, key, body) VALUES (?, ?, ?, ?)",
    "children": "INSERT OR IGNORE INTO children (parent, name, kind, n) VALUES (?, ?, ?, ?)",
    "files": "INSERT INTO files (type, release, offset, size, sha256) VALUES (?, ?, ?, ?, ?)",
    "changed": "INSERT INTO changed (release, sha256, earlier, backup) VALUES (?, ?, ?, ?)",
    "gone": "INSERT INTO gone (release, sha256, backup) VALUES (?, ?, ?)",
}
_ABOUT = "INSERT INTO about (key, value) VALUES (?, ?)"
# By the index, whose names are in small letters.
_PACKAGE = """
SELECT 1 FROM bodies WHERE kind = :kind AND key = :key
AND n IN (SELECT n FROM records WHERE kind = :kind AND name = :name)
"""
_COUNT_RECORDS = "SELECT kind, count(*) FROM records GROUP BY kind"
# More would bring on collections of garbage.
_BATCH = 100

#: The fields of each kind whose values are listed.
Fields = Mapping[Kind, Sequence[str]]
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


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
        self._database = FORMAT.make(path)
        self._database.execute("BEGIN")
        self._numbers = dict.fromkeys(KINDS, 0)
        self._files: list[tuple[Any, ...]] = []

    def close(self) -> None:
        self._database.close()

    def add(self, kind: Kind, batch: Batch) -> None:
        """Add records that come in byte order of their keys."""
        columns, count = batch.columns, len(batch)
        keys = list(zip(*(columns[name] for name in kind.key), strict=True))
        numbers = range(self._numbers[kind] + 1, self._numbers[kind] + count + 1)
        self._numbers[kind] += count
        names = [name for name in self._fields[kind] if name in columns]
        form = ",".join(f"{_encode(name).replace('%', '%%')}:%s" for name in names)
        texts = zip(*(_texts(columns[name]) for name in names), strict=True)
        bodies = [f"{{{form}}}" % each for each in texts]
        of_kind = [kind.name] * count
        searched = map(folded, map(" ".join, keys))
        self._insert("records", zip(of_kind, numbers, searched, strict=True))
        self._insert("bodies", zip(of_kind, numbers, map(joined_key, keys), bodies, strict=True))
        for field, parent in kind.parents.items():
            children = zip(columns.get(field, ()), numbers, strict=False)
            self._insert(
                "children",
                ((parent.name, name, kind.name, n) for name, n in children if name is not None),
            )

    def add_file(self, file: ReleaseFile, entry: FileEntry) -> None:
        release = joined_key((file.package, file.version))
        self._files.append((file.type, release, entry.offset, entry.size, entry.sha256))
        if len(self._files) >= _BATCH:
            self._flush()

    def add_changed(self, earlier: Earlier) -> Iterator[ChangedFile]:
        """Compare the package files with those that an earlier backup had, or knew of. Yields those
        that changed. All files were added before."""
        self._flush()
        known = earlier.contents.known_files()
        for release, now, before in merged(known_files_in(self._database), known):
            if before is None:
                continue
            sha256, backup = before[0], before[1] or earlier.backup
            if now is None:
                self._insert("gone", [(release, sha256, backup)])
            elif now[0] != sha256:
                self._insert("changed", [(release, now[0], sha256, backup)])
                yield ChangedFile(split_key(release), now[0], sha256, backup)

    def states(self, kind: Kind) -> Iterator[tuple[str, State]]:
        """As of `Contents`, once all was added."""
        self._flush()
        return states_in(self._database, kind)

    def has_package(self, name: str) -> bool:
        """Whether there is a package of a name, once it is complete."""
        values = {"kind": PACKAGES.name, "key": joined_key((name,)), "name": folded(name)}
        with private_errors():
            return self._database.execute(_PACKAGE, values).fetchone() is not None

    def complete(self, checksums: Mapping[str, str], compared: Mapping[str, Any]) -> None:
        """Make it readable, and durable. `checksums` are those of the archive's manifest,
        `compared` is what came of comparing it with an earlier backup."""
        self._flush()
        with private_errors():
            counts = dict(self._database.execute(_COUNT_RECORDS))
            about = {"checksums": dict(checksums), "counts": counts, "compared": compared}
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
        self._insert("files", self._files)
        self._files.clear()

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with private_errors():
            self._database.executemany(_INSERTS[table], rows)


def _texts(column: Sequence[Any]) -> list[str]:
    """Each value as JSON."""
    if set(map(type, column)) == {str}:
        return list(map(encode_basestring, column))
    # A registry uses one object for equal values.
    known: dict[int, str] = {}
    for each in column:
        if id(each) not in known:
            known[id(each)] = _encode(each)
    return [known[id(each)] for each in column]


def list_archive(reader: ArchiveReader, writer: ContentsWriter, check: Callable[[], None]) -> None:
    """List what is in an archive that was read to its end; `check` is called now and then."""
    for kind in KINDS:
        check()
        for batch in _batches(record for _, record in reader.records(kind)):
            writer.add(kind, batch)
    for file_type in FILE_TYPES:
        check()
        entries = Following(reader.files(file_type))
        for n, (package, version) in enumerate(reader.keys(RELEASES), start=1):
            if (entry := entries.at(n)) is not None:
                writer.add_file(ReleaseFile(file_type, package, version), entry)


def _batches(records: Iterable[Record]) -> Iterator[Batch]:
    """Records in batches, each of those that have the same fields."""
    for _, alike in groupby(records, sorted):
        while some := list(islice(alike, _BATCH)):
            yield Batch({name: [record[name] for record in some] for name in sorted(some[0])})
