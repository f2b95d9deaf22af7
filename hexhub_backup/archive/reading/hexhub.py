"""What HexHub's own archives need beyond the format, as they have no checksums and odd rows.

HexHub takes names and values that no record of ours may have, and writes the files of all packages
flat. One such row is left out, with its files, and the others are read. None of this holds for an
archive that is held to everything, and none of it makes a name or a value usable that is not: what
is left out is only ever shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from hexhub_backup.archive.faults import FaultList, shown
from hexhub_backup.archive.reading.index import Index
from hexhub_backup.archive.records import FILE_TYPES, RELEASES, Key, Kind, ReleaseFile
from hexhub_backup.errors import Fault
from hexhub_backup.marking import marked

# By the flat name that HexHub gives a file, the releases that do not have one of their own name. A
# file that several releases could have is none's.
_FITS = """
INSERT INTO fits SELECT flat, min(member), count(*) FROM expected
WHERE flat IN (SELECT name FROM members) AND member NOT IN (SELECT name FROM members)
GROUP BY flat
"""
_FLAT = """
INSERT INTO flat SELECT member, name FROM fits WHERE releases = 1
AND name NOT IN (SELECT member FROM expected) AND name NOT IN (SELECT name FROM left_out_files)
"""
_AMBIGUOUS = """
INSERT INTO flat SELECT member, NULL FROM expected WHERE member IN (SELECT name FROM fits)
"""
_NAMED = """
UPDATE expected SET member = (SELECT name FROM flat WHERE flat.member = expected.member)
WHERE member IN (SELECT member FROM flat)
"""


class LeftOut(NamedTuple):
    """A record that is never restored: `n` is unique over all kinds, `key` is as it
    stands in the archive, `reason` is a sentence."""

    n: int
    key: Key
    reason: str

    @property
    def shown_key(self) -> Key:
        return tuple(map(shown, self.key))


def leave_out(index: Index, kind: Kind, record: Any, fault: Fault) -> bool:
    """Note a row that has a fault. Says whether it has a key: without one it is no record at all,
    which HexHub does not write."""
    if type(record) is not dict:
        return False
    key: list[Any] = [record.get(field) for field in kind.key]
    if not all(type(part) is str and part for part in key):
        return False
    if fault.field is None:
        reason = marked(f"{fault.message}; correct it where the archive was made")
    else:
        reason = marked(
            f"its {fault.field}: {fault.message}; correct it where the archive was made"
        )
    joined = "\0".join(key).encode(errors="surrogatepass")
    row = (kind.number, json.dumps(key), joined, reason)
    index.load(
        "INSERT INTO left_out (kind, key, joined, reason, rows) VALUES (?, ?, ?, ?, 1) "
        "ON CONFLICT (kind, joined) DO UPDATE SET rows = rows + 1",
        [row],
    )
    if kind is RELEASES:
        for type_ in FILE_TYPES:
            file = ReleaseFile(type_, *key)
            for name in {file.member, file.flat_member}:
                # Of half a surrogate pair there is no UTF-8, and so no member.
                with suppress(UnicodeEncodeError):
                    index.load("INSERT OR IGNORE INTO left_out_files (name) VALUES (?)", [(name,)])
    return True


def left_out(index: Index, kind: Kind) -> Iterator[LeftOut]:
    sql = "SELECT id, key, reason FROM left_out WHERE kind = ? ORDER BY id"
    for n, key, reason in index.query(sql, kind.number):
        yield LeftOut(n, tuple(json.loads(key)), reason)


def check_names(index: Index, faults: FaultList, *, strict: bool) -> None:
    """Refuse files whose names no record may have, but for those of records that are left out."""
    sql = "SELECT name, why FROM unsafe"
    if not strict:
        sql += " WHERE name NOT IN (SELECT name FROM left_out_files)"
    for name, why in index.query(sql):
        faults.add(Fault("unsafe_name", why, shown(name)))


def find_flat_files(index: Index) -> None:
    """Assign to releases the files that HexHub wrote under a flat name, each where it can be of one
    release only."""
    for sql in (_FITS, _FLAT, _AMBIGUOUS, _NAMED):
        index.load(sql, [()])
