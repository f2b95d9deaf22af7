"""What a complete index says of its archive: facts, warnings and the digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.reading import hexhub
from hexhub_backup.archive.reading.index import Index, key_of
from hexhub_backup.archive.records import KINDS, RELEASES, Key, Kind
from hexhub_backup.archive.rules.checksums import digest_line
from hexhub_backup.archive.rules.member_names import COUNTED, is_folder
from hexhub_backup.notices import Notice, notice

_DUPLICATES = """
SELECT key, count(*) FROM rows WHERE kind = ?
AND NOT EXISTS (SELECT 1 FROM left_out WHERE left_out.kind = rows.kind AND joined = rows.key)
GROUP BY key HAVING count(*) > 1 ORDER BY key
"""
_WITHOUT_FILE = """
SELECT rows.key FROM files
JOIN records ON records.kind = ? AND records.n = files.n JOIN rows ON rows.id = records.id
WHERE files.type = ? AND files.member IS NULL ORDER BY files.n
"""
# By the order of their indexes, so that nothing is sorted.
_NOT_IN_SUMS = """
SELECT name FROM members WHERE type NOT IN ('manifest', 'sums')
AND NOT EXISTS (SELECT 1 FROM sums WHERE sums.name = members.name) ORDER BY name
"""
_ONLY_IN_SUMS = """
SELECT name FROM sums WHERE NOT EXISTS (
    SELECT 1 FROM members WHERE members.name = sums.name AND type NOT IN ('manifest', 'sums')
) ORDER BY name
"""
_COUNT_FILES = "SELECT count(*) FROM members WHERE type IN ('package', 'docs')"
_COUNT_WITH_RELEASE = "SELECT count(member) FROM files"
_WITHOUT_RELEASE = """
SELECT name, EXISTS (
    SELECT 1 FROM expected WHERE flat = members.name
    AND NOT EXISTS (SELECT 1 FROM members AS own WHERE own.name = expected.member)
) FROM members
WHERE type IN ('package', 'docs')
AND NOT EXISTS (SELECT 1 FROM expected WHERE member = members.name)
AND name NOT IN (SELECT name FROM left_out_files) ORDER BY n
"""


# A file that is a folder, too, with the first of what is in it: a hostile archive may have many
# below many. `0` is what comes behind `/`.
_FILES_AND_FOLDERS = """
SELECT name, coalesce(
    (SELECT name FROM members AS below
    WHERE below.place > file.at || '/' AND below.place < file.at || '0' LIMIT 1),
    (SELECT name FROM members AS below
    WHERE below.name > file.at || '/' AND below.name < file.at || '0' AND below.place IS NULL
    LIMIT 1),
    (SELECT name FROM directories AS below WHERE below.place = file.at),
    (SELECT name FROM directories AS below
    WHERE below.place > file.at || '/' AND below.place < file.at || '0' LIMIT 1)
) AS first FROM (SELECT n, name, coalesce(place, name) AS at FROM members{}) AS file
WHERE first IS NOT NULL ORDER BY n
"""
_NO_FILE = " WHERE place IS NOT NULL"
_BY_TYPE = "SELECT type, count(*), sum(size) FROM members GROUP BY type"


class IndexFacts:
    """The `Facts` of an archive that is in an index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._members: dict[str, tuple[int, int]] = {}

    def present(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            if self._index.one("SELECT 1 FROM members WHERE name = ?", name) is not None:
                yield name

    def files_and_folders(self) -> Iterator[tuple[str, str]]:
        # Of the files of releases that is known already.
        sql = _FILES_AND_FOLDERS.format("" if self._index.fact("nests") else _NO_FILE)
        return ((name, below) for name, below in self._index.query(sql))

    def count(self, name: str) -> int:
        if not self._members:
            self._members = {
                type_: (count, size) for type_, count, size in self._index.query(_BY_TYPE)
            }
        if name == "total_size_bytes":
            return sum(size for type_, (_, size) in self._members.items() if type_ != "manifest")
        for type_, counted in COUNTED.items():
            if name == counted:
                return self._members.get(type_, (0, 0))[0]
        (kind,) = (kind for kind in KINDS if kind.name == name)
        # Where each row is a record, they are quicker to count.
        counts = ["SELECT count(*) FROM records WHERE kind = ?"]
        if not self._index.fact("ordered"):
            counts = [
                "SELECT count(*) FROM rows WHERE kind = ?",
                "SELECT sum(rows) FROM left_out WHERE kind = ?",
            ]
        return sum(self._index.number(sql, kind.number) for sql in counts)

    def sha256(self, name: str) -> str | None:
        row = self._index.one("SELECT sha256 FROM members WHERE name = ?", name)
        return None if row is None else str(row[0])

    def unknown(self) -> Iterator[str]:
        yield from self._names("SELECT name FROM members WHERE type = 'unknown' ORDER BY n")
        directories = self._names("SELECT name FROM directories ORDER BY name")
        yield from (name for name in directories if not is_folder(name))

    def only_there(self) -> Iterator[str]:
        if not self._index.fact("listed"):
            yield from self._names(_NOT_IN_SUMS)

    def only_in_sums(self) -> Iterator[str]:
        if not self._index.fact("listed"):
            yield from self._names(_ONLY_IN_SUMS)

    def damaged(self) -> Iterator[str]:
        # The manifest vouches for the JSON members, and so does SHA256SUMS.
        yield from self._names(
            "SELECT name FROM members JOIN sums USING (name) "
            "WHERE members.sha256 != sums.sha256 AND type IN ('records', 'sums', 'manifest')"
        )

    def duplicates(self) -> Iterator[tuple[Kind, str, int]]:
        for kind in KINDS:
            for key, count in _duplicates(self._index, kind):
                yield kind, _shown_label(kind, key), count

    def _names(self, sql: str) -> Iterator[str]:
        return (name for (name,) in self._index.query(sql))


def damaged_files(index: Index) -> Iterator[str]:
    """The files that are not what SHA256SUMS says."""
    sql = """
    SELECT name FROM members JOIN sums USING (name) WHERE members.sha256 != sums.sha256 ORDER BY n
    """
    return (name for (name,) in index.query(sql))


def digest(index: Index) -> str:
    """`sha256:…` of name, size and SHA-256 of all members in order."""
    known = index.fact("members")
    if known is not None:
        return str(known)
    whole = hashlib.sha256()
    for line in index.query("SELECT sha256, size, name FROM members ORDER BY n"):
        whole.update(digest_line(*line))
    return f"sha256:{whole.hexdigest()}"


def warnings(index: Index, takes: Callable[[Kind, Key], bool], *, strict: bool) -> Iterator[Notice]:
    """What an admin should know, by code, and by key within; of the records that `takes` wants."""
    for kind in KINDS:
        for key, count in _duplicates(index, kind):
            if takes(kind, key_of(key)):
                label, field = _shown_label(kind, key), str(kind.newest)
                yield notice("duplicate_record", label, "merged", count=str(count), field=field)
    for kind in KINDS:
        for each in hexhub.left_out(index, kind):
            if takes(kind, each.key):
                yield Notice("blocked", each.reason, kind.label(each.shown_key))
    for type_, code in (("package", "missing_package_file"), ("docs", "missing_docs_file")):
        for (key,) in index.query(_WITHOUT_FILE, RELEASES.number, type_):
            if takes(RELEASES, key_of(key)):
                yield notice(code, _shown_label(RELEASES, key), "in_archive")
    if index.number(_COUNT_WITH_RELEASE) < index.number(_COUNT_FILES):
        for name, fits in index.query(_WITHOUT_RELEASE):
            sentence = "several" if fits and not strict else "none"
            yield notice("file_without_release", shown(name), sentence)
    if not strict:
        yield notice("not_checked", "archive", "no_checksums")


def _duplicates(index: Index, kind: Kind) -> Iterator[tuple[bytes, int]]:
    """The keys of several rows, and how many there are of each."""
    if not index.fact("ordered"):
        yield from index.query(_DUPLICATES, kind.number)


def _shown_label(kind: Kind, key: bytes) -> str:
    return shown(kind.label(key_of(key)))
