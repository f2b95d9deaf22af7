"""Listing what is in an archive, while it is written or once it was read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hexhub_backup.archive.credentials import is_listed
from hexhub_backup.archive.private import private_errors
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileEntry,
    Key,
    Kind,
    Record,
    ReleaseFile,
    as_json,
)
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.operations.contents import (
    FORMAT,
    ChangedFile,
    Earlier,
    State,
    files_in,
    folded,
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
    "files": "INSERT INTO files (type, package, version, member, offset, size, sha256) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)",
    "changed": "INSERT INTO changed (package, version, sha256, earlier, backup) "
    "VALUES (?, ?, ?, ?, ?)",
    "gone": "INSERT INTO gone (package, version, sha256, backup) VALUES (?, ?, ?, ?)",
}
_ABOUT = "INSERT INTO about (key, value) VALUES (?, ?)"
_COUNT_RECORDS = "SELECT kind, count(*) FROM records GROUP BY kind"
# More would bring on collections of garbage.
_BATCH = 100

#: The fields of each kind whose values are listed.
Fields = Mapping[Kind, Sequence[str]]
_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


_folded = str.casefold


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
            rows["records"].append((kind.name, number, folded(" ".join(key))))
            rows["bodies"].append((kind.name, number, as_json(key), body))
            for field, parent in kind.parents.items():
                if (name := record.get(field)) is not None:
                    rows["children"].append((parent.name, name, kind.name, number))
            if len(rows["records"]) >= _BATCH:
                self._flush()
        self._numbers[kind] = number

    def add_file(self, file: ReleaseFile, entry: FileEntry) -> None:
        self._add("files", (*file, *entry))

    def add_changed(self, earlier: Earlier) -> Iterator[ChangedFile]:
        """Compare the package files with those that an earlier backup had, or knew of. Yields those
        that changed. All files were added before."""
        self._flush()
        known = earlier.contents.known_files()
        for key, entry, before in merged(files_in(self._database, "package"), known):
            if before is None:
                continue
            (package, version), (sha256, backup) = key, before
            backup = backup or earlier.backup
            if entry is None:
                self._add("gone", (package, version, sha256, backup))
            elif entry.sha256 != sha256:
                changed = ChangedFile(package, version, str(entry.sha256), sha256, backup)
                self._add("changed", changed)
                yield changed

    def states(self, kind: Kind) -> Iterator[tuple[Key, State]]:
        """As of `Contents`, once all was added."""
        self._flush()
        return states_in(self._database, kind)

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

    def _add(self, table: str, row: tuple[Any, ...]) -> None:
        self._rows[table].append(row)
        if len(self._rows[table]) >= _BATCH:
            self._flush()

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
