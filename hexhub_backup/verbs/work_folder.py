"""The folder in which an operation has what it needs only while it works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hexhub_backup.verbs.base import Context


@contextmanager
def work_folder(context: Context) -> Iterator[Path]:
    """An empty folder, which is removed at the end. It is where a plan of this operation would be:
    other operations, which may begin meanwhile, remove what lies elsewhere half done. Raises
    OSError."""
    kept = context.depot.kept("plan", context.operation.id)
    folder = kept.here()
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        kept.remove()


def remove_again(context: Context, _: Mapping[str, Any]) -> None:
    """Remove the folder once more, at the end of its operation: the disk may have failed to
    before."""
    with suppress(OSError):
        context.depot.kept("plan", context.operation.id).remove()
