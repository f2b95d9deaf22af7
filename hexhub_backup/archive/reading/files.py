"""Which members of an archive are the files of its releases."""

from __future__ import annotations

from collections.abc import Iterator

from hexhub_backup.archive.reading import hexhub
from hexhub_backup.archive.reading.index import Index, key_of
from hexhub_backup.archive.records import FILE_TYPES, RELEASES, FileType, ReleaseFile

_RELEASES = """
SELECT n, key, docs FROM records JOIN rows USING (id) WHERE records.kind = ? ORDER BY n
"""
_MEMBERS = "SELECT name, n FROM members WHERE type = ? ORDER BY n"
_INSERT = "INSERT INTO files (type, n, member) VALUES (?, ?, ?)"
_INSERT_EXPECTED = "INSERT INTO expected (type, n, member, expected, flat) VALUES (?, ?, ?, ?, ?)"
_BY_NAME = """
INSERT INTO files SELECT expected.type, expected.n, members.n
FROM expected LEFT JOIN members ON members.name = expected.member
WHERE expected.expected OR members.n IS NOT NULL
"""


def find_files(index: Index, *, strict: bool) -> None:
    """Fill `files` of the index; within a transaction. `strict` archives have each file under its
    release's own name."""
    if strict and _InOrder(index).load():
        return
    index.load(_INSERT_EXPECTED, _expected(index))
    if not strict:
        hexhub.find_flat_files(index)
    index.load(_BY_NAME, [()])


class _InOrder:
    """Takes the files in the order of the releases, in which we write them."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._members = {type_: index.query(_MEMBERS, type_) for type_ in FILE_TYPES}
        self._next = {type_: next(each, None) for type_, each in self._members.items()}

    def load(self) -> bool:
        """Returns False, and leaves nothing, where a file is in another place, or is no
        release's."""
        self._index.load(_INSERT, self._files())
        if not any(self._next.values()):
            return True
        self._index.load("DELETE FROM files", [()])
        return False

    def _files(self) -> Iterator[tuple[FileType, int, int | None]]:
        following = self._next
        for n, key, docs in self._index.query(_RELEASES, RELEASES.number):
            package, version = key_of(key)
            for type_ in FILE_TYPES:
                member = following[type_]
                if member and member[0] == ReleaseFile(type_, package, version).member:
                    yield type_, n, member[1]
                    following[type_] = next(self._members[type_], None)
                elif type_ == "package" or docs:
                    yield type_, n, None


def _expected(index: Index) -> Iterator[tuple[FileType, int, str, bool, str | None]]:
    for n, key, docs in index.query(_RELEASES, RELEASES.number):
        package, version = key_of(key)
        for type_ in FILE_TYPES:
            file = ReleaseFile(type_, package, version)
            member, flat = file.member, file.flat_member
            expected = type_ == "package" or docs
            yield type_, n, member, expected, None if flat == member else flat
