"""Reads back an archive that was just written, in the order in which it was written.

It goes by the rules by which `reader` goes, and needs no index for them: it knows which member
comes next, so that a backup is checked to the last byte in little more than the time that hashing
it takes. Records are not parsed again, as their bytes are those that the writer checked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from hexhub_backup.archive import rules, tar
from hexhub_backup.archive.faults import FaultList, refuse
from hexhub_backup.archive.manifest import COUNTS, MANIFEST, Manifest
from hexhub_backup.archive.members import COUNTED, safe_name, sum_line, type_of
from hexhub_backup.archive.records import KINDS, Kind

_KINDS = {kind.member: kind.name for kind in KINDS}


def recheck(
    archive: BinaryIO, sums: BinaryIO, manifest: Manifest, advance: Callable[[int], None]
) -> None:
    """Check structure, counts and every hash of `archive` against what the writer knows of it.

    `archive` is opened anew, `sums` holds the writer's line for each member. `advance` is told
    the bytes passed. Raises ArchiveError for whatever is not as it was written, or not as the
    reader takes it.
    """
    facts, faults = _Facts(manifest, sums), FaultList()
    facts.look(_Ahead(archive.fileno(), advance), os.fstat(archive.fileno()).st_size)
    rules.check_members(facts, faults)
    faults.raise_if_any()
    rules.check_manifest(facts, Manifest.parse(manifest.as_bytes()), faults)
    faults.raise_if_any()


class _Facts:
    """The facts of an archive whose members the writer has in `sums`, in the same order."""

    def __init__(self, manifest: Manifest, sums: BinaryIO) -> None:
        self._manifest = manifest.as_bytes()
        self._missing = frozenset(manifest.missing_files)
        self._sums = sums
        self._counts = dict.fromkeys(COUNTS, 0)
        #: SHA-256 of the members that are no files of releases.
        self._hashes: dict[str, str] = {}
        #: Files that the manifest says are missing.
        self._present: set[str] = set()

    def look(self, ahead: _Ahead, size: int) -> None:
        """Walk the archive. Raises ArchiveError for the first byte that is not as written."""
        last, counts = "", self._counts
        self._sums.seek(0)
        for member in tar.walk(ahead.read, size, lambda _: None):
            last = name = safe_name(member.name)
            type_ = type_of(name)
            if type_ == "manifest":
                as_written = ahead.read(member.offset, member.size) == self._manifest
                self._hashes[name] = ""
            else:
                sha256, rows = _hash(ahead, member)
                counts["total_size_bytes"] += member.size
                if type_ in COUNTED:
                    counts[COUNTED[type_]] += 1
                    if name in self._missing:
                        self._present.add(name)
                else:
                    self._hashes[name] = sha256
                    if type_ == "records":
                        counts[_KINDS[name]] = rows
                # The manifest vouches for SHA256SUMS.
                as_written = type_ == "sums" or sum_line(name, sha256) == self._sums.readline()
            if not as_written:
                refuse("checksum_mismatch", "it is not as it was written", name)
        if last != MANIFEST or self._sums.readline():
            refuse("missing_member", "not all that was written is there")

    def present(self, names: Iterable[str]) -> Iterator[str]:
        return (name for name in names if name in self._hashes or name in self._present)

    def count(self, name: str) -> int:
        return self._counts[name]

    def sha256(self, name: str) -> str | None:
        return self._hashes.get(name)

    def unknown(self) -> Iterator[str]:
        return (name for name in self._hashes if type_of(name) == "unknown")

    # The writer takes records and files in strict order, and refuses releases that would make a
    # folder of a file. Each member was held against its line.

    def files_and_folders(self) -> Iterator[tuple[str, str]]:
        return iter(())

    def duplicates(self) -> Iterator[tuple[Kind, str, int]]:
        return iter(())

    def only_there(self) -> Iterator[str]:
        return iter(())

    def only_in_sums(self) -> Iterator[str]:
        return iter(())

    def damaged(self) -> Iterator[str]:
        return iter(())


class _Ahead:
    """Reads a file from its beginning to its end, many small members at a time; `advance` is
    told the bytes passed."""

    def __init__(self, descriptor: int, advance: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._advance = advance
        self._start = 0
        self._chunk = b""
        self._view = memoryview(self._chunk)

    def read(self, at: int, length: int) -> bytes:
        """`length` bytes, fewer only at the end of the file."""
        begin = at - self._start
        if begin + length > len(self._chunk):
            self._look(at, length)
            begin = 0
        return self._chunk[begin : begin + length]

    def part(self, at: int, length: int) -> memoryview:
        """The first of `length` bytes, as many as are there already; none only at the end."""
        begin = at - self._start
        if begin >= len(self._chunk):
            # Only what is read at a time anyway: a member may be larger than memory.
            self._look(at, 1)
            begin = 0
        return self._view[begin : begin + length]

    def _look(self, at: int, length: int) -> None:
        self._advance(at - self._start)
        self._chunk = os.pread(self._descriptor, max(length, tar.CHUNK), at)
        self._view = memoryview(self._chunk)
        self._start = at


def _hash(ahead: _Ahead, member: tar.Member) -> tuple[str, int]:
    """The SHA-256 of a member, and how many of its lines are records."""
    name, at, left, _ = member
    part = ahead.part(at, left)
    digest = hashlib.sha256(part)
    rows = 0
    before = b"\n"
    while True:
        if name in _KINDS:
            rows += (before + part).count(b"\n{")
            before = bytes(part[-1:])
        at += len(part)
        left -= len(part)
        if not left:
            return digest.hexdigest(), rows
        part = ahead.part(at, left)
        if not part:
            refuse("truncated", "the archive became shorter while it was read back", name)
        digest.update(part)
