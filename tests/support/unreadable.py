"""Directories that this process may not read, also where it is root's."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Of capabilities(7): to pass by the permissions of files, and of those that are read.
_PASSES = 1 << 1 | 1 << 2
#: `_LINUX_CAPABILITY_VERSION_3`
_VERSION = 0x20080522


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let this thread neither list a directory nor look at what lies in it."""
    before = path.stat().st_mode
    path.chmod(0)
    try:
        with _as_anybody():
            yield
    finally:
        path.chmod(before)


@contextmanager
def _as_anybody() -> Iterator[None]:
    """Let the permissions of files hold for this thread, as they do not for root's."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # The thread itself; effective, permitted and inheritable, in two halves.
    header, sets = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    effective = sets[0]
    sets[0] = effective & ~_PASSES
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
