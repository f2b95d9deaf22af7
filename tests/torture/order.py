"""What a power loss needs that no kill shows: that each thing is on the disk before the next one
hangs on it. Read from what strace saw of an undisturbed run on SQLite.

A killed process leaves its writes to the kernel, so that a missing sync changes nothing there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_LINE = re.compile(r"(\w+)\((.*)\) += (-?\w+)")
_BEGUN = re.compile(r"(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
_WRITES = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate"}
_SYNCS = {"fsync", "fdatasync", "syncfs"}


@dataclass(frozen=True)
class Call:
    """A system call that succeeded: on which open file, with which names, and from when to when."""

    name: str
    file: str
    names: tuple[str, ...]
    begin: int
    end: int

    @property
    def writes(self) -> bool:
        return self.name in _WRITES

    @property
    def syncs(self) -> bool:
        return self.name in _SYNCS


def calls(trace: str) -> list[Call]:
    found = []
    begun: dict[str, tuple[int, str]] = {}
    for end, numbered in enumerate(trace.splitlines()):
        thread, _, line = numbered.partition(" ")
        line, begin = line.strip(), end
        if match := _BEGUN.match(line):
            begun[thread] = end, match[1]
            continue
        if match := _RESUMED.match(line):
            begin, first = begun.pop(thread)
            line = first + match[1]
        match = _LINE.match(line)
        if match is None or match[3].startswith("-"):
            continue
        file = _DESCRIPTOR.search(match[2])
        # What is written is no name.
        names = () if match[1] in _WRITES else tuple(_TEXT.findall(match[2]))
        found.append(Call(match[1], file[1] if file else "", names, begin, end))
    return found


class _Order:
    """The calls in their order, and what is not as it should be."""

    def __init__(self, trace: str) -> None:
        self.calls = calls(trace)
        self.problems: list[str] = []

    def all(self, wanted: Callable[[Call], bool], *, after: int = -1) -> list[Call]:
        return [call for call in self.calls if call.begin > after and wanted(call)]

    def synced(self, what: str, done: list[Call], sync: Callable[[Call], bool], by: int) -> None:
        """There has to be a sync between the last of these and `by`."""
        last = max(call.end for call in done)
        syncs = self.all(lambda call: call.syncs and sync(call), after=last)
        if not any(call.end < by for call in syncs):
            self.problems.append(f"{what} is not on the disk before what hangs on it")


def _staged(call: Call) -> bool:
    return call.writes and "/storage/.hexhub-backup/" in call.file


def _wal(call: Call) -> bool:
    return call.file.endswith("-wal")


def _writes_wal(call: Call) -> bool:
    return call.writes and _wal(call)


def _stored(name: str) -> bool:
    return "/storage/hosted/" in name


def _changes_stored(call: Call) -> bool:
    """A stored file is replaced or removed."""
    if call.name.startswith("rename"):
        return _stored(call.names[-1])
    return call.name.startswith("unlink") and _stored(call.names[0])


def _undo_set(call: Call) -> bool:
    return "/backups/undo/" in call.file


def _writes_undo_set(call: Call) -> bool:
    return call.writes and _undo_set(call)


def _storage(call: Call) -> bool:
    return call.name == "syncfs" and call.file.endswith("/storage")


def restore_problems(trace: str) -> list[str]:
    """Of a restore or an undo."""
    order = _Order(trace)
    changes = order.all(_changes_stored)
    first, last = changes[0].begin, changes[-1].end
    decided = [call for call in order.all(_writes_wal) if call.end < first]
    order.synced("the decision", decided, _wal, first)
    syncs = order.all(lambda call: call.syncs and _wal(call), after=decided[-1].end)
    # It may be on the disk as soon as it begins to be synced.
    decision = min([first, *(call.begin for call in syncs)])
    staged = order.all(_staged)
    if staged:
        order.synced("what was staged", staged, _storage, decision)
    placed = order.all(lambda call: call.name.startswith("link") and _stored(call.names[-1]))
    if placed:
        order.synced("the name of a new file", placed, _storage, decision)
        undo = order.all(_writes_undo_set)
        order.synced("the undo set", undo, _undo_set, decision)
        listed = [call for call in undo if call.end < placed[0].begin]
        order.synced("what is placed", listed, _undo_set, placed[0].begin)
        order.synced(
            "its name", listed, lambda call: call.file.endswith("/backups/undo"), placed[0].begin
        )
        order.synced("a staged file", staged, _storage, placed[0].begin)
    order.synced("a replaced file", changes, _storage, order.all(_writes_wal, after=last)[0].begin)
    return order.problems


def create_problems(trace: str) -> list[str]:
    order = _Order(trace)
    (named,) = order.all(
        lambda call: call.name.startswith("rename") and call.names[0].endswith(".tar.part")
    )
    part = order.all(lambda call: call.writes and call.file.endswith(".tar.part"))
    order.synced("the archive", part, lambda call: call.file.endswith(".tar.part"), named.begin)
    told = order.all(_writes_wal, after=named.end)[0]
    order.synced("its name", [named], lambda call: call.file.endswith("/backups"), told.begin)
    return order.problems
