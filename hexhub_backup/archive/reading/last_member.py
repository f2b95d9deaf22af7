"""The manifest of an archive alone, which is its last member: for one that lies elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from hexhub_backup.archive.faults import refuse
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.rules.manifest import MANIFEST, Manifest
from hexhub_backup.archive.rules.strict_json import MAX_ROW_BYTES
from hexhub_backup.errors import ArchiveError

#: Bytes at the end that are looked at first, and at most: a manifest with its header and the end.
_WINDOWS = (64 * 1024, MAX_ROW_BYTES + 64 * 1024)
#: How many places that may be its header are tried, from the end: who fills an archive with them
#: would have each of them read to the end.
_TRIED = 16


def read_manifest(read: Callable[[int, int], bytes], size: int) -> Manifest:
    """The manifest of an archive of `size` bytes of which nothing else is read, and nothing else
    is known to be right. `read(offset, length)` returns the bytes there.

    Raises ArchiveError where the last member is none.
    """
    for window in _WINDOWS:
        start = max(0, size - window) // tar.BLOCK * tar.BLOCK
        manifest = _find(read(start, size - start))
        if manifest is not None:
            break
    else:
        refuse("missing_member", "its last member is not the manifest", MANIFEST)
    return manifest


def _find(end: bytes) -> Manifest | None:
    """The manifest in the end of an archive, which begins with a block."""
    name = MANIFEST.encode()
    at, tried = end.rfind(name), 0
    while at >= 0 and tried < _TRIED:
        if at % tar.BLOCK == 0:
            tried += 1
            found = _member(end[at:])
            if found is not None:
                return Manifest.parse(found)
        at = end.rfind(name, 0, at)
    return None


def _member(tail: bytes) -> bytes | None:
    """The bytes of the manifest, where it is the only member of such a tar."""
    try:
        members = list(tar.walk(lambda at, length: tail[at : at + length], len(tail)))
    except ArchiveError:
        return None
    if [member.name for member in members] != [MANIFEST]:
        return None
    return tail[members[0].offset : members[0].offset + members[0].size]
