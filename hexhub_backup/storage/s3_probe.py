"""What a server of S3 does with what a storage relies on: found out by trying it."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import NamedTuple

from hexhub_backup.errors import BackupError, StorageError
from hexhub_backup.marking import marked
from hexhub_backup.s3.server import RacedError, TakenError, UnknownError
from hexhub_backup.storage.layout import AREA
from hexhub_backup.storage.s3_objects import Objects

#: Where that is tried: it is nobody's staging area.
PROBE = f"{AREA}/probe"


class Server(NamedTuple):
    """Whether it holds a copy to a condition of the object that it becomes, as AWS does; others
    are asked first."""

    conditional_copies: bool


def probe(objects: Objects, location: str) -> Server:
    """Write some small objects, look at them, and delete them. Raises StorageError for a server
    on which a restore would not be all or nothing."""
    folder = f"{PROBE}/{secrets.token_hex(8)}/"
    try:
        return _probe(objects, location, f"{folder}one", f"{folder}other")
    finally:
        with suppress(BackupError):
            objects.remove(folder)


def _probe(objects: Objects, location: str, one: str, other: str) -> Server:
    try:
        objects.put(one, b"one", "probe.one", new=True)
        objects.put(one, b"two", "probe.two", new=True)
    except (TakenError, RacedError):
        pass
    except UnknownError:
        does = marked(
            f"The server of {location} does not know conditions (If-None-Match): it would replace "
            "a file of the host's though it is told not to, so that nothing is restored there."
        )
        raise _refused(does) from None
    else:
        does = marked(
            f"The server of {location} ignores conditions (If-None-Match): it would replace a file "
            "of the host's though it is told not to, so that nothing is restored there."
        )
        raise _refused(does)
    found = objects.head(one)
    if found is None or found.tag != "probe.one":
        raise StorageError(
            f"The server of {location} does not keep the metadata of an object (x-amz-meta-…), by "
            "which a restore knows the files that it has stored, so that nothing is restored "
            "there. Use a server that keeps it, as nearly all do, or take the files from a "
            "LocalStorage."
        )
    objects.copy(one, found, other)
    try:
        objects.copy(one, found, other, condition={"IfNoneMatch": "*"})
    except (TakenError, RacedError):
        return Server(conditional_copies=True)
    except UnknownError:
        pass
    return Server(conditional_copies=False)


def _refused(does: str) -> StorageError:
    return StorageError(
        f"{does} Use a server that knows conditional writes, such as AWS, MinIO, Ceph or R2, in a "
        "newer release if need be."
    )
