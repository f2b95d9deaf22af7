"""Hex package files and docs files, made byte for byte the same every time.

A package file is an uncompressed tar of VERSION, CHECKSUM, metadata.config and contents.tar.gz;
CHECKSUM is the upper-case hex SHA-256 over the other three (Hex's package specification).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import random
from collections.abc import Iterator, Mapping
from functools import lru_cache
from tarfile import BLOCKSIZE, USTAR_FORMAT, TarInfo
from typing import Any, BinaryIO

_VERSION = b"3"
_END = bytes(2 * BLOCKSIZE)
_CHUNK = 1 << 16
# The gzip frame, and half a block, since sizes go by whole blocks.
_ROUNDING = 20 + BLOCKSIZE // 2


def write_package(
    file: BinaryIO,
    metadata: Mapping[str, Any],
    contents: Mapping[str, bytes],
    *,
    size: int = 0,
    source: random.Random | None = None,
) -> None:
    """Write a package file into an empty, seekable file.

    `contents` maps names to what the sources are. Where that makes less than `size` bytes,
    random ones of `source` fill it up, to within a kilobyte or so; memory stays flat.
    """
    config = "".join(
        f"{{{erlang_text(key)},{erlang_text(value)}}}.\n" for key, value in sorted(metadata.items())
    ).encode()
    _write_member(file, "VERSION", _VERSION)
    checksum_at = file.tell()
    _write_member(file, "CHECKSUM", bytes(64))
    _write_member(file, "metadata.config", config)
    header_at = file.tell()
    plain = sum(BLOCKSIZE + len(data) + _padding(len(data)) for data in contents.values())
    filler = size - header_at - 2 * BLOCKSIZE - plain - 2 * len(_END) - _ROUNDING

    file.write(bytes(BLOCKSIZE))
    inner = _Hashing(file, hashlib.sha256(_VERSION + config))
    # Random bytes do not get smaller: 0 stores them, which is ten times as fast.
    with gzip.GzipFile("", "wb", 0 if filler > 0 else 9, inner, mtime=0) as packed:
        for name, data in contents.items():
            _write_member(packed, name, data)
        if filler > 0:
            packed.write(_header("priv/filler.bin", filler))
            for chunk in _random_chunks(source or random.Random(size), filler):
                packed.write(chunk)
            packed.write(bytes(_padding(filler)))
        packed.write(_END)
    length = file.tell() - header_at - BLOCKSIZE
    file.write(bytes(_padding(length)) + _END)

    file.seek(header_at)
    file.write(_header("contents.tar.gz", length))
    file.seek(checksum_at)
    _write_member(file, "CHECKSUM", inner.hash.hexdigest().upper().encode())
    file.seek(0, io.SEEK_END)


def erlang_text(value: object) -> str:
    """A term of Erlang as text: a text as a binary, a boolean as an atom, a list as one, a mapping
    as a property list.

    Raises TypeError for anything else.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'<<"{escaped}">>' if escaped.isascii() else f'<<"{escaped}"/utf8>>'
    if isinstance(value, Mapping):
        pairs = (f"{{{erlang_text(key)},{erlang_text(item)}}}" for key, item in value.items())
        return f"[{','.join(pairs)}]"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(erlang_text, value))}]"
    raise TypeError(f"a package's metadata can not hold a {type(value).__name__}")


def write_docs(file: BinaryIO, pages: Mapping[str, bytes]) -> None:
    """Write a docs file, a gzipped tar of `pages` (name to bytes), into an empty file."""
    with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        for name, data in pages.items():
            _write_member(packed, name, data)
        packed.write(_END)


class _Hashing:
    """A file to write to that hashes what passes."""

    def __init__(self, file: BinaryIO, digest: hashlib._Hash) -> None:
        self.file = file
        self.hash = digest

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


# Most are those of a file before.
@lru_cache(256)
def _header(name: str, size: int) -> bytes:
    info = TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(USTAR_FORMAT)


def _write_member(file: BinaryIO | gzip.GzipFile, name: str, data: bytes) -> None:
    file.write(_header(name, len(data)) + data + bytes(_padding(len(data))))


def _padding(size: int) -> int:
    return -size % BLOCKSIZE


def _random_chunks(source: random.Random, size: int) -> Iterator[bytes]:
    for start in range(0, size, _CHUNK):
        yield source.randbytes(min(_CHUNK, size - start))
