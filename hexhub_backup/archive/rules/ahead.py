"""A file read from its beginning to its end, many small members at a time."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator

from hexhub_backup.archive.faults import GET_AGAIN, refuse
from hexhub_backup.archive.rules.tar import BLOCK, CHUNK
from hexhub_backup.archive.source import ReadableFile

#: Bytes of a member that is copied rather than handed out in parts.
SMALL = 16 * 1024


class Ahead:
    """Looks ahead in a file: `read(offset, length)` returns the bytes there, fewer only at its
    end. `advance` is called with the bytes passed, but for those that `skip` was told.

    It looks twice as far each time, and only a little way after a jump: little is read of a file
    that is damaged at its beginning, or of what is passed over.
    """

    def __init__(self, read: Callable[[int, int], bytes], advance: Callable[[int], None]) -> None:
        self._read = read
        self._advance = advance
        self._start = 0
        self._end = 0
        self._far = BLOCK
        self._skipped = 0
        self._chunk = b""
        self._view = memoryview(self._chunk)

    def read(self, at: int, length: int) -> bytes:
        """`length` bytes, fewer only at the end of the file."""
        if at + length > self._end:
            self._look(at, length)
        begin = at - self._start
        return self._chunk[begin : begin + length]

    def part(self, at: int, length: int) -> memoryview:
        """The first of `length` bytes, as many as are there already; none only at the end."""
        if at >= self._end:
            # Only what is read at a time anyway: a member may be larger than memory.
            self._look(at, 1)
        begin = at - self._start
        return self._view[begin : begin + length]

    def parts(self, name: str, at: int, length: int) -> Iterator[memoryview]:
        """The bytes of a member, one part or more. Raises ArchiveError where they end before."""
        while True:
            part = self.part(at, length)
            yield part
            at += len(part)
            length -= len(part)
            if not length:
                return
            if not part:
                refuse("truncated", f"the file ends before the member does; {GET_AGAIN}", name)

    def sha256(self, name: str, at: int, length: int) -> str:
        """Of a member, in hex. Raises ArchiveError as `parts`."""
        if at + length <= self._end:
            begin = at - self._start
            return hashlib.sha256(self._view[begin : begin + length]).hexdigest()
        digest = hashlib.sha256()
        for part in self.parts(name, at, length):
            digest.update(part)
        return digest.hexdigest()

    def look_into(
        self,
        name: str,
        at: int,
        length: int,
        look: Callable[[str, ReadableFile], None],
        passed: Callable[[memoryview], object] | None,
    ) -> None:
        """Let `look` read a member once, as far as it likes. `passed` gets all of its bytes where
        it is given. Raises ArchiveError as `parts`."""
        if at < self._start:
            # In an archive of HexHub's, files are not in the order of their releases.
            self._look(at, BLOCK)
        if length <= SMALL and at + length <= self._end:
            begin = at - self._start
            part = self._view[begin : begin + length]
            if passed is not None:
                passed(part)
            look(name, io.BytesIO(part))
            return
        parts = self.parts(name, at, length)
        if passed is not None:
            parts = passing(parts, passed)
        look(name, _File(parts))
        for _ in parts:
            pass

    def again(self) -> Ahead:
        """For what was passed already, of which nobody is told a second time."""
        return Ahead(self._read, lambda _: None)

    def skip(self, length: int) -> None:
        """Pass so many bytes over: somebody else reads them."""
        self._skipped += length

    def _look(self, at: int, length: int) -> None:
        self._advance(at - self._start - self._skipped)
        self._skipped = 0
        self._far = min(2 * self._far, CHUNK) if at <= self._end else 2 * BLOCK
        self._chunk = self._read(at, max(length, self._far))
        self._view = memoryview(self._chunk)
        self._start = at
        self._end = at + len(self._chunk)


def passing(
    parts: Iterator[memoryview], passed: Callable[[memoryview], object]
) -> Iterator[memoryview]:
    """The same parts, each of which `passed` gets first."""
    for part in parts:
        passed(part)
        yield part


class _File:
    """Parts as a file."""

    def __init__(self, parts: Iterator[memoryview]) -> None:
        self._parts = parts
        self._part = memoryview(b"")

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join([self._part, *self._parts])
        if not self._part:
            self._part = next(self._parts, self._part)
        data, self._part = self._part[:size], self._part[size:]
        return bytes(data)
