"""The rows of a JSON member as the index keeps them, each of them checked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace

from hexhub_backup.archive import hexhub, tar
from hexhub_backup.archive.checks import check_record, instant, label_of, number_of
from hexhub_backup.archive.faults import FaultList, shown
from hexhub_backup.archive.index import Index
from hexhub_backup.archive.jsonrows import Row, read_rows
from hexhub_backup.archive.records import Kind
from hexhub_backup.errors import Fault

# Before every instant: a row without a time is the oldest.
_NEVER = -(2**63)


class RowFaults(FaultList):
    """Faults of rows; `fatal` says that there is one for which any archive is refused."""

    fatal = False


class MemberStream:
    """A member's bytes, hashed as they are read."""

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        member: tar.Member,
        advance: Callable[[int], None],
    ) -> None:
        self._read = read
        self._at = member.offset
        self._end = member.offset + member.size
        self._advance = advance
        self._digest = hashlib.sha256()

    def read(self, length: int) -> bytes:
        """The next bytes, up to `length`; none at the end."""
        data = self._read(self._at, min(length, self._end - self._at))
        self._at += len(data)
        self._digest.update(data)
        self._advance(len(data))
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def checked_rows(
    index: Index, kind: Kind, stream: MemberStream, faults: RowFaults
) -> Iterator[tuple[int, int, bytes, int, bytes]]:
    """The rows of a member as the index keeps them; those that are faulty go to `faults`."""
    number = number_of(kind)
    for row in read_rows(stream.read):
        found = _faults_of(kind, row)
        if found:
            for fault in found:
                faults.add(fault)
            if not hexhub.leave_out(index, kind, row.value, found[0]):
                faults.fatal = True
            continue
        time = row.value.get(kind.newest)
        at = instant(time) if isinstance(time, str) else None
        key = "\0".join(kind.key_of(row.value)).encode()
        yield number, row.number, key, _NEVER if at is None else at, row.body


def _faults_of(kind: Kind, row: Row) -> list[Fault]:
    found = check_record(kind, row.value)
    if row.problem is None:
        return [replace(fault, row=row.number) for fault in found]
    label = None if found else label_of(kind, row.value)
    field = None if row.problem.field is None else shown(row.problem.field)
    return [Fault("bad_json", str(row.problem), kind.member, row.number, field=field, record=label)]
