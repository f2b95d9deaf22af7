"""Tar headers: written as plain ustar, read strictly and without the standard library's tarfile.

Sources: POSIX.1-2017 pax(1) for ustar and pax, the GNU tar manual for `L` and base-256.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import adler32

from hexhub_backup.archive.faults import GET_AGAIN, refuse, shown
from hexhub_backup.marking import marked

BLOCK = 512
#: Two zero blocks end a tar. Padding to 10 KiB is a habit of tape drives, which we don't keep.
END = bytes(2 * BLOCK)
#: What a pax header or a GNU long name may measure. A path takes 4 KiB, everything else less.
MAX_EXTENSION_BYTES = 64 * 1024
#: What eleven octal digits hold.
MAX_USTAR_SIZE = 8 * 1024**3 - 1
CHUNK = 1024 * 1024

_FULL_NAME = 99
_ZERO = bytes(BLOCK)
_MODE_AND_OWNER = b"0000600\0" + b"0000000\0" * 2
_NO_TIME = b"%011o\0" % 0
_BEHIND_TYPE = (bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2).ljust(355, b"\0")
# What the parts that are the same in all headers add to the checksum, which counts as blanks.
_FIXED_SUM = sum(_NO_TIME + _BEHIND_TYPE) + 8 * 0x20
# The fields of a header, and how many bytes of it are of name, mode, owner and size.
_FIELDS = struct.Struct("100s24s11ss12s8s356s").unpack
_BEHIND_CHECKSUM = b"0" + _BEHIND_TYPE
_CHECKED = 136
_MAGICS = {b"ustar\x0000": "ustar", b"ustar  \0": "gnu"}
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"\xfd7zXZ\0": ("xz", "unxz"),
    b"BZh": ("bzip2", "bunzip2"),
    b"(\xb5/\xfd": ("zstd", "unzstd"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4"),
    b"LZIP": ("lzip", "lzip -d"),
    b"PK\x03\x04": ("zip", "unzip"),
    b"7z\xbc\xaf\x27\x1c": ("7z", "7z x"),
}
_EXTENSIONS = (b"x", b"g", b"L")
#: What stands for the name of what a header or a file has no name of.
_BEGINNING = marked("the beginning")
_ASCII = "".join(map(chr, range(128)))
_TYPES = (b"0", b"\0", b"5", *_EXTENSIONS)
_REFUSED_TYPES = {
    b"1": marked("a hard link"),
    b"2": marked("a symbolic link"),
    b"3": marked("a device"),
    b"4": marked("a device"),
    b"6": marked("a FIFO"),
    b"K": marked("a long link name"),
    b"S": marked("a sparse file"),
}


class Member(NamedTuple):
    """A regular file or a directory in a tar; `offset` and `size` of its bytes."""

    name: str
    offset: int
    size: int
    directory: bool = False


def padding(size: int) -> int:
    """How many zero bytes follow `size` bytes, up to the next block."""
    return -size % BLOCK


def block(name: bytes, size: int, type_: bytes = b"0") -> bytes:
    """One header block. `name` is at most 100 bytes; a size over 8 GiB is put in base-256."""
    octal = size <= MAX_USTAR_SIZE
    field = b"%011o\0" % size if octal else b"\x80" + size.to_bytes(11, "big")
    head = name.ljust(100, b"\0") + _MODE_AND_OWNER + field
    return b"%b%b%b%b%b" % (head, _NO_TIME, _checksum(head, type_), type_, _BEHIND_TYPE)


def _checksum(head: bytes, type_: bytes = b"0") -> bytes:
    """The field of a header that begins with `head`, and goes on as `block` has it."""
    return b"%06o\0 " % (_FIXED_SUM + _sum(head) + type_[0])


def _sum(data: bytes) -> int:
    # Adler-32 has the sum of the bytes, modulo 65521, in its lower half: of 256 bytes it is never
    # so large. A loop over them takes several times as long, and there are two for each file.
    return adler32(data, 0) & 0xFFFF


def pack(name: str, size: int) -> bytes:
    """The header of a regular file: one block, or three where pax holds path or size."""
    path = name.encode()
    records = b""
    if len(path) > 100:
        records += _pax_record(b"path", path)
        path = path[:100].decode(errors="ignore").encode()
    if size > MAX_USTAR_SIZE:
        records += _pax_record(b"size", b"%d" % size)
        size = 0
    header = block(path, size)
    if not records:
        return header
    extension = block(b"././@PaxHeader", len(records), b"x")
    return extension + records + bytes(padding(len(records))) + header


def _pax_record(key: bytes, value: bytes) -> bytes:
    # The length counts its own digits.
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def check_head(head: bytes) -> None:
    """Whether a file may be a tar that begins with these bytes: its first block, or all of it.
    Raises ArchiveError."""
    _check_beginning(head)
    _check_header(head[:BLOCK], _BEGINNING, first=True)


def walk(read: Callable[[int, int], bytes], size: int) -> Iterator[Member]:
    """The members of a tar of `size` bytes, in order, up to its very end.

    `read(offset, length)` returns the bytes there, fewer only at the end of the file. Raises
    ArchiveError at the first fault. Each turn takes at least one block, so that no header makes it
    loop (CVE-2019-20907, CVE-2025-8194); nothing recurses, and no number is trusted before it
    was compared with `size`.
    """
    at = pad = 0
    extension: _Extension | None = None
    name = _BEGINNING
    while True:
        data = read(at, pad + BLOCK)
        if at == 0:
            _check_beginning(data)
        if len(data) < pad + BLOCK:
            refuse("truncated", f"the file ends behind {shown(name)}; {GET_AGAIN}")
        if data.count(0, 0, pad) != pad:
            refuse("bad_header", f"the padding is not zero; {GET_AGAIN}", name)
        head = data[pad:]
        at += len(data)
        if head == _ZERO:
            break
        written = None if extension else _as_written(head)
        name, length, type_ = written or _read_header(head, name, extension, first=at == BLOCK)
        if type_ in _EXTENSIONS:
            if extension is not None:
                refuse("bad_header", "there is more than one extended header for a member", name)
            if not 0 < length <= MAX_EXTENSION_BYTES:
                refuse("bad_header", f"an extended header of {length} bytes", name)
            extension = _parse_extension(type_, read(at, length), name)
        else:
            directory = type_ == b"5"
            if extension is not None:
                length = _agreed_size(extension, length, name)
                _check_path(extension, head)
            _check_member(name, length, size - at, directory=directory)
            yield Member(name, at, length, directory)
            extension = None
        at += length
        pad = padding(length)
    if extension is not None:
        refuse("bad_header", "an extended header is followed by no member", name)
    _check_end(read, at, size)


@dataclass(frozen=True)
class _Extension:
    """What an extended header says of the member behind it."""

    path: str | None
    size: int | None = None


def _as_written(head: bytes) -> tuple[str, int, bytes] | None:
    """Name, size and type in a header of which each byte is as `block` makes it of them: nearly
    all are. None for any other, which has to be looked at more closely."""
    field, mode_and_owner, digits, nul, time, checksum, behind = _FIELDS(head)
    name = field.rstrip(b"\0")
    if (
        behind != _BEHIND_CHECKSUM
        or mode_and_owner != _MODE_AND_OWNER
        or time != _NO_TIME
        or nul != b"\0"
        or b"\0" in name
        or not digits.isdigit()
        or checksum != _checksum(head[:_CHECKED])
    ):
        return None
    try:
        return name.decode(), int(digits, 8), b"0"
    except ValueError:
        # No octal digits, or no UTF-8.
        return None


def _read_header(
    head: bytes, before: str, extension: _Extension | None, *, first: bool
) -> tuple[str, int, bytes]:
    _check_header(head, before, first=first)
    type_ = head[156:157]
    # The name of an extended header means nothing, and GNU tar cuts it between bytes.
    name = marked("an extended header")
    if type_ not in _EXTENSIONS:
        name = (extension and extension.path) or _plain_name(head)
    return name, parse_number(head[124:136], name), type_


def _check_member(name: str, length: int, left: int, *, directory: bool) -> None:
    if not name:
        refuse("unsafe_name", "a member has no name")
    if directory and length:
        refuse("bad_header", "a directory says that it has a size", name)
    if length > left:
        refuse("truncated", f"the file ends before the member does; {GET_AGAIN}", name)


def _agreed_size(extension: _Extension, length: int, name: str) -> int:
    if extension.size is None:
        return length
    # Where the header could hold it, no writer leaves it 0: a reader without pax would see other
    # members there (CVE-2025-62518).
    if length != extension.size and (length or extension.size <= MAX_USTAR_SIZE):
        refuse("bad_header", f"there are two sizes, {length} and {extension.size}", name)
    return extension.size


def _check_path(extension: _Extension, head: bytes) -> None:
    """Refuse a ustar name that a reader without pax would take for another member: it has to be
    empty, as HexHub's is, or the path. What ustar can not hold each writer cuts in its own way,
    but none of them in the first folder, up to a letter beyond ASCII, before the field is full."""
    path = extension.path
    if path is None:
        return
    plain, whole = plain_bytes(head), path.encode()
    start = whole
    if len(whole) > 100 or not path.isascii():
        folder = path[: path.find("/") + 1] or path[: len(plain)]
        start = folder[: len(folder) - len(folder.lstrip(_ASCII))].encode()
        plain = plain[: len(start)]
    # In its old format GNU tar keeps the last byte of the field for a NUL.
    cut = len(plain) >= _FULL_NAME and start.startswith(plain)
    if plain and plain != start and not cut:
        refuse("bad_header", "there are two names, that of pax and another", path)


def _check_beginning(data: bytes) -> None:
    for magic, (what, tool) in _COMPRESSED.items():
        if data.startswith(magic):
            refuse("compressed", f"the file is compressed with {what}; {tool} it first")
    if not data:
        refuse("not_a_tar", f"the file is empty; {GET_AGAIN}")
    if len(data) < BLOCK:
        refuse("not_a_tar", f"the file is too small to be a tar; {GET_AGAIN}")


def is_header(head: bytes) -> bool:
    """Whether a block has the checksum of a header."""
    checksum = head[148:156].strip(b"\0 ")
    # The checksum itself counts as blanks.
    actual = _sum(head[:256]) + _sum(head[256:]) - _sum(head[148:156]) + 8 * 0x20
    return _is_octal(checksum) and int(checksum, 8) == actual


def _check_header(head: bytes, before: str, *, first: bool) -> None:
    if not is_header(head):
        if first and not head[257:].startswith(b"ustar"):
            refuse("not_a_tar", "the file is not a tar; choose the .tar that a backup made")
        refuse("bad_header", f"the header behind {shown(before)} is damaged; {GET_AGAIN}")
    if head[257:265] not in _MAGICS:
        refuse("bad_header", "a header is neither ustar, pax nor GNU; pack with --format=ustar")
    type_ = head[156:157]
    if type_ not in _TYPES:
        what = _REFUSED_TYPES.get(type_, marked(f"of type {type_!r}"))
        message = f"the member is {what}; pack the archive again with regular files only"
        refuse("unsupported_member", message, _plain_name(head))


def _check_end(read: Callable[[int, int], bytes], at: int, size: int) -> None:
    if size - at < BLOCK:
        refuse("truncated", f"the two zero blocks at the end are missing; {GET_AGAIN}")
    while data := read(at, CHUNK):
        if data.count(0) < len(data):
            refuse("trailing_data", f"there are bytes behind the end of the tar; {GET_AGAIN}")
        at += len(data)


def _is_octal(digits: bytes) -> bool:
    return bool(digits) and not digits.strip(b"01234567")


def parse_number(field: bytes, name: str) -> int:
    """The number in a field of a header. Raises ArchiveError."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.lstrip(b" ").rstrip(b"\0 ")
    if not _is_octal(digits):
        refuse("bad_header", "the size is negative or no number", name)
    return int(digits, 8)


def _plain_name(head: bytes) -> str:
    return _decode_name(plain_bytes(head), marked("a member"))


def plain_bytes(head: bytes) -> bytes:
    """The name in a header itself."""
    name = head[:100].partition(b"\0")[0]
    # Where POSIX has the prefix, GNU keeps other things.
    prefix = head[345:500].partition(b"\0")[0]
    if prefix and _MAGICS.get(head[257:265]) == "ustar":
        return prefix + b"/" + name
    return name


def _decode_name(raw: bytes, member: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        refuse("unsafe_name", f"the name {shown(repr(raw))} is not UTF-8", member)


def _parse_extension(type_: bytes, payload: bytes, name: str) -> _Extension | None:
    if type_ == b"L":
        return _Extension(_decode_name(payload.rstrip(b"\0"), name))
    records = pax_records(payload, name)
    if type_ == b"x":
        return _Extension(_pax_path(records, name), _pax_size(records, name))
    # A global header holds for all that follow; pax and git write comments and times in it.
    if not records.keys().isdisjoint((b"path", b"size")):
        refuse("bad_header", "a global header carries a path or a size", name)
    return None


def pax_records(payload: bytes, name: str) -> dict[bytes, bytes]:
    """The records of a pax header: `LENGTH KEY=VALUE\\n`, cut by LENGTH and by no regular
    expression (CVE-2024-6232). Raises ArchiveError."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(payload):
        space = payload.find(b" ", at, at + 8)
        digits = payload[at : max(space, at)]
        end = at + int(digits) if digits.isdigit() else at
        key, equals, value = payload[space + 1 : end].partition(b"=")
        if not (space < end <= len(payload) and key and equals and value.endswith(b"\n")):
            refuse("bad_header", "a pax header is malformed", name)
        if key in records:
            refuse("bad_header", f"a pax header has {shown(repr(key))} twice", name)
        if key.startswith(b"GNU.sparse."):
            refuse("unsupported_member", "the member is a sparse file; pack it without", name)
        records[key] = value[:-1]
        at = end
    return records


def _pax_path(records: dict[bytes, bytes], name: str) -> str | None:
    path = records.get(b"path")
    if path == b"":
        refuse("bad_header", "a pax header has an empty path", name)
    return None if path is None else _decode_name(path, name)


def _pax_size(records: dict[bytes, bytes], name: str) -> int | None:
    size = records.get(b"size")
    if size is None:
        return None
    if not size.isdigit() or len(size) > 19:
        refuse("bad_header", "the size is negative or no number", name)
    return int(size)
