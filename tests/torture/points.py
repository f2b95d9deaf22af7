"""The points at which a command is killed, or a system call of it made to fail."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: System calls that change something.
CHANGING = (
    *("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range"),
    *("fsync", "fdatasync", "sync_file_range", "syncfs", "ftruncate", "fallocate"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fchmod", "fchmodat"),
)
#: What a database in another process is told and says is a change, too.
TALK = ("sendto", "recvfrom")
KILL = "kill"
#: The mode in which the connection to the database is lost.
CUT = "ECONNRESET"
MODES = (KILL, "ENOSPC", "EIO", CUT)

_CALL = re.compile(r"(?:(\d+) +)?(\w+)\(")


@dataclass(frozen=True)
class Point:
    """The `number`-th use of a system call by one of the command's threads, whichever comes to it
    first: so strace counts."""

    call: str
    number: int

    def __str__(self) -> str:
        return f"{self.call} no. {self.number}"


def points_of(trace: str, *, on: str = "") -> list[Point]:
    """The system calls in what strace has written; only those whose line there has `on` in it."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    # Each once: threads come to the same numbers.
    found: dict[Point, None] = {}
    for line in trace.splitlines():
        if match := _CALL.match(line):
            thread, call = match.groups()
            counts[thread, call] += 1
            if on in line:
                found[Point(call, counts[thread, call])] = None
    return list(found)


def makes_sense(point: Point, mode: str) -> bool:
    """A driver that can not send waits for the last words of the other side, which is there."""
    if mode == KILL:
        return True
    return point.call == "recvfrom" if mode == CUT else point.call not in TALK


def every(points: list[Point], count: int, *, shift: float = 0.0) -> Iterator[Point]:
    """At most so many of the points, evenly spread; `shift`, below 1, moves all of them."""
    if len(points) <= count:
        yield from points
        return
    for number in range(count):
        yield points[int((number + shift) * len(points) / count)]
