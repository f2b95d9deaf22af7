"""The members of an archive as the index keeps them, each of them checked."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import NoReturn

from hexhub_backup.archive.faults import refuse
from hexhub_backup.archive.reading.index import Index
from hexhub_backup.archive.reading.rows import MemberStream, RowFaults, checked_rows
from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.rules.ahead import Ahead
from hexhub_backup.archive.rules.checksums import digest_line, read_sums, sum_line
from hexhub_backup.archive.rules.manifest import MANIFEST, SUMS
from hexhub_backup.archive.rules.member_names import (
    COUNTED,
    makes_a_folder,
    place_of,
    safe_name,
    type_of,
)
from hexhub_backup.archive.rules.strict_json import MAX_ROW_BYTES, StrictJSONError
from hexhub_backup.errors import ArchiveError, Fault

_KINDS = {kind.member: kind for kind in KINDS}
#: A large file is hashed when nothing else is found wrong with the archive.
_LARGE = tar.CHUNK
_INSERT = """
INSERT INTO members (n, name, place, type, offset, size, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_HASHED = "UPDATE members SET sha256 = ? WHERE n = ?"
# A file of a release that another member may be taken for; of both the later one.
_SAME_PLACE = """
SELECT CASE WHEN other.n > file.n THEN other.name ELSE file.name END
FROM members AS other JOIN members AS file ON file.name = other.place AND file.place IS NULL
WHERE other.place IS NOT NULL ORDER BY max(other.n, file.n) LIMIT 1
"""
_Row = tuple[int, str, str | None, str, int, int, str | None]


def load_members(
    index: Index, ahead: Ahead, size: int, faults: RowFaults, *, hash_files: bool
) -> None:
    """Walk a tar of `size` bytes, and read all that is in it into the index, but for large files,
    and with `hash_files` off for all files: they have no SHA-256. Raises ArchiveError; faulty rows
    go to `faults`."""
    walk = _Walk(index, ahead, faults, _LARGE if hash_files else -1)
    _load(index, walk.members(size))
    walk.complete()


def _load(index: Index, members: Iterable[_Row]) -> None:
    name = ""

    def noted() -> Iterator[_Row]:
        nonlocal name
        for row in members:
            name = row[1]
            yield row

    try:
        index.load(_INSERT, noted())
    except sqlite3.IntegrityError:
        # Each is kept before the next one is looked at.
        _refuse_duplicate(name)


def _refuse_duplicate(name: str) -> NoReturn:
    why = "there is a second member of this name, or one that a system may take for it"
    refuse("duplicate_member", why, name)


class _Walk:
    """One walk over the members."""

    def __init__(self, index: Index, ahead: Ahead, faults: RowFaults, hashed_size: int) -> None:
        self._index = index
        self._ahead = ahead
        self._faults = faults
        self._hashed_size = hashed_size
        self._sums: tuple[tar.Member, str] | None = None
        #: Of SHA256SUMS as it is where it names each member in order, and of what `report.digest`
        #: hashes; as long as all members were hashed.
        self._listed = hashlib.sha256()
        self._digest = hashlib.sha256()
        self._is_hashed = True
        #: A name may make a folder of a release's file.
        self._nests = False

    def members(self, tar_size: int) -> Iterator[_Row]:
        """The members as the index keeps them; but for those that are kept already."""
        index, ahead, hashed_size = self._index, self._ahead, self._hashed_size
        for number, member in enumerate(tar.walk(ahead.read, tar_size), start=1):
            name, offset, size, directory = member
            if directory:
                self._add_directory(name)
                continue
            name = _name_of(index, name)
            type_ = type_of(name)
            place = None if type_ in COUNTED else place_of(name)
            if makes_a_folder(place or name):
                self._nests = True
            row = (number, name, place, type_, offset, size, None)
            if type_ in ("records", "sums", "manifest"):
                # A second one is refused before it is read.
                _load(index, [row])
                sha256 = self._read_own(member, name)
                index.load(_HASHED, [(sha256, number)])
                self._note(type_, sha256, size, name)
            elif size > hashed_size:
                ahead.skip(size)
                self._is_hashed = False
                yield row
            else:
                sha256 = ahead.sha256(name, offset, size)
                self._note(type_, sha256, size, name)
                yield number, name, place, type_, offset, size, sha256

    def _add_directory(self, name: str) -> None:
        if name not in (".", "./"):
            name = safe_name(name.removesuffix("/"))
            place = place_of(name)
            self._nests = self._nests or makes_a_folder(f"{place}/")
            sql = "INSERT OR IGNORE INTO directories (place, name) VALUES (?, ?)"
            self._index.load(sql, [(place, name)])

    def _note(self, type_: str, sha256: str, size: int, name: str) -> None:
        self._digest.update(digest_line(sha256, size, name))
        if type_ not in ("sums", "manifest"):
            self._listed.update(sum_line(name, sha256))

    def _read_own(self, member: tar.Member, name: str) -> str:
        """Read a member that is no file of a release. Returns its SHA-256."""
        stream = MemberStream(self._ahead, member)
        if name in _KINDS:
            try:
                self._index.load(
                    "INSERT INTO rows (kind, row, key, docs, body) VALUES (?, ?, ?, ?, ?)",
                    checked_rows(self._index, _KINDS[name], stream, self._faults),
                )
            except StrictJSONError as error:
                self._faults.add(Fault("bad_json", str(error), name, row=error.row))
                # Where the rest of this member is not read, neither is the rest of the tar.
                self._faults.raise_if_any()
        elif name == SUMS:
            # What is in it is looked at when all members are known.
            while stream.read(tar.CHUNK):
                pass
            self._sums = member, stream.hexdigest()
        elif member.size > MAX_ROW_BYTES:
            refuse("bad_manifest", "it is larger than 4 MiB", MANIFEST)
        else:
            manifest = b"".join(iter(lambda: stream.read(member.size), b""))
            self._index.remember(manifest=manifest)
        return stream.hexdigest()

    def complete(self) -> None:
        """Look at what all members are needed for."""
        twice = self._index.one(_SAME_PLACE)
        if twice is not None:
            _refuse_duplicate(twice[0])
        self._index.remember(nests=self._nests)
        if self._is_hashed:
            self._index.remember(members=f"sha256:{self._digest.hexdigest()}")
        if self._sums is None:
            return
        member, sha256 = self._sums
        listed = self._is_hashed and sha256 == self._listed.hexdigest()
        self._index.remember(listed=listed)
        if not listed:
            _read_sums(self._index, MemberStream(self._ahead.again(), member), sha256)


def _name_of(index: Index, name: str) -> str:
    try:
        return safe_name(name)
    except ArchiveError as error:
        name = name.removeprefix("./")
        if type_of(name) not in COUNTED:
            raise
        # Whether it may be there is not known before all of the archive is.
        rows = [(name, error.faults[0].message)]
        index.load("INSERT OR IGNORE INTO unsafe (name, why) VALUES (?, ?)", rows)
        return name


def _read_sums(index: Index, stream: MemberStream, sha256: str) -> None:
    try:
        index.load("INSERT INTO sums (name, sha256) VALUES (?, ?)", read_sums(stream.read))
    except sqlite3.IntegrityError:
        refuse("bad_checksums", "a member is named twice", SUMS)
    if stream.hexdigest() != sha256:
        raise ArchiveError("The archive was changed while it was read: try again.")
