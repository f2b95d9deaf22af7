"""Locks of the kernel's on files: they die with their holder, and no child of its inherits them."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: The descriptors that this process holds, or tries to hold, a lock by.
_open: set[int] = set()


def open_to_lock(path: Path, flags: int) -> int:
    """A descriptor to be locked by, and closed with `close`. Raises OSError."""
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    _open.add(descriptor)
    return descriptor


def lock(descriptor: int, *, shared: bool = False, wait: bool = False) -> None:
    """Raises BlockingIOError where somebody else holds it, unless it is to `wait`."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(descriptor, kind | (0 if wait else fcntl.LOCK_NB))


def close(descriptor: int) -> None:
    """Let go of the lock."""
    _open.discard(descriptor)
    os.close(descriptor)


@contextmanager
def held(path: Path, meanwhile: Callable[[], object]) -> Iterator[None]:
    """Hold the lock of a file. As long as somebody else does, `meanwhile` is called ten times a
    second: what that raises ends it. Raises OSError."""
    descriptor = open_to_lock(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    try:
        while True:
            try:
                lock(descriptor)
                break
            except BlockingIOError:
                meanwhile()
                time.sleep(0.1)
        yield
    finally:
        close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of a file, for himself alone. Raises OSError."""
    try:
        descriptor = open_to_lock(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared: two who look at a time don't take each other for a holder.
        lock(descriptor, shared=True)
    except BlockingIOError:
        return True
    finally:
        close(descriptor)
    return False


def _forget() -> None:
    # A child that is forked off has the same open files: as long as it lived, its dead parent's
    # operation would seem to live. To close them there unlocks nothing here.
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


os.register_at_fork(after_in_child=_forget)
