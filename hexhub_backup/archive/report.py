"""What an index tells of its archive once it is complete: facts, warnings and the digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from hexhub_backup.archive import hexhub
from hexhub_backup.archive.checks import number_of
from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.index import Index
from hexhub_backup.archive.manifest import MANIFEST
from hexhub_backup.archive.members import COUNTED, is_folder
from hexhub_backup.archive.records import KINDS, RELEASES, Key, Kind
from hexhub_backup.errors import Warning_

_DUPLICATES = """
SELECT key, count(*) FROM rows WHERE kind = ?
AND NOT EXISTS (SELECT 1 FROM left_out WHERE left_out.kind = rows.kind AND joined = rows.key)
GROUP BY key HAVING count(*) > 1 ORDER BY key
"""
_WITHOUT_FILE = """
SELECT rows.key FROM files
JOIN records ON records.kind = ? AND records.n = files.n JOIN rows ON rows.id = records.id
WHERE files.type = ? AND expected
AND NOT EXISTS (SELECT 1 FROM members WHERE name = files.member)
ORDER BY files.n
"""
_NOT_IN_SUMS = """
SELECT name FROM members WHERE type NOT IN ('manifest', 'sums') EXCEPT SELECT name FROM sums
"""
_ONLY_IN_SUMS = """
SELECT name FROM sums EXCEPT SELECT name FROM members WHERE type NOT IN ('manifest', 'sums')
"""
_WITHOUT_RELEASE = """
SELECT name, EXISTS (
    SELECT 1 FROM files WHERE flat = members.name
    AND NOT EXISTS (SELECT 1 FROM members AS own WHERE own.name = files.member)
) FROM members
WHERE type IN ('package', 'docs')
AND NOT EXISTS (SELECT 1 FROM files WHERE member = members.name)
AND name NOT IN (SELECT name FROM left_out_files) ORDER BY n
"""


# A file that is a folder, too, with the first of what is in it: a hostile archive may have many
# below many. `0` is what comes behind `/`.
_FILES_AND_FOLDERS = """
SELECT name, coalesce(
    (SELECT name FROM members AS below
    WHERE below.place > file.place || '/' AND below.place < file.place || '0' LIMIT 1),
    (SELECT name FROM directories AS below WHERE below.place = file.place),
    (SELECT name FROM directories AS below
    WHERE below.place > file.place || '/' AND below.place < file.place || '0' LIMIT 1)
) AS first FROM members AS file WHERE first IS NOT NULL
"""


class IndexFacts:
    """The `Facts` of an archive that is in an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def present(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            if self._index.one("SELECT 1 FROM members WHERE name = ?", name) is not None:
                yield name

    def files_and_folders(self) -> Iterator[tuple[str, str]]:
        return ((name, below) for name, below in self._index.query(_FILES_AND_FOLDERS))

    def count(self, name: str) -> int:
        if name == "total_size_bytes":
            return self._index.number("SELECT sum(size) FROM members WHERE name != ?", MANIFEST)
        for type_, counted in COUNTED.items():
            if name == counted:
                return self._index.number("SELECT count(*) FROM members WHERE type = ?", type_)
        (kind,) = (kind for kind in KINDS if kind.name == name)
        return sum(
            self._index.number(sql, number_of(kind))
            for sql in (
                "SELECT count(*) FROM rows WHERE kind = ?",
                "SELECT sum(rows) FROM left_out WHERE kind = ?",
            )
        )

    def sha256(self, name: str) -> str | None:
        row = self._index.one("SELECT sha256 FROM members WHERE name = ?", name)
        return None if row is None else str(row[0])

    def unknown(self) -> Iterator[str]:
        yield from self._names("SELECT name FROM members WHERE type = 'unknown' ORDER BY n")
        directories = self._names("SELECT name FROM directories ORDER BY name")
        yield from (name for name in directories if not is_folder(name))

    def only_there(self) -> Iterator[str]:
        yield from self._names(_NOT_IN_SUMS)

    def only_in_sums(self) -> Iterator[str]:
        yield from self._names(_ONLY_IN_SUMS)

    def damaged(self) -> Iterator[str]:
        # The manifest vouches for the JSON members, and so does SHA256SUMS.
        yield from self._names(
            "SELECT name FROM members JOIN sums USING (name) WHERE members.sha256 != sums.sha256"
        )

    def duplicates(self) -> Iterator[tuple[Kind, str, int]]:
        for kind in KINDS:
            for key, count in self._index.query(_DUPLICATES, number_of(kind)):
                yield kind, _label(kind, key), count

    def _names(self, sql: str) -> Iterator[str]:
        return (name for (name,) in self._index.query(sql))


def digest(index: Index) -> str:
    """`sha256:…` of name, size and SHA-256 of all members in order."""
    whole = hashlib.sha256()
    for line in index.query("SELECT sha256, size, name FROM members ORDER BY n"):
        whole.update("{} {} {}\n".format(*line).encode())
    return f"sha256:{whole.hexdigest()}"


def warnings(
    index: Index, takes: Callable[[Kind, Key], bool], *, strict: bool
) -> Iterator[Warning_]:
    """What an admin should know, by code, and by key within; of the records that `takes` wants."""
    for kind in KINDS:
        for key, count in index.query(_DUPLICATES, number_of(kind)):
            message = f"{count} rows of this key were merged: the latest {kind.newest} counts"
            if takes(kind, _key(key)):
                yield Warning_("duplicate_record", message, _label(kind, key))
    for kind in KINDS:
        for each in hexhub.left_out(index, kind):
            if takes(kind, each.key):
                yield Warning_("blocked", each.reason, kind.label(each.shown_key))
    for type_, code, message in (
        ("package", "missing_package_file", "the archive has no package file of this release"),
        ("docs", "missing_docs_file", "this release has docs, but no docs file in the archive"),
    ):
        for (key,) in index.query(_WITHOUT_FILE, number_of(RELEASES), type_):
            if takes(RELEASES, _key(key)):
                yield Warning_(code, message, _label(RELEASES, key))
    for name, fits in index.query(_WITHOUT_RELEASE):
        message = "the archive has no release of this file: it is left out"
        if fits and not strict:
            message = "more than one release could have this file: it is left out"
        yield Warning_("file_without_release", message, shown(name))
    if not strict:
        message = "HexHub's own archives have no checksums: damage would not be noticed"
        yield Warning_("not_checked", message, "archive")


def _key(key: bytes) -> Key:
    return tuple(key.decode().split("\0"))


def _label(kind: Kind, key: bytes) -> str:
    return shown(kind.label(_key(key)))
