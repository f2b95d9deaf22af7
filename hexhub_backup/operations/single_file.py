"""One file of an archive, told by its place in the tar and held against its hash."""

from __future__ import annotations

import hashlib

from hexhub_backup.archive.records import FileEntry
from hexhub_backup.archive.source import Source
from hexhub_backup.errors import ArchiveError

_CHUNK = 1024 * 1024


def check_file(source: Source, entry: FileEntry) -> None:
    """Hold the bytes of a file against the SHA-256 that the contents of the archive list. Raises
    ArchiveError where they are others."""
    digest, at, end = hashlib.sha256(), entry.offset, entry.offset + entry.size
    while at < end:
        chunk = source.read(at, min(_CHUNK, end - at))
        if not chunk:
            break
        digest.update(chunk)
        at += len(chunk)
    if at < end or digest.hexdigest() != entry.sha256:
        raise ArchiveError(
            f"{entry.member} in {source.name} is not what it was when the archive was made: verify "
            "the backup, and use another one."
        )
