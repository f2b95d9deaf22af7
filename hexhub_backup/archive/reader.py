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
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from hexhub_backup.archive import hexhub, report, rules, tar
from hexhub_backup.archive.checks import number_of
from hexhub_backup.archive.faults import GET_AGAIN, FaultList, refuse
from hexhub_backup.archive.index import Index
from hexhub_backup.archive.jsonrows import MAX_ROW_BYTES, StrictJSONError
from hexhub_backup.archive.manifest import MANIFEST, SUMS, Manifest
from hexhub_backup.archive.members import COUNTED, place_of, read_sums, safe_name, type_of
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    Key,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.rows import MemberStream, RowFaults, checked_rows
from hexhub_backup.errors import ArchiveError, Fault, NotFoundError, Warning_

_KINDS = {kind.member: kind for kind in KINDS}
_BATCH = 1000

# The last row of each key counts. In the order of the index, so that nothing is sorted, and
# without looking for another row of the key: in an archive where all have one, that would take
# the square of their number.
_NUMBER_RECORDS = """
INSERT INTO records (kind, n, id)
SELECT kind, row_number() OVER (PARTITION BY kind ORDER BY key), id FROM (
    SELECT kind, key, id, lead(key) OVER (PARTITION BY kind ORDER BY key, at, row) AS next FROM rows
) AS row WHERE (next IS NULL OR next != key)
AND NOT EXISTS (SELECT 1 FROM left_out WHERE left_out.kind = row.kind AND joined = row.key)
"""
_UNHASHED = """
SELECT members.n, members.name, members.offset, members.size, sums.sha256
FROM members LEFT JOIN sums USING (name)
WHERE members.n > ? AND members.sha256 IS NULL ORDER BY members.n LIMIT ?
"""


@dataclass(frozen=True)
class FileEntry:
    """Where a file is in the tar: `offset` and `size` of its bytes, and their SHA-256 in hex,
    once `check_files` hashed them."""

    member: str
    offset: int
    size: int
    sha256: str | None


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

    def __init__(self, path: Path, index: Path) -> None:
        """Open the archive at `path`, and make the index, replacing what is at its path.

        Raises NotFoundError or ArchiveError where it can not be read.
        """
        self._open(path)
        try:
            self._index = Index(index, make=True)
            self._index.remember(size=self.size, mtime_ns=self._mtime_ns)
        except BaseException:
            os.close(self._fd)
            raise

    @classmethod
    def reopen(cls, path: Path, index: Path) -> ArchiveReader:
        """The archive of an index that was completed by `check_files`, without reading it again.

        Raises ArchiveError where the archive is not the one that the index was made of.
        """
        self = cls.__new__(cls)
        self._open(path)
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
        os.close(self._fd)

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

    def read_members(self, advance: Callable[[int], None]) -> None:
        """Walk the tar, and read the JSON members and SHA256SUMS into the index.

        `advance` is told bytes passed; those that `check_files` reads are left to it, so that
        both together pass `size` bytes.
        """
        self._row_faults = faults = RowFaults()
        with self._index.transaction():
            for number, member in enumerate(tar.walk(self._read, self.size, advance), start=1):
                self._read_member(number, member, advance, faults)
            if not faults.fatal:
                self._index.load(_NUMBER_RECORDS, [()])
        if faults.fatal:
            faults.raise_if_any()

    def check_manifest(self) -> Manifest:
        """Hold the manifest, its checksums and counts, SHA256SUMS and the members' names against
        each other."""
        faults, facts = FaultList(), report.IndexFacts(self._index)
        rules.check_members(facts, faults)
        data = self._index.fact("manifest")
        if data is not None:
            try:
                self.manifest = Manifest.parse(data)
            except ArchiveError as error:
                faults.add_all(error)
        # What follows would only repeat what is already known to be wrong.
        faults.raise_if_any()
        self.strict = rules.is_strict(facts, self.manifest)
        if self.strict:
            self._row_faults.raise_if_any()
        hexhub.check_names(self._index, faults, strict=self.strict)
        faults.raise_if_any()
        with self._index.transaction():
            self._index.load("INSERT INTO files VALUES (?, ?, ?, ?, ?)", self._expected_files())
            if not self.strict:
                hexhub.find_flat_files(self._index)
            rules.check_manifest(facts, self.manifest, faults)
            faults.raise_if_any()
        return self.manifest

    def check_files(self, advance: Callable[[int], None]) -> None:
        """Hash every package file and docs file, and hold it against SHA256SUMS."""
        faults = FaultList()
        last = 0
        with self._index.transaction():
            while batch := list(self._index.query(_UNHASHED, last, _BATCH)):
                hashed = []
                for n, name, offset, size, expected in batch:
                    sha256 = self._hash(name, offset, size, advance)
                    hashed.append((sha256, n))
                    last = n
                    if self.strict and sha256 != expected:
                        faults.add(rules.mismatch(name))
                self._index.load("UPDATE members SET sha256 = ? WHERE n = ?", hashed)
            faults.raise_if_any()
            status = os.fstat(self._fd)
            if (status.st_size, status.st_mtime_ns) != (self.size, self._mtime_ns):
                raise ArchiveError("The archive was changed while it was read: try again.")
            self._index.remember(
                digest=report.digest(self._index), strict=self.strict, complete=True
            )

    # -- what is in it -----------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """After `check_files`: `sha256:…` of name, size and SHA-256 of all members in order.
        A plan is bound to it."""
        return str(self._index.fact("digest"))

    def warnings(
        self, takes: Callable[[Kind, Key], bool] = lambda _kind, _key: True
    ) -> Iterator[Warning_]:
        """What an admin should know of an archive that is not refused, of the records that are
        wanted by `takes`."""
        return report.warnings(self._index, takes, strict=self.strict)

    def count(self, kind: Kind, *, left_out: bool = False) -> int:
        """How many records there are, when rows of one key are merged; with those that are left
        out, or without."""
        tables = ("records", "left_out") if left_out else ("records",)
        sqls = (f"SELECT count(*) FROM {table} WHERE kind = ?" for table in tables)  # noqa: S608 (of this method)
        return sum(self._index.number(sql, number_of(kind)) for sql in sqls)

    def records(self, kind: Kind) -> Iterator[tuple[int, Record]]:
        """`(n, record)` in byte order of the key; `n` counts from 1 and is stable."""
        rows = self._index.query(
            "SELECT n, body FROM records JOIN rows USING (id) WHERE records.kind = ? ORDER BY n",
            number_of(kind),
        )
        for n, body in rows:
            yield n, json.loads(body)

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

    def open_file(self, entry: FileEntry) -> Iterator[bytes]:
        """The bytes of a file, in chunks of at most 1 MiB. They are not hashed again: who uses
        them holds them against `entry.sha256`. Raises ArchiveError where they can't be read."""
        return self._chunks(entry.member, entry.offset, entry.size)

    def file_bytes(self) -> int:
        """Bytes of all package files and docs files together."""
        return self._index.number("SELECT sum(size) FROM members WHERE type IN ('package', 'docs')")

    def _recall(self) -> None:
        fact = self._index.fact
        if not fact("complete"):
            raise ArchiveError("The archive was not inspected to the end: inspect it again.")
        if (fact("size"), fact("mtime_ns")) != (self.size, self._mtime_ns):
            raise ArchiveError("The archive has changed since: inspect it again.")
        self.manifest = Manifest.parse(fact("manifest"))
        self.strict = bool(fact("strict"))

    # -- reading -----------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        try:
            # Opening a FIFO would wait for its writer.
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NotFoundError(f"There is no archive at {path}.") from None
        except OSError as error:
            raise ArchiveError(f"{path} can not be read: {error.strerror}.") from error
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._fd)
            refuse("not_a_tar", f"{path} is not a regular file")
        self.size = status.st_size
        self._mtime_ns = status.st_mtime_ns

    def _read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            raise ArchiveError(f"The archive can not be read: {error.strerror}.") from error

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

    def _read_member(
        self, number: int, member: tar.Member, advance: Callable[[int], None], faults: RowFaults
    ) -> None:
        if member.directory:
            if member.name not in (".", "./"):
                name = safe_name(member.name.removesuffix("/"))
                sql = "INSERT OR IGNORE INTO directories VALUES (?, ?)"
                self._index.load(sql, [(place_of(name), name)])
            return
        name = self._name_of(member)
        type_ = type_of(name)
        stream = MemberStream(self._read, member, advance)
        row = (number, name, place_of(name), type_, member.offset, member.size)
        try:
            self._index.load("INSERT INTO members VALUES (?, ?, ?, ?, ?, ?, NULL)", [row])
        except sqlite3.IntegrityError:
            why = "there is a second member of this name, or one that a system may take for it"
            refuse("duplicate_member", why, name)
        if type_ == "records":
            try:
                self._index.load(
                    "INSERT INTO rows (kind, row, key, at, body) VALUES (?, ?, ?, ?, ?)",
                    checked_rows(self._index, _KINDS[name], stream, faults),
                )
            except StrictJSONError as error:
                faults.add(Fault("bad_json", str(error), name, row=error.row))
                # Where the rest of this member is not read, neither is the rest of the tar.
                faults.raise_if_any()
        elif type_ == "sums":
            self._read_sums(stream)
        elif type_ == "manifest":
            if member.size > MAX_ROW_BYTES:
                refuse("bad_manifest", "it is larger than 4 MiB", MANIFEST)
            self._index.remember(manifest=stream.read(member.size))
        else:
            return
        sha256 = stream.hexdigest()
        self._index.load("UPDATE members SET sha256 = ? WHERE n = ?", [(sha256, number)])

    def _name_of(self, member: tar.Member) -> str:
        try:
            return safe_name(member.name)
        except ArchiveError as error:
            name = member.name.removeprefix("./")
            if type_of(name) not in COUNTED:
                raise
            # Whether it may be there is not known before all of the archive is.
            rows = [(name, error.faults[0].message)]
            self._index.load("INSERT OR IGNORE INTO unsafe VALUES (?, ?)", rows)
            return name

    def _read_sums(self, stream: MemberStream) -> None:
        try:
            self._index.load("INSERT INTO sums VALUES (?, ?)", read_sums(stream.read))
        except sqlite3.IntegrityError:
            refuse("bad_checksums", "a member is named twice", SUMS)

    def _expected_files(self) -> Iterator[tuple[str, int, str, bool, str | None]]:
        for n, release in self.records(RELEASES):
            for type_ in FILE_TYPES:
                file = ReleaseFile(type_, *RELEASES.key_of(release))
                flat = None if file.flat_member == file.member else file.flat_member
                expected = type_ == "package" or release.get("has_docs") is True
                yield type_, n, file.member, expected, flat
