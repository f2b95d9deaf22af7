"""One create, restore, undo or prune at a time, over all processes that share the directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hexhub_backup.errors import BusyError
from hexhub_backup.history import locking

#: Seconds.
_PATIENCE = 10.0


class Lock:
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
def exclusive(path: Path, *, wait: bool = False) -> Iterator[Lock]:
    """Take the lock at once or not at all, or `wait` for a short one. Raises BusyError, which
    names the holder.

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
                    raise BusyError(_refusal(holder)) from error
                time.sleep(0.02)
        os.ftruncate(descriptor, 0)
        yield Lock(descriptor)
    finally:
        locking.close(descriptor)


def _refusal(content: bytes) -> str:
    try:
        holder = json.loads(content)
    except ValueError:
        return "Another operation is about to begin: try again in a moment."
    return (
        f"One operation runs at a time, and the {holder['verb']} {holder['operation']} of "
        f"{holder['actor']} has been running since {holder['started_at']}: wait for its end, or "
        "cancel it."
    )
