"""One create, restore, undo or prune at a time, over all processes that share the directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hexhub_backup.coordination import locking
from hexhub_backup.errors import BusyError
from hexhub_backup.marking import marked

#: Seconds.
_PATIENCE = 10.0


class FileLock:
    """The lock of one process: held, and saying who holds it.

    It is the kernel's (flock), so that it dies with its holder: nothing is ever left behind
    that blocks.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def name(self, holder: dict[str, Any]) -> None:
        """Say who holds it: `operation`, `verb`, `actor`, `started_at`."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(holder).encode(), 0)


@contextmanager
def exclusive(path: Path, *, wait: bool = False, only: str = "operation") -> Iterator[FileLock]:
    """Take the lock, which `only` one holds, at once or not at all, or `wait` for a short one.
    Raises BusyError, which names the holder.

    A holder without a name is only looking after what dead processes left: that is waited for,
    for a while.
    """
    descriptor = locking.open_to_lock(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    patience = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                locking.lock(descriptor, wait=wait)
                break
            except BlockingIOError as error:
                holder = os.pread(descriptor, 4096, 0)
                if holder or time.monotonic() >= patience:
                    raise BusyError(_refusal(holder, only)) from error
                time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        yield FileLock(descriptor)
    finally:
        locking.close(descriptor)


def runs_already(verb: str, operation: str, actor: str, since: str, *, only: str) -> str:
    """Why no other operation begins of which `only` one runs: this one does, `since` a time."""
    return marked(
        f"Only one {only} can run at a time, and the {verb} {operation} by {actor} has been "
        f"running since {since}: wait for its end, or cancel it."
    )


def waits_already(verb: str, operation: str, actor: str, since: str, *, only: str) -> str:
    """The same of one that is about to."""
    return marked(
        f"Only one {only} can run at a time, and the {verb} {operation} by {actor} has been "
        f"waiting to start since {since}: wait for its end, or cancel it."
    )


def _refusal(content: bytes, only: str) -> str:
    try:
        holder = json.loads(content)
    except ValueError:
        return marked("Another operation is about to begin: try again in a moment.")
    return runs_already(
        holder["verb"], holder["operation"], holder["actor"], holder["started_at"], only=only
    )
