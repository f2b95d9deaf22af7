"""Copy: an archive to a destination, and beside it its sidecar and its page."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from hexhub_backup.archive.source import Reading, Source
from hexhub_backup.destinations.base import Destination, Reader, read_up_to
from hexhub_backup.errors import ArchiveError, DestinationError
from hexhub_backup.operations.copy_page import copy_page
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.sidecar import (
    MAX_SIDECAR,
    Sidecar,
    archive_file,
    page_file,
    sidecar_file,
    sidecar_of,
)

#: For how long a copy that fails is tried again, and the first pause. Each is twice the one before.
TRIED_FOR = timedelta(days=1)
_FIRST_PAUSE = timedelta(minutes=1)
_CHUNK = 256 * 1024
#: The last step.
SIDECAR = "write_sidecar"


def next_attempt(ordered_at: datetime, attempts: int, now: datetime) -> datetime | None:
    """When a copy is tried again that has failed so many times; None where it is given up."""
    due = now + _FIRST_PAUSE * 2 ** min(attempts - 1, 20)
    return due if due <= ordered_at + TRIED_FOR else None


def step_of(place: str) -> str:
    """The step of a copy to a place."""
    return f"copy_to_{place}"


class Encryption(Protocol):
    """The keys that a copy is encrypted to."""

    #: What each is called.
    fingerprints: tuple[str, ...]

    def size(self, plain: int, /) -> int:
        """About how many bytes so many become."""

    def encrypting(self, source: Reader, /) -> AbstractContextManager[Reader]:
        """A reader of the encrypted bytes."""


def copy(
    *,
    backup: str,
    archive: Source,
    created_at: datetime,
    manifest: Mapping[str, Any],
    destination: Destination,
    encryption: Encryption | None,
    instance: str,
    progress: Progress,
) -> dict[str, Any]:
    """Copy an archive to a destination: as it is, or encrypted
    while it leaves. `instance` stands for the registry.

    Returns the outcome: `file`, `size_bytes`, `sha256`, `archive_sha256`, `recipients` and
    `locked_until` (in ISO 8601, or None). A copy that is there already, of an attempt that died, is
    read and compared; an encrypted one by what lies beside it, and without that it is made again.
    Raises DestinationError, SpaceError, OSError.
    """
    name = archive_file(backup, encrypted=encryption is not None)
    size = archive.size
    about = size if encryption is None else encryption.size(size)
    progress.expect({step_of(destination.name): (about, 0)})
    with progress.step(step_of(destination.name)):
        try:
            plain, stored = _put(
                destination, name, archive, encryption, about=about, progress=progress
            )
        except FileExistsError:
            if encryption is None:
                plain = stored = _compare(destination, name, archive, progress)
            elif found := _finished(
                destination, backup, name, archive, encryption=encryption, progress=progress
            ):
                plain, stored = found
            else:
                destination.delete(name)
                progress.log(f"{name} in {destination.name} is of an attempt that died.")
                plain, stored = _put(
                    destination, name, archive, encryption, about=about, progress=progress
                )
        with destination.open(name, 0, 1) as file:
            if plain.size != size or file.size != stored.size:
                raise DestinationError(
                    f"{name} in {destination.location} has {file.size:,} bytes instead of "
                    f"{stored.size:,}: delete it there, and copy the backup again."
                )
    recipients = () if encryption is None else encryption.fingerprints
    with progress.step(SIDECAR):
        sidecar = sidecar_of(
            backup,
            created_at=created_at,
            manifest=manifest,
            file=name,
            archive=(plain.size, plain.sha256),
            stored=(stored.size, stored.sha256),
            recipients=recipients,
            instance=instance,
        )
        _put_beside(destination, page_file(backup), copy_page(sidecar))
        _put_beside(destination, sidecar_file(backup), sidecar.as_bytes())
        # Not before all of it is there: what is locked can't be made again. The archive last, as
        # the lock of a copy is that of its archive.
        for each in (page_file(backup), sidecar_file(backup), name):
            locked_until = destination.lock(each)
        progress.decided()
    return {
        "file": name,
        "size_bytes": stored.size,
        "sha256": stored.sha256,
        "archive_sha256": plain.sha256,
        "recipients": [*recipients],
        "locked_until": None if locked_until is None else locked_until.isoformat(),
    }


class _Content(NamedTuple):
    """What was written, or is there."""

    size: int
    sha256: str


def _put(
    destination: Destination,
    name: str,
    archive: Source,
    encryption: Encryption | None,
    *,
    about: int,
    progress: Progress,
) -> tuple[_Content, _Content]:
    """Write the archive, from its beginning, as it is or encrypted: what it holds, and what is
    stored. Progress is told of what the destination reads, in its own thread."""
    if encryption is None:
        source = _Read(Reading(archive), progress.advance)
        destination.put(name, source, about)
        return source.content, source.content
    plain = _Read(Reading(archive))
    with encryption.encrypting(plain) as encrypted:
        stored = _Read(encrypted, progress.advance)
        destination.put(name, stored, about)
    return plain.content, stored.content


class _Read:
    """What a destination reads: hashed, and told of."""

    def __init__(self, file: Reader, tell: Callable[[int], object] = lambda _: None) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._file = file
        self._tell = tell

    @property
    def content(self) -> _Content:
        """What was read so far."""
        return _Content(self.size, self._digest.hexdigest())

    def read(self, size: int, /) -> bytes:
        data = self._file.read(min(size, _CHUNK))
        self.size += len(data)
        self._digest.update(data)
        self._tell(len(data))
        return data


def _finished(
    destination: Destination,
    backup: str,
    name: str,
    archive: Source,
    *,
    encryption: Encryption,
    progress: Progress,
) -> tuple[_Content, _Content] | None:
    """What is plain and what is stored in an encrypted file of an attempt that died, which may be
    locked by now; None where it has to be made again: only what lies beside it tells what is in it.
    Raises DestinationError where that says that it is of another archive."""
    try:
        with destination.open(sidecar_file(backup)) as file:
            beside = Sidecar.parse(read_up_to(file, MAX_SIDECAR + 1))
    except (FileNotFoundError, ArchiveError):
        return None
    plain = _read(Reading(archive), progress.check)
    if beside.archive_sha256 != plain.sha256:
        raise _another(destination, name)
    if beside.file != name or {*beside.recipients} != {*encryption.fingerprints}:
        return None
    with destination.open(name) as file:
        if file.size != beside.stored_size:
            return None
        stored = _read(file, progress.check)
    return (plain, stored) if stored == (beside.stored_size, beside.stored_sha256) else None


def _read(source: Reader, check: Callable[[], object]) -> _Content:
    file = _Read(source)
    while file.read(_CHUNK):
        check()
    return file.content


def _compare(destination: Destination, name: str, archive: Source, progress: Progress) -> _Content:
    """Raises DestinationError where the file at the destination is another one."""
    source = _Read(Reading(archive), progress.advance)
    with destination.open(name) as stored:
        same = stored.size == archive.size
        while same and (expected := source.read(_CHUNK)):
            same = read_up_to(stored, len(expected)) == expected
    if not same:
        raise _another(destination, name)
    progress.log(f"{name} is in {destination.name} already, and is the same.")
    return source.content


def _another(destination: Destination, name: str) -> DestinationError:
    return DestinationError(
        f"There is another {name} in {destination.location}, which is not this backup: move it "
        "away there, and copy the backup again."
    )


def _put_beside(destination: Destination, name: str, content: bytes) -> None:
    """Write what lies beside; what is there, of an attempt that died, may be of other bytes."""
    try:
        destination.put(name, io.BytesIO(content), len(content))
    except FileExistsError:
        with destination.open(name) as stored:
            if stored.size == len(content) and read_up_to(stored, len(content)) == content:
                return
        destination.delete(name)
        destination.put(name, io.BytesIO(content), len(content))
