"""A member is read in the same pieces wherever it lies in the archive."""

from __future__ import annotations

import hashlib

import pytest

from hexhub_backup.archive.reading.rows import MemberStream
from hexhub_backup.archive.rules.ahead import Ahead
from hexhub_backup.archive.rules.tar import Member

MEMBER = b"0123456789abcdef" * 20_000
PIECE = 65_536


def pieces(before: int, after: bytes = b"") -> list[bytes]:
    file = bytes(before) + MEMBER + after
    passed: list[int] = []
    ahead = Ahead(lambda at, length: file[at : at + length], passed.append)
    for at in range(0, before, 512):
        assert ahead.read(at, 512) == file[at : min(at + 512, len(file))]
    member = Member("users.json", offset=before, size=len(MEMBER), directory=False)
    stream = MemberStream(ahead, member)
    found = list(iter(lambda: stream.read(PIECE), b""))
    assert stream.hexdigest() == hashlib.sha256(MEMBER).hexdigest()
    return found


# A row that breaks a limit is left out or refuses the archive by what is read with it: a member
# that lies elsewhere must not be another one.
@pytest.mark.parametrize("before", [0, 512, 1024, 150_016, 700_416, 1_048_576, 2_000_384])
def test_pieces_do_not_depend_on_the_place(before: int) -> None:
    expected = [MEMBER[at : at + PIECE] for at in range(0, len(MEMBER), PIECE)]
    assert pieces(before) == expected
    assert pieces(before, b"and more" * 100) == expected
