"""Reads back an archive that was just written, in the order in which it was written.

It follows the rules of `reader`, and needs no index for them: it knows which member comes
next, so that a backup is checked to the last byte in little more than the time that hashing
it takes. Records are not parsed again, as their bytes are those that the writer checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import IO, BinaryIO, Protocol

from hexhub_backup.archive.faults import FaultList, refuse
from hexhub_backup.archive.records import KINDS, RELEASES, Kind
from hexhub_backup.archive.rules import tar, whole
from hexhub_backup.archive.rules.ahead import Ahead
from hexhub_backup.archive.rules.checksums import sum_line
from hexhub_backup.archive.rules.hashing import DigestBeside
from hexhub_backup.archive.rules.manifest import COUNTS, MANIFEST, Manifest
from hexhub_backup.archive.rules.member_names import COUNTED, safe_name, type_of
from hexhub_backup.archive.source import ReadableFile, Source

_KINDS = {kind.member: kind.name for kind in KINDS}


class Looking(Protocol):
    """Somebody who looks at the package files while they are read."""

    #: Gets what is read of the releases.
    rows: IO[bytes]

    def look(self, member: str, file: ReadableFile, /) -> None:
        """Read a package file, as far as is wanted."""


def recheck(
    archive: Source,
    sums: BinaryIO,
    manifest: Manifest,
    advance: Callable[[int], None],
    looking: Looking | None = None,
) -> str:
    """Check structure, counts and every hash of `archive` against what the writer knows of it.
    Returns the SHA-256 of the whole archive, in hex.

    `archive` is opened anew, `sums` holds the writer's line for each member. `advance` is called
    with the bytes passed, and `looking` reads with it. Raises ArchiveError for whatever is not as
    it was written, or not as the reader takes it.
    """
    faults = FaultList()
    with ThreadPoolExecutor(1 if looking is None else 2) as beside:
        facts = _Facts(manifest, sums, looking, beside)
        read = _HashedReads(archive, beside)
        facts.look(Ahead(read, advance), archive.size)
        sha256 = read.hexdigest()
    whole.check_members(facts, faults)
    faults.raise_if_any()
    whole.check_manifest(facts, Manifest.parse(manifest.as_bytes()), faults)
    faults.raise_if_any()
    return sha256


class _HashedReads:
    """Reads an archive from its beginning on, and hashes all of it on another processor."""

    def __init__(self, archive: Source, beside: Executor) -> None:
        self._archive = archive
        self._digest = DigestBeside(beside)
        self._at = 0

    def __call__(self, offset: int, length: int) -> bytes:
        data = self._archive.read(offset, length)
        # What was read ahead may be read once more, and nothing is passed over.
        new = memoryview(data)[self._at - offset :]
        if new:
            self._at += len(new)
            self._digest.update(new)
        return data

    def hexdigest(self) -> str:
        """Of the whole archive, whose end may not have been needed."""
        while self(self._at, tar.CHUNK):
            pass
        return self._digest.hexdigest()


class _Facts:
    """The facts of an archive whose members the writer has in `sums`, in the same order."""

    def __init__(
        self, manifest: Manifest, sums: BinaryIO, looking: Looking | None, beside: Executor
    ) -> None:
        self._looking = looking
        self._new_digest = partial(DigestBeside, beside)
        self._manifest = manifest.as_bytes()
        self._missing = frozenset(manifest.missing_files)
        self._sums = sums
        self._counts = dict.fromkeys(COUNTS, 0)
        #: SHA-256 of the members that are no files of releases.
        self._hashes: dict[str, str] = {}
        #: Files that the manifest says are missing.
        self._present: set[str] = set()

    def look(self, ahead: Ahead, size: int) -> None:
        """Walk the archive. Raises ArchiveError for the first byte that is not as written."""
        last, counts = "", self._counts
        self._sums.seek(0)
        for member in tar.walk(ahead.read, size):
            last = name = safe_name(member.name)
            type_ = type_of(name)
            if type_ == "manifest":
                as_written = ahead.read(member.offset, member.size) == self._manifest
                self._hashes[name] = ""
            else:
                counts["total_size_bytes"] += member.size
                if type_ == "records":
                    parts = ahead.parts(name, member.offset, member.size)
                    if self._looking is not None and name == RELEASES.member:
                        parts = _copied(parts, self._looking.rows)
                    sha256, counts[_KINDS[name]] = _hash_rows(parts)
                else:
                    sha256 = self._file(ahead, member, type_)
                if type_ in COUNTED:
                    counts[COUNTED[type_]] += 1
                    if name in self._missing:
                        self._present.add(name)
                else:
                    self._hashes[name] = sha256
                # The manifest vouches for SHA256SUMS.
                as_written = type_ == "sums" or sum_line(name, sha256) == self._sums.readline()
            if not as_written:
                refuse("checksum_mismatch", "it is not as it was written", name)
        if last != MANIFEST or self._sums.readline():
            refuse("missing_member", "not all that was written is there")

    def _file(self, ahead: Ahead, member: tar.Member, type_: str) -> str:
        """The SHA-256 of a member that is a file."""
        name, offset, size = member.name, member.offset, member.size
        if self._looking is None or type_ != "package":
            return ahead.sha256(name, offset, size)
        return ahead.looked_into(name, offset, size, self._new_digest, self._looking.look)

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


def _copied(parts: Iterable[memoryview], copy: IO[bytes]) -> Iterator[memoryview]:
    for part in parts:
        copy.write(part)
        yield part


def _hash_rows(parts: Iterable[memoryview]) -> tuple[str, int]:
    """The SHA-256 of a member, and how many of its lines are records."""
    digest = hashlib.sha256()
    rows = 0
    before = b"\n"
    for part in parts:
        digest.update(part)
        rows += (before + part).count(b"\n{")
        before = bytes(part[-1:])
    return digest.hexdigest(), rows
