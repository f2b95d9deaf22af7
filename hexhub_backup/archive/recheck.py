"""Reads back an archive that was just written, in the order in which it was written.

Other than `reader`, it needs no index: it knows which member comes next, so that a backup is
checked to the last byte in little more than the time that hashing it takes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO

from hexhub_backup.archive import tar
from hexhub_backup.archive.faults import refuse
from hexhub_backup.archive.manifest import MANIFEST, SUMS, Manifest
from hexhub_backup.archive.records import KINDS

_KINDS = {kind.member: kind.name for kind in KINDS}


def recheck(
    archive: BinaryIO, sums: BinaryIO, manifest: Manifest, advance: Callable[[int], None]
) -> None:
    """Check structure, counts and every hash of `archive` against what the writer knows of it.

    `archive` is opened anew, `sums` holds the writer's line for each member. `advance` is told
    the bytes passed. Raises ArchiveError for whatever is not as it was written.
    """
    ahead = _Ahead(archive.fileno(), advance)
    size = os.fstat(archive.fileno()).st_size
    counts = dict.fromkeys(manifest.contents, 0)
    expected = {
        SUMS: manifest.checksums[SUMS],
        MANIFEST: f"sha256:{hashlib.sha256(manifest.as_bytes()).hexdigest()}",
    }
    last = ""
    sums.seek(0)
    for member in tar.walk(ahead.read, size, lambda _: None):
        last = name = member.name
        sha256, rows = _hash(ahead, member)
        line = f"{sha256}  {name}\n".encode()
        if f"sha256:{sha256}" != expected[name] if name in expected else line != sums.readline():
            refuse("checksum_mismatch", "it is not as it was written", name)
        if name != MANIFEST:
            counts["total_size_bytes"] += member.size
        if name in _KINDS:
            counts[_KINDS[name]] = rows
        elif name not in expected:
            counts["package_files" if name.startswith("packages/") else "doc_files"] += 1
    if last != MANIFEST or sums.readline():
        refuse("missing_member", "not all that was written is there")
    if counts != manifest.contents:
        refuse("count_mismatch", "the archive does not hold as many as were written", MANIFEST)


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
    digest = hashlib.sha256()
    rows = 0
    before = b"\n"
    while left:
        part = ahead.part(at, left)
        if not part:
            refuse("truncated", "the archive became shorter while it was read back", name)
        digest.update(part)
        at += len(part)
        left -= len(part)
        if name in _KINDS:
            rows += (before + part).count(b"\n{")
            before = bytes(part[-1:])
    return digest.hexdigest(), rows
