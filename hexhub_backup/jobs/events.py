"""The kept events of an operation: one file of JSON lines, appended by the one who runs it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexhub_backup.operations.progress import Event


class EventLog:
    """The events of one operation, open for appending.

    The file is flocked as long as its operation lives: whoever gets that lock knows that the
    operation is dead. A line that a crash cut short is cut off when it is opened again.
    """

    def __init__(self, path: Path) -> None:
        """Raises BlockingIOError where the operation lives in another process or thread."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.last_seq = self._repair()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _repair(self) -> int:
        last, end = 0, 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                last, end = json.loads(line)["seq"], end + len(line)
        os.ftruncate(self._descriptor, end)
        return last

    def append(self, event: Event) -> None:
        """Keep an event, whole or not at all. Raises OSError."""
        line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes of an event were written")

    def close(self) -> None:
        os.close(self._descriptor)


def read_events(path: Path, after: int = 0) -> Iterator[dict[str, Any]]:
    """The whole events in a log whose seq is greater. Nothing where there is no log."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            event = json.loads(line)
            if event["seq"] > after:
                yield event
