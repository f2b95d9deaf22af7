"""Fetch: read a copy from its destination, to its last byte, and hold it against its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from hexhub_backup.destinations.base import Destination
from hexhub_backup.errors import ArchiveError, DestinationError
from hexhub_backup.operations.progress import Progress

_CHUNK = 256 * 1024
#: How often a copy is opened again where nothing more comes.
_ATTEMPTS = 5


def step_of(place: str) -> str:
    """The step of a fetch from a place."""
    return f"fetch_from_{place}"


def fetch(
    *,
    destination: Destination,
    file: str,
    size: int,
    sha256: str | None,
    write: Callable[[bytes], object],
    progress: Progress,
) -> str:
    """Read a copy and hand its bytes to `write`. Where the destination goes away meanwhile, it goes
    on where it was. Returns the SHA-256.

    Raises FileNotFoundError where it is not there, ArchiveError where its size is not `size` or its
    hash not `sha256` (None: not known), DestinationError, OSError.
    """
    digest, at, failed = hashlib.sha256(), 0, 0
    progress.expect({step_of(destination.name): (size, 0)})
    with progress.step(step_of(destination.name)):
        while at < size:
            # Also where it goes away again and again before the first byte.
            progress.check()
            try:
                with destination.open(file, at) as copy:
                    check_size(copy.size, size, destination, file)
                    while chunk := copy.read(_CHUNK):
                        write(chunk)
                        digest.update(chunk)
                        at, failed = at + len(chunk), 0
                        progress.advance(len(chunk))
                if at < size:
                    failed += 1
                    _give_up_if(failed, destination, file)
            except DestinationError:
                failed += 1
                if failed >= _ATTEMPTS:
                    raise
                progress.log(f"{destination.name} went away at byte {at:,}: it is asked again.")
        found = digest.hexdigest()
        if sha256 is not None and found != sha256:
            raise ArchiveError(
                f"The copy {file} in {destination.location} is damaged: its SHA-256 is not the one "
                "that it had. Use another copy."
            )
    return found


def check_size(found: int, size: int, destination: Destination, file: str) -> None:
    """Raises ArchiveError where a copy has another size than it had."""
    if found != size:
        raise ArchiveError(
            f"The copy {file} in {destination.location} is damaged: it has {found:,} bytes instead "
            f"of {size:,}. Use another copy."
        )


def _give_up_if(failed: int, destination: Destination, file: str) -> None:
    if failed >= _ATTEMPTS:
        raise DestinationError(
            f"{file} in {destination.location} ends too early, again and again: look at that place."
        )
