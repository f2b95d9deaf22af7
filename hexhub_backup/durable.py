"""Making what was written survive a power loss. An error of a flush is never passed over."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What the system says where nothing more can be written.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def naming_full_disk(place: Path) -> Iterator[None]:
    """Let the error of a full disk say where that is: the error of a failed write does not."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(place)
        raise


def sync_file(path: Path) -> None:
    """Make what was written to a file durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory (created, renamed, removed) durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(root: Path) -> None:
    """Make everything written below `root` durable, with one flush of its file system.

    Linux reports lost writes from syncfs(2) since 5.8; `os.sync` reports nothing anywhere.
    Where there is no syncfs, each file and directory is flushed on its own.
    """
    if sys.platform == "linux":
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error), str(root))
        finally:
            os.close(descriptor)
        return
    for folder, _, names in os.walk(root):
        for name in names:
            sync_file(Path(folder, name))
        sync_directory(Path(folder))
