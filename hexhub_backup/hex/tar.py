"""A tar of somebody else's, read as a stream: what Hex's clients take is taken.

That is more than an archive of backups may hold: links, no zero blocks but one, and anything behind
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from hexhub_backup.archive.rules.tar import (
    BLOCK,
    MAX_EXTENSION_BYTES,
    is_header,
    parse_number,
    pax_records,
    plain_bytes,
)
from hexhub_backup.errors import ArchiveError
from hexhub_backup.marking import marked

CHUNK = 64 * 1024
_ZERO = bytes(BLOCK)
#: The types of regular files.
FILES = (b"0", b"\0", b"7")
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_EXTENSIONS = (_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK)


class TarError(Exception):
    """Why a tar can not be read, as a part of a sentence."""


class Member(NamedTuple):
    """`type` is that of the header; `link` is what a link leads to."""

    name: str
    type: bytes
    size: int
    link: str


class TarStream:
    """The members of a tar that `read(size)` gives, one after the other: fewer bytes than `size`
    where there are no more at once, and none at its end. Memory stays flat."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = b""
        self._at = 0
        self._left = 0
        self._padding = 0

    def members(self) -> Iterator[Member]:
        """Whatever of a member is not read is passed over. Raises TarError."""
        extended: dict[bytes, bytes] = {}
        while True:
            if self._left:
                for _ in self.chunks():
                    pass
            # Most often it is there already, and a call would cost more.
            at = self._at + self._padding
            head = self._data[at : at + BLOCK]
            if len(head) == BLOCK:
                self._at = at + BLOCK
            else:
                head = self._take(self._padding + BLOCK)[-BLOCK:]
            if head == _ZERO:
                return
            member = _member(head)
            if member.type not in FILES and member.type in _EXTENSIONS:
                extended |= self._extension(member)
                continue
            if extended:
                member = _extended(member, extended)
                extended = {}
            self._left, self._padding = member.size, -member.size % BLOCK
            yield member

    def chunks(self) -> Iterator[memoryview]:
        """What is left of the bytes of the member that came last, not copied. Raises TarError."""
        while self._left:
            if self._at == len(self._data):
                self._more()
            chunk = memoryview(self._data)[self._at : self._at + self._left]
            self._at += len(chunk)
            self._left -= len(chunk)
            yield chunk

    def whole(self) -> bytes:
        """The same at once, of a member that is small."""
        size, self._left = self._left, 0
        end = self._at + size
        # As in `members`: most often it is there.
        if end > len(self._data):
            return self._take(size)
        taken, self._at = self._data[self._at : end], end
        return taken

    def _extension(self, member: Member) -> dict[bytes, bytes]:
        if member.size > MAX_EXTENSION_BYTES:
            raise TarError(marked("one of its headers is too large"))
        payload = self._take(member.size)
        self._padding = -member.size % BLOCK
        if member.type == _PAX_GLOBAL:
            return {}
        if member.type == _PAX:
            try:
                return pax_records(payload, "")
            except ArchiveError as error:
                raise _damaged() from error
        return {b"path" if member.type == _LONG_NAME else b"linkpath": payload.rstrip(b"\0")}

    def _take(self, size: int) -> bytes:
        end = self._at + size
        while end > len(self._data):
            self._more()
            end = self._at + size
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _more(self) -> None:
        data = self._read(CHUNK)
        if not data:
            raise TarError(marked("it is no tar, or a part of it is missing"))
        # Nothing is left of what was there where somebody else's chunks are read on and on.
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0


# Of the small files that a package file holds, most headers are those of another.
@lru_cache(1024)
def _member(head: bytes) -> Member:
    if not is_header(head):
        raise _damaged()
    try:
        size = parse_number(head[124:136], "")
    except ArchiveError as error:
        raise _damaged() from error
    link = head[157:257].partition(b"\0")[0]
    type_ = head[156:157]
    # Links have no bytes, whatever they say.
    size = size if type_ in FILES or type_ in _EXTENSIONS else 0
    return Member(_text(plain_bytes(head)), type_, size, _text(link))


def _extended(member: Member, records: dict[bytes, bytes]) -> Member:
    size = records.get(b"size", b"")
    if size and not (size.isdigit() and len(size) < 20):
        raise _damaged()
    return Member(
        _text(records[b"path"]) if b"path" in records else member.name,
        member.type,
        int(size) if size and member.type in FILES else member.size,
        _text(records[b"linkpath"]) if b"linkpath" in records else member.link,
    )


def _text(name: bytes) -> str:
    return name.decode(errors="replace")


def _damaged() -> TarError:
    return TarError(marked("it is no tar, or one of its headers is damaged"))
