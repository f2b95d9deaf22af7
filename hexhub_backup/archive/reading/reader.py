"""Reads an archive that may be hostile: every byte is checked here, and none is unpacked.

What Python's tarfile was found to get wrong, and why it can not happen here:

- CVE-2007-4559, CVE-2024-12718, CVE-2025-4138, CVE-2025-4330, CVE-2025-4517: names, links and
  modes that write outside of their place. No member is ever extracted: bytes are read by offset
  and size and given to the caller, links are refused, and a file's place is made of the
  release's row, which has to name the member, never the other way around.
- CVE-2025-4435: what a filter refused was extracted all the same. The first fault in the tar's
  structure ends the reading; there is no level of errors to choose.
- CVE-2019-20907, CVE-2025-8194: endless loops on a length of 0 or a negative one. Every turn of
  `tar.walk` goes on by at least a block, and numbers are unsigned.
- CVE-2024-6232: a regular expression that backtracks in headers. None is used there.
- Without a number: recursion by chained headers, memory by a declared size, a size that is no
  number. Extended headers don't chain and are bounded, sizes are held against the file's.
- CVE-2025-62518 (another reader): pax and ustar sizes that disagree. They are refused, and so
  are names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from hexhub_backup.archive.faults import GET_AGAIN, FaultList, refuse
from hexhub_backup.archive.reading import hexhub, report
from hexhub_backup.archive.reading.files import find_files
from hexhub_backup.archive.reading.index import Index, key_of
from hexhub_backup.archive.reading.members import load_members
from hexhub_backup.archive.reading.rows import RowFaults, number_records
from hexhub_backup.archive.records import (
    PACKAGES,
    RELEASES,
    FileEntry,
    FileType,
    Key,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.rules import tar, whole
from hexhub_backup.archive.rules.ahead import Ahead
from hexhub_backup.archive.rules.checksums import mismatch
from hexhub_backup.archive.rules.manifest import Manifest
from hexhub_backup.archive.source import ReadableFile, Source
from hexhub_backup.errors import ArchiveError
from hexhub_backup.notices import Notice

_BATCH = 1000
#: So many characters of records are parsed at a time.
_PARSED = 64 * 1024

_BODIES = "SELECT n, body FROM records JOIN rows USING (id) WHERE records.kind = ? ORDER BY n"
_KEY = "SELECT key FROM records JOIN rows USING (id) WHERE records.kind = ? AND n = ?"
_LAST = "SELECT max(n) FROM records WHERE kind = ?"
_FILES = """
SELECT files.n, name, offset, size, sha256 FROM files JOIN members ON members.n = files.member
WHERE files.type = ? ORDER BY files.n
"""
_PACKAGES = """
SELECT name, offset, size, members.n, sha256, body
FROM files JOIN members ON members.n = files.member
JOIN records ON records.kind = ? AND records.n = files.n JOIN rows USING (id)
WHERE files.type = 'package' ORDER BY files.n
"""
_HASHED = "UPDATE members SET sha256 = ? WHERE n = ?"
_UNREAD = """
SELECT n, name, offset, size FROM members WHERE n > ? AND sha256 IS NULL ORDER BY n LIMIT ?
"""


class ArchiveReader:
    """One archive: `read_members`, `check_manifest` and `check_files`, in this order, then the
    rest. Memory stays flat: what grows with the archive is in the `index`, an SQLite file.

    Each of the three raises ArchiveError, with all faults it found, where there are any. Errors
    of the index are SpaceError or BackupError.
    """

    size: int  #: bytes of the tar
    manifest: Manifest  #: after `check_manifest`
    #: After `check_manifest`: held to everything, as an archive is that has SHA256SUMS, names a
    #: generator or has checksums. Only HexHub's own have none of them.
    strict: bool

    def __init__(self, source: Source, index: Path) -> None:
        """Make the index of an archive, replacing what is at its path. The `source` belongs to the
        reader from now on, and is closed with it."""
        self._source = source
        self._read = source.read
        self.size = source.size
        try:
            self._index = Index(index, make=True)
            self._index.remember(size=self.size, version=source.version)
        except BaseException:
            source.close()
            raise

    @classmethod
    def reopen(cls, source: Source, index: Path) -> ArchiveReader:
        """The archive of an index that was completed by `check_files`, without reading it again.

        Raises ArchiveError where the archive is not the one that the index was made of.
        """
        self = cls.__new__(cls)
        self._source = source
        self._read = source.read
        self.size = source.size
        try:
            self._index = Index(index, make=False)
            self._recall()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Close the files; the index stays, for `reopen`."""
        if hasattr(self, "_index"):
            self._index.close()
        self._source.close()

    def __enter__(self) -> ArchiveReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- the three steps ---------------------------------------------------------------------

    def read_members(self, advance: Callable[[int], None], *, hash_files: bool = True) -> None:
        """Walk the tar, and read all that is in it into the index, but for files that are large:
        what is wrong with a large archive is found before they are read. Without `hash_files` all
        files are left to `check_files`.

        `advance` is called with the bytes passed, without the `unread_bytes` that `check_files`
        reads: both together pass `size` bytes.
        """
        self._row_faults = faults = RowFaults()
        ahead = Ahead(self._read, advance)
        load_members(self._index, ahead, self.size, faults, hash_files=hash_files)
        if faults.fatal:
            faults.raise_if_any()
        number_records(self._index, ordered=faults.ordered)

    def check_manifest(self) -> Manifest:
        """Hold the manifest, its checksums and counts, SHA256SUMS and the members' names against
        each other."""
        faults, facts = FaultList(), report.IndexFacts(self._index)
        whole.check_members(facts, faults)
        data = self._index.fact("manifest")
        if data is not None:
            try:
                self.manifest = Manifest.parse(data)
            except ArchiveError as error:
                faults.add_all(error)
        # What follows would only repeat what is already known to be wrong.
        faults.raise_if_any()
        self.strict = whole.is_strict(facts, self.manifest)
        if self.strict:
            self._row_faults.raise_if_any()
        hexhub.check_names(self._index, faults, strict=self.strict)
        faults.raise_if_any()
        find_files(self._index, strict=self.strict)
        whole.check_manifest(facts, self.manifest, faults)
        faults.raise_if_any()
        return self.manifest

    def check_files(
        self,
        advance: Callable[[int], None],
        look: Callable[[Record, ReadableFile], None] | None = None,
    ) -> None:
        """Hash the files that are large, and hold every package file and docs file against
        SHA256SUMS. `look` is handed each release with its package file, to read what it likes of
        it: only now are all records known. Small ones are read a second time for that."""
        faults = FaultList()
        if look is not None:
            self._look_into_packages(look, advance)
        last = 0
        while batch := list(self._index.query(_UNREAD, last, _BATCH)):
            self._index.load(
                _HASHED,
                ((self._hash(name, at, size, advance), n) for n, name, at, size in batch),
            )
            last = batch[-1][0]
        for name in report.damaged_files(self._index) if self.strict else ():
            faults.add(mismatch(name))
        faults.raise_if_any()
        if self._source.changed():
            raise ArchiveError("The archive was changed while it was read: try again.")
        self._index.remember(digest=report.digest(self._index), strict=self.strict)
        self._index.complete()

    def _look_into_packages(
        self, look: Callable[[Record, ReadableFile], None], advance: Callable[[int], None]
    ) -> None:
        ahead = Ahead(self._read, lambda _: None)
        for name, at, size, n, known, body in self._index.query(_PACKAGES, RELEASES.number):
            record = json.loads(body)

            def look_at(_: str, file: ReadableFile, record: Record = record) -> None:
                look(record, file)

            digest = hashlib.sha256()
            ahead.look_into(name, at, size, look_at, digest.update if known is None else None)
            if known is None:
                self._index.load(_HASHED, [(digest.hexdigest(), n)])
            # Those that are known were passed already, but the operation may be cancelled here.
            advance(0 if known else size)

    # -- what is in it -----------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """After `check_files`: `sha256:…` of name, size and SHA-256 of all members in order.
        A plan is bound to it."""
        return str(self._index.fact("digest"))

    def warnings(
        self, takes: Callable[[Kind, Key], bool] = lambda _kind, _key: True
    ) -> Iterator[Notice]:
        """What an admin should know of an archive that is not refused, of the records that are
        wanted by `takes`."""
        return report.warnings(self._index, takes, strict=self.strict)

    def count(self, kind: Kind, *, left_out: bool = False) -> int:
        """How many records there are, when rows of one key are merged; with those that are left
        out, or without."""
        count = self._index.number("SELECT count(*) FROM records WHERE kind = ?", kind.number)
        if left_out:
            sql = "SELECT count(*) FROM left_out WHERE kind = ?"
            count += self._index.number(sql, kind.number)
        return count

    def keys(self, kind: Kind) -> Iterator[Key]:
        """The records' keys, in their byte order; nothing is parsed."""
        sql = "SELECT key FROM records JOIN rows USING (id) WHERE records.kind = ? ORDER BY n"
        return (key_of(key) for (key,) in self._index.query(sql, kind.number))

    def has_package(self, name: str) -> bool:
        """Whether there is a package of a name: the records have the order of their keys."""
        key, low, high = name.encode(), 1, self._index.number(_LAST, PACKAGES.number)
        while low <= high:
            middle = (low + high) // 2
            row = self._index.one(_KEY, PACKAGES.number, middle)
            found = row[0] if row else b""
            if found == key:
                return True
            low, high = (middle + 1, high) if found < key else (low, middle - 1)
        return False

    def records(self, kind: Kind) -> Iterator[tuple[int, Record]]:
        """`(n, record)` in byte order of the key; `n` counts from 1 and is stable."""
        numbers: list[int] = []
        bodies: list[str] = []
        size = 0
        for n, body in self.bodies(kind):
            numbers.append(n)
            bodies.append(body)
            size += len(body)
            # Many small ones take half as long at once.
            if size > _PARSED or len(bodies) == _BATCH:
                yield from zip(numbers, _parsed(bodies), strict=True)
                numbers, bodies, size = [], [], 0
        yield from zip(numbers, _parsed(bodies), strict=True)

    def bodies(self, kind: Kind) -> Iterator[tuple[int, str]]:
        """`(n, body)` as `records`: the record as JSON, as it stands in the archive."""
        yield from self._index.query(_BODIES, kind.number)

    def left_out(self, kind: Kind) -> Iterator[hexhub.LeftOut]:
        """The records of an archive of HexHub's that have a fault: `records` has none of them."""
        return hexhub.left_out(self._index, kind)

    def file(self, file: ReleaseFile) -> FileEntry | None:
        """Where a release's file is; None where the archive has none."""
        name: str | None = file.member
        if not self.strict:
            flat = self._index.one("SELECT name FROM flat WHERE member = ?", name)
            name = name if flat is None else flat[0]
        sql = "SELECT name, offset, size, sha256 FROM members WHERE name = ?"
        row = self._index.one(sql, name)
        return None if row is None else FileEntry(*row)

    def files(self, file_type: FileType) -> Iterator[tuple[int, FileEntry]]:
        """`(n, entry)` of the releases that have a file of the type, in order of n."""
        for n, *entry in self._index.query(_FILES, file_type):
            yield n, FileEntry._make(entry)

    def open_file(self, entry: FileEntry) -> Iterator[bytes]:
        """The bytes of a file, in chunks of at most 1 MiB. They are not hashed again: who uses
        them holds them against `entry.sha256`. Raises ArchiveError where they can't be read."""
        return self._chunks(entry.member, entry.offset, entry.size)

    def unread_bytes(self) -> int:
        """Bytes of the files that `read_members` left to `check_files`."""
        return self._index.number("SELECT sum(size) FROM members WHERE sha256 IS NULL")

    def file_bytes(self) -> int:
        """Bytes of all package files and docs files together."""
        return self._index.number("SELECT sum(size) FROM members WHERE type IN ('package', 'docs')")

    def _recall(self) -> None:
        fact = self._index.fact
        if not fact("complete"):
            raise ArchiveError("The archive was not inspected to the end: inspect it again.")
        # An index of an older release calls it by what it was of a file.
        version = fact("version") or str(fact("mtime_ns"))
        if (fact("size"), version) != (self.size, self._source.version):
            raise ArchiveError("The archive has changed since: inspect it again.")
        self.manifest = Manifest.parse(fact("manifest"))
        self.strict = bool(fact("strict"))

    # -- reading -----------------------------------------------------------------------------

    def _chunks(self, name: str, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            chunk = self._read(offset, min(tar.CHUNK, end - offset))
            if not chunk:
                refuse("truncated", f"the file ends before the member does; {GET_AGAIN}", name)
            offset += len(chunk)
            yield chunk

    def _hash(self, name: str, offset: int, size: int, advance: Callable[[int], None]) -> str:
        digest = hashlib.sha256()
        for chunk in self._chunks(name, offset, size):
            digest.update(chunk)
            advance(len(chunk))
        return digest.hexdigest()


def _parsed(bodies: Sequence[str]) -> list[Record]:
    records: list[Record] = json.loads(f"[{','.join(bodies)}]")
    return records
