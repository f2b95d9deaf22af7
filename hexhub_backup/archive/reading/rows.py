"""The rows of a JSON member as the index keeps them, each of them checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice, repeat
from operator import lt
from typing import Any

from hexhub_backup.archive.faults import FaultList, shown
from hexhub_backup.archive.reading import hexhub
from hexhub_backup.archive.reading.index import Index
from hexhub_backup.archive.records import KINDS, Kind
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.rules.ahead import Ahead
from hexhub_backup.archive.rules.fields import are_well_formed, check_record, label_of
from hexhub_backup.archive.rules.json_rows import Row, Rows, read_batches
from hexhub_backup.archive.times import microseconds
from hexhub_backup.errors import Fault

_BATCH = 1000
# The last row of each key counts. In the order of the index, so that nothing is sorted, and
# without looking for another row of the key: in an archive where all have one, that would take
# the square of their number.
_NUMBER_RECORDS = """
INSERT INTO records (kind, n, id)
SELECT kind, row_number() OVER (PARTITION BY kind ORDER BY key), id FROM (
    SELECT kind, key, id, lead(key) OVER (PARTITION BY kind ORDER BY key, at, row) AS next FROM rows
) AS row WHERE (next IS NULL OR next != key)
AND NOT EXISTS (SELECT 1 FROM left_out WHERE left_out.kind = row.kind AND joined = row.key)
"""
_OF_ONE_KEY = """
SELECT id, kind, body FROM rows AS row WHERE id > ? AND EXISTS (
    SELECT 1 FROM rows AS other
    WHERE other.kind = row.kind AND other.key = row.key AND other.id != row.id
) ORDER BY id
"""
#: Number of the kind, number in the member, key, docs, body.
_KeptRow = tuple[int, int, bytes, bool, str]
# Before every instant: a row without a time is the oldest.
_NEVER = -(2**63)


class RowFaults(FaultList):
    """Faults of rows; `fatal` says that there is one for which any archive is refused. `ordered`
    says that there is none, and that the rows come in byte order of their keys, each once."""

    fatal = False
    ordered = True


class MemberStream:
    """A member's bytes, hashed as they are read."""

    def __init__(self, ahead: Ahead, member: tar.Member) -> None:
        self._ahead = ahead
        self._at = member.offset
        self._end = member.offset + member.size
        self._digest = hashlib.sha256()

    def read(self, length: int) -> bytes:
        """The next bytes, up to `length`; none at the end."""
        # All of them, wherever the member lies: how a row is read depends on what is there with it.
        length = min(length, self._end - self._at)
        data = bytes(self._ahead.part(self._at, length))
        while len(data) < length:
            part = self._ahead.part(self._at + len(data), length - len(data))
            if not part:
                break
            data += part
        self._at += len(data)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def checked_rows(
    index: Index, kind: Kind, stream: MemberStream, faults: RowFaults
) -> Iterator[_KeptRow]:
    """The rows of a member as the index keeps them; those that are faulty go to `faults`."""
    last = b""
    for rows in read_batches(stream.read):
        if isinstance(rows, Rows):
            if are_well_formed(kind, rows.columns):
                keys = _keys(kind, rows.columns)
                if faults.ordered:
                    faults.ordered = all(map(lt, (last, *keys), keys))
                    last = keys[-1]
                yield from _kept(kind, rows.number, keys, rows.columns, rows.bodies)
                continue
            singly = rows.singly()
        else:
            singly = iter((rows,))
        for row in singly:
            row_faults = _faults_of(kind, row)
            if not row_faults:
                columns = {name: (value,) for name, value in row.value.items()}
                keys = _keys(kind, columns)
                faults.ordered = faults.ordered and last < keys[0]
                last = keys[0]
                yield from _kept(kind, row.number, keys, columns, [row.body])
                continue
            faults.ordered = False
            for fault in row_faults:
                faults.add(fault)
            if not hexhub.leave_out(index, kind, row.value, row_faults[0]):
                faults.fatal = True


def _keys(kind: Kind, columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
    keys = zip(*(columns[name] for name in kind.key), strict=True)
    return ["\0".join(key).encode() for key in keys]


def _kept(
    kind: Kind,
    number: int,
    keys: Sequence[bytes],
    columns: Mapping[str, Sequence[Any]],
    bodies: Sequence[str],
) -> Iterator[_KeptRow]:
    has_docs = columns.get("has_docs")
    docs = [False] * len(keys) if has_docs is None else [each is True for each in has_docs]
    return zip(repeat(kind.number), count(number), keys, docs, bodies, strict=False)


def number_records(index: Index, *, ordered: bool) -> None:
    """Fill `records` of the index; within a transaction. `ordered` is of the rows' `RowFaults`."""
    index.remember(ordered=ordered)
    if ordered:
        index.load("INSERT INTO records (kind, n, id) SELECT kind, row, id FROM rows", [()])
        return
    index.load("CREATE INDEX rows_by_key ON rows (kind, key, at, row)", [()])
    last = 0
    while batch := list(islice(_times(index, last), _BATCH)):
        index.load("UPDATE rows SET at = ? WHERE id = ?", batch)
        last = batch[-1][1]
    index.load(_NUMBER_RECORDS, [()])


def _times(index: Index, last: int) -> Iterator[tuple[int, int]]:
    """When each row is of that shares its key with another; as `(at, id)`, behind the `last`."""
    for id_, number, body in index.query(_OF_ONE_KEY, last):
        time = json.loads(body).get(KINDS[number].newest)
        yield _NEVER if time is None else microseconds(time), id_


def _faults_of(kind: Kind, row: Row) -> list[Fault]:
    faults = check_record(kind, row.value)
    if row.problem is None:
        return [replace(fault, row=row.number) for fault in faults]
    label = None if faults else label_of(kind, row.value)
    field = None if row.problem.field is None else shown(row.problem.field)
    return [Fault("bad_json", str(row.problem), kind.member, row.number, field=field, record=label)]
