"""Reads back an archive that was just written, in the order in which it was written.

It follows the rules of `reader`, and needs no index for them: it knows which member comes
next, so that a backup is checked to the last byte in little more than the time that hashing
it takes. Records are not parsed again, as their bytes are those that the writer checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import IO, BinaryIO, NoReturn, Protocol

from hexhub_backup.archive.faults import FaultList, refuse
from hexhub_backup.archive.records import KINDS, RELEASES, Kind
from hexhub_backup.archive.rules import tar, whole
from hexhub_backup.archive.rules.ahead import SMALL, Ahead, passing
from hexhub_backup.archive.rules.checksums import sum_line
from hexhub_backup.archive.rules.manifest import COUNTS, MANIFEST, Manifest
from hexhub_backup.archive.rules.member_names import COUNTED, safe_name, type_of
from hexhub_backup.archive.source import ReadableFile, Source
from hexhub_backup.beside import start

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
) -> None:
    """Check structure, counts and every hash of `archive` against what the writer knows of it.

    `archive` is opened anew, `sums` holds the writer's line for each member. `advance` is called
    with the bytes passed, and `looking` reads with it. Raises ArchiveError for whatever is not as
    it was written, or not as the reader takes it.
    """
    faults = FaultList()
    with ThreadPoolExecutor(1) as beside:
        facts = _Facts(manifest, sums, looking, _HeldBeside(beside))
        facts.look(Ahead(archive.read, advance), archive.size)
    whole.check_members(facts, faults)
    faults.raise_if_any()
    whole.check_manifest(facts, Manifest.parse(manifest.as_bytes()), faults)
    faults.raise_if_any()


class _HeldBeside:
    """Files that another processor hashes and holds against their lines, while this one goes on."""

    def __init__(self, beside: Executor) -> None:
        self._beside = beside
        self._digest = hashlib.sha256()
        #: Bytes of a file, or name and line of the file that ends here.
        self._pieces: list[memoryview | tuple[str, bytes]] = []
        #: What was read at a time, in which these bytes are: no more of it is held in memory.
        self._chunk: object = None
        self._holding: Future[None] | None = None

    def add(self, part: memoryview) -> None:
        """Add the bytes that come next in a file. Raises ArchiveError where one that came before is
        not as it was written."""
        if part.obj is not self._chunk:
            self._submit()
            self._chunk = part.obj
        self._pieces.append(part)

    def end(self, name: str, line: bytes) -> None:
        """The bytes of a file are all there, whose line this is."""
        self._pieces.append((name, line))

    def wait(self) -> None:
        """All are added. Raises ArchiveError as `add`."""
        self._submit()
        if self._holding is not None:
            self._holding.result()

    def _submit(self) -> None:
        if self._holding is not None:
            self._holding.result()
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            self._holding = start(self._beside, self._hold, pieces)

    def _hold(self, pieces: list[memoryview | tuple[str, bytes]]) -> None:
        for piece in pieces:
            if isinstance(piece, memoryview):
                self._digest.update(piece)
                continue
            name, line = piece
            _compare(name, self._digest.hexdigest(), line)
            self._digest = hashlib.sha256()


class _Facts:
    """The facts of an archive whose members the writer has in `sums`, in the same order."""

    def __init__(
        self, manifest: Manifest, sums: BinaryIO, looking: Looking | None, beside: _HeldBeside
    ) -> None:
        self._looking = looking
        self._beside = beside
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
                if ahead.read(member.offset, member.size) != self._manifest:
                    _refuse(name)
                self._hashes[name] = ""
                continue
            counts["total_size_bytes"] += member.size
            if type_ in COUNTED:
                self._hold_file(ahead, member, type_)
                counts[COUNTED[type_]] += 1
                if name in self._missing:
                    self._present.add(name)
                continue
            self._hashes[name] = sha256 = self._hash_own(ahead, member, type_)
            # The manifest vouches for SHA256SUMS.
            if type_ != "sums":
                _compare(name, sha256, self._sums.readline())
        if last != MANIFEST or self._sums.readline():
            refuse("missing_member", "not all that was written is there")
        self._beside.wait()

    def _hash_own(self, ahead: Ahead, member: tar.Member, type_: str) -> str:
        """The SHA-256 of a member that is no file of a release."""
        name, offset, size = member.name, member.offset, member.size
        if type_ != "records":
            return ahead.sha256(name, offset, size)
        parts = ahead.parts(name, offset, size)
        if self._looking is not None and name == RELEASES.member:
            parts = passing(parts, self._looking.rows.write)
        sha256, self._counts[_KINDS[name]] = _hash_rows(parts)
        return sha256

    def _hold_file(self, ahead: Ahead, member: tar.Member, type_: str) -> None:
        """Hold a file against its line, at once or beside."""
        name, offset, size = member.name, member.offset, member.size
        line = self._sums.readline()
        if self._looking is None or type_ != "package":
            _compare(name, ahead.sha256(name, offset, size), line)
        elif size <= SMALL:
            digest = hashlib.sha256()
            ahead.look_into(name, offset, size, self._looking.look, digest.update)
            _compare(name, digest.hexdigest(), line)
        else:
            ahead.look_into(name, offset, size, self._looking.look, self._beside.add)
            self._beside.end(name, line)

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


def _compare(name: str, sha256: str, line: bytes) -> None:
    if sum_line(name, sha256) != line:
        _refuse(name)


def _refuse(name: str) -> NoReturn:
    refuse("checksum_mismatch", "it is not as it was written", name)


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
