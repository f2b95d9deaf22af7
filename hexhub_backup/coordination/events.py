"""The kept events of an operation: one file of JSON lines, appended by the one who runs it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hexhub_backup.coordination import locking
from hexhub_backup.operations.progress import Event


class EventLog:
    """The events of one operation, open for appending.

    The file is flocked as long as its operation lives: whoever gets that lock knows that the
    operation is dead. A line that a crash cut short is cut off when it is opened again.
    """

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        """Raises BlockingIOError where the operation lives in another process or thread, unless it
        is known that nobody writes there: then it need not be held `alone`."""
        #: The event that tells how the operation ended, if it has.
        self.result: dict[str, Any] | None = None
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        self._descriptor = locking.open_to_lock(path, flags)
        try:
            if alone:
                locking.lock(self._descriptor)
            self.last_seq = self._repair()
        except BaseException:
            self.close()
            raise

    def _repair(self) -> int:
        """Cut the log behind its last whole event: a crash may have left half of one, and a
        power loss anything."""
        last, end = 0, 0
        with os.fdopen(os.dup(self._descriptor), "rb") as file:
            for line in file:
                event = _event(line)
                if event is None:
                    break
                last, end = event["seq"], end + len(line)
                if event["type"] == "result":
                    self.result = event
        os.ftruncate(self._descriptor, end)
        return last

    def append(self, event: Event) -> None:
        """Keep an event, whole or not at all. Raises OSError."""
        # A name of a file may be no text: no watcher could be told of it.
        line = json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes of an event were written")

    def close(self) -> None:
        locking.close(self._descriptor)

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tail:
    """Reads on in a log, from where it last ended: in whichever process it is written.

    Only whole events are seen, whose seq is greater than `after`.
    """

    def __init__(self, path: Path, after: int = 0) -> None:
        """Raises FileNotFoundError."""
        self._file = path.open("rb")
        self._after = after

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> Iterator[dict[str, Any]]:
        """The events that have come since."""
        while line := self._file.readline():
            event = _event(line)
            if event is None:
                # It is still being written, or will be cut off: it has to be read anew then,
                # and from the file, which is why the buffer is given up first.
                start = self._file.tell() - len(line)
                self._file.seek(0, os.SEEK_END)
                self._file.seek(start)
                return
            if event["seq"] > self._after:
                yield event

    @property
    def removed(self) -> bool:
        """Whether the log has been deleted meanwhile."""
        return os.fstat(self._file.fileno()).st_nlink == 0


def _event(line: bytes) -> dict[str, Any] | None:
    """The event that a whole line holds; None for what is none."""
    try:
        event = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"seq", "type"} <= event.keys() else None
