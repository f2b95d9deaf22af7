"""The contents of a package file, unpacked to their end and thrown away."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from hexhub_backup.archive.faults import shown
from hexhub_backup.hex.tar import CHUNK, Member, TarError, TarStream
from hexhub_backup.marking import marked

#: So many bytes may come of the contents of one package file: what unpacks to more may be a bomb.
MOST_UNPACKED = 1 << 30
#: A stream of gzip, with its header.
_GZIP = 31
_HARD_LINK, _SYMBOLIC_LINK, _DEVICES = b"1", b"2", (b"3", b"4")


def find_problem(packed: Iterator[bytes | memoryview]) -> str | None:
    """Why no client can unpack the contents, or None where it can. `packed` may be left before its
    end."""
    plain = _Gunzipped(packed)
    try:
        tar = TarStream(plain.read)
        for member in tar.members():
            if why := _refused(member):
                return why
        # Behind the end may be anything, which has to be whole.
        while plain.read(CHUNK):
            pass
    except TarError as error:
        reason = str(error)
        return marked(f"its contents.tar.gz can't be unpacked: {reason}")
    return None


def _refused(member: Member) -> str | None:
    name = shown(member.name)
    if not member.name.strip("/") or _leaves(member.name):
        return marked(f"a file in its contents.tar.gz is outside of the package: {name}")
    if member.type in _DEVICES:
        return marked(f"a file in its contents.tar.gz is a device: {name}")
    folder = "" if member.type == _HARD_LINK else member.name.rpartition("/")[0]
    is_link = member.type in (_HARD_LINK, _SYMBOLIC_LINK)
    # Clients take the first slash of a name away, but not that of what a link leads to.
    if is_link and (member.link.startswith("/") or _leaves(f"{folder}/{member.link}")):
        return marked(f"a link in its contents.tar.gz leads out of the package: {name}")
    return None


def _leaves(path: str) -> bool:
    """Whether a path goes above the folder that it begins in."""
    depth = 0
    for part in path.split("/"):
        if part == "..":
            depth -= 1
        elif part not in ("", "."):
            depth += 1
        if depth < 0:
            return True
    return False


class _Gunzipped:
    """What gzip has packed, as a file to read."""

    def __init__(self, packed: Iterator[bytes | memoryview]) -> None:
        self._packed = packed
        self._stream = zlib.decompressobj(_GZIP)
        self._waiting = b""
        self._room = MOST_UNPACKED

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end. Raises TarError where it is damaged, and for a
        bomb."""
        try:
            while True:
                waiting = self._waiting or next(self._packed, b"")
                if self._stream.eof:
                    if not waiting:
                        return b""
                    # One may be followed by another, and by nothing else.
                    self._stream = zlib.decompressobj(_GZIP)
                data = self._stream.decompress(waiting, size)
                self._waiting = self._stream.unconsumed_tail or self._stream.unused_data
                if data:
                    break
                if not waiting and not self._stream.eof:
                    raise TarError(marked("it ends before it is complete"))
        except zlib.error as error:
            raise TarError(marked("it is no gzip, or damaged")) from error
        self._room -= len(data)
        if self._room < 0:
            most = MOST_UNPACKED >> 30
            raise TarError(marked(f"it unpacks to more than {most} GiB, and was read no further"))
        return data
