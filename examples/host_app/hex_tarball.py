"""Hex package files and docs files: made byte for byte the same every time, and read.

A package file is an uncompressed tar of VERSION, CHECKSUM, metadata.config and contents.tar.gz;
CHECKSUM is the upper-case hex SHA-256 over the other three (Hex's package specification).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from tarfile import BLOCKSIZE, USTAR_FORMAT, TarInfo
from typing import Any, BinaryIO, cast

from examples.host_app import erlang_text

_VERSION = b"3"
_END = bytes(2 * BLOCKSIZE)
_CHUNK = 1 << 16
# The gzip frame, and half a block, since sizes go by whole blocks.
_ROUNDING = 20 + BLOCKSIZE // 2
_MEMBERS = ("VERSION", "CHECKSUM", "metadata.config", "contents.tar.gz")
#: Bytes of a member other than the contents.
_LARGEST = 1 << 20


class TarballError(Exception):
    """Why a file is no package file, as a sentence without its full stop."""


@dataclass(frozen=True)
class Requirement:
    """What a release needs. `repository` is empty where its metadata names none."""

    package: str
    version: str
    app: str
    optional: bool
    repository: str


@dataclass(frozen=True)
class PackageFile:
    """What a package file says of itself, after its checksum was found to fit."""

    #: SHA-256 over VERSION, metadata.config and contents.tar.gz; of the whole file.
    inner_checksum: bytes
    outer_checksum: bytes
    metadata: dict[str, Any]
    requirements: tuple[Requirement, ...]


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
        f"{{{erlang_text.write(key)},{erlang_text.write(value)}}}.\n"
        for key, value in sorted(metadata.items())
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


def write_docs(file: BinaryIO, pages: Mapping[str, bytes]) -> None:
    """Write a docs file, a gzipped tar of `pages` (name to bytes), into an empty file."""
    with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        for name, data in pages.items():
            _write_member(packed, name, data)
        packed.write(_END)


def read_package(file: BinaryIO) -> PackageFile:
    """Read a package file once, from its first byte to its last; memory stays flat.

    Raises TarballError unless it has the four members in Hex's order, metadata that can be read,
    and a CHECKSUM that fits them.
    """
    source = _Source(file)
    small: dict[str, bytes] = {}
    inner = hashlib.sha256()
    try:
        with tarfile.open(fileobj=cast(BinaryIO, source), mode="r|") as tar:
            for member, expected in zip_longest(tar, _MEMBERS):
                if member is None or member.name != expected:
                    raise TarballError(f"Its members are not {', '.join(_MEMBERS)}")
                content = tar.extractfile(member)
                if content is None:
                    raise TarballError(f"{expected} in it is no file")
                if expected == "contents.tar.gz":
                    while chunk := content.read(_CHUNK):
                        inner.update(chunk)
                    continue
                if member.size > _LARGEST:
                    raise TarballError(f"{expected} in it is larger than {_LARGEST} bytes")
                small[expected] = content.read()
                if expected != "CHECKSUM":
                    inner.update(small[expected])
        while source.read(_CHUNK):
            pass
        metadata = erlang_text.read(small["metadata.config"].decode())
        requirements = _requirements(metadata)
    except tarfile.TarError as error:
        raise TarballError("It is no tar, or a part of it is missing") from error
    except (TypeError, ValueError) as error:
        raise TarballError(f"Its metadata.config can not be read: {error}") from error
    if small["CHECKSUM"].decode("ascii", "replace").strip().lower() != inner.hexdigest():
        raise TarballError("Its contents do not fit its CHECKSUM")
    return PackageFile(inner.digest(), source.hash.digest(), metadata, requirements)


def _requirements(metadata: Mapping[str, Any]) -> tuple[Requirement, ...]:
    """By the name of what is needed. Raises ValueError where they have another form."""
    given = metadata.get("requirements") or []
    if isinstance(given, dict):  # the older form, which rebar3 writes still
        given = [{"name": name, **dict(rule)} for name, rule in given.items()]
    found = []
    for rule in given:
        texts = {
            key: dict(rule).get(key) or "" for key in ("name", "requirement", "app", "repository")
        }
        name = texts["name"]
        if not name or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("a requirement in it has no name, or no text where one has to be")
        found.append(
            Requirement(
                package=name,
                version=texts["requirement"] or ">= 0.0.0",
                app=texts["app"] or name,
                optional=rule.get("optional") is True,
                repository=texts["repository"],
            )
        )
    return tuple(sorted(found, key=lambda each: each.package))


class _Source:
    """A file to read from that hashes what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


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
