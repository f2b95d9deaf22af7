"""Scan: which archives lie at a destination, and what is known of each without reading it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hexhub_backup.archive.reading.last_member import read_manifest
from hexhub_backup.destinations.base import Destination, read_up_to
from hexhub_backup.errors import ArchiveError
from hexhub_backup.marking import marked
from hexhub_backup.operations.sidecar import ENCRYPTED, MAX_SIDECAR, Sidecar, sidecar_file


@dataclass(frozen=True, kw_only=True)
class Found:
    """A copy that lies at a destination. `sidecar` is what lies beside it, `manifest` what the
    sidecar or the end of the archive says; neither was checked. `problem` says why there is less
    than there should be."""

    backup: str
    file: str
    size: int
    sidecar: Sidecar | None
    manifest: dict[str, Any] | None
    problem: str | None


def scan(
    destination: Destination,
    id_of: Callable[[str], str | None],
    is_known: Callable[[str], bool],
) -> Iterator[Found]:
    """Each copy at a destination. `id_of` says of which backup a file is the archive; of those that
    are known, nothing is read. Raises DestinationError, OSError."""
    listed = {each.name: each.size for each in destination.list()}
    for file, size in sorted(listed.items()):
        backup = id_of(file)
        if backup is not None:
            sidecar, manifest, problem = None, None, None
            if not is_known(backup):
                sidecar, problem = _sidecar(destination, backup, file, size, listed)
                manifest = dict(sidecar.manifest) if sidecar else None
                if sidecar is None:
                    manifest, unread = _manifest(destination, file, size)
                    problem = unread or problem
            yield Found(
                backup=backup,
                file=file,
                size=size,
                sidecar=sidecar,
                manifest=manifest,
                problem=problem,
            )


def _sidecar(
    destination: Destination, backup: str, file: str, size: int, listed: dict[str, int]
) -> tuple[Sidecar | None, str | None]:
    """The sidecar of a copy, or why it is not used."""
    name = sidecar_file(backup)
    if name not in listed:
        return None, None
    try:
        sidecar = Sidecar.parse(_read(destination, name, 0, MAX_SIDECAR + 1))
    except FileNotFoundError:
        return None, None
    except ArchiveError as error:
        return None, marked(f"{name}: {error}")
    if (sidecar.backup, sidecar.file) != (backup, file):
        return None, marked(f"{name} is the sidecar of another copy.")
    if sidecar.stored_size != size:
        return None, marked(f"{file} has {size:,} bytes instead of {sidecar.stored_size:,}.")
    return sidecar, None


def _manifest(
    destination: Destination, file: str, size: int
) -> tuple[dict[str, Any] | None, str | None]:
    if file.endswith(ENCRYPTED):
        return None, marked(f"{file} is encrypted, and nothing beside it says what it is.")
    try:
        found = read_manifest(lambda at, length: _read(destination, file, at, length), size)
    except ArchiveError as error:
        return None, marked(f"{file}: {error}")
    return found.as_json(), None


def _read(destination: Destination, name: str, at: int, length: int) -> bytes:
    if not length:
        return b""
    with destination.open(name, at, length) as file:
        return read_up_to(file, length)
