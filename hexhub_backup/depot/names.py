"""The names of operations, backups and archives."""

from __future__ import annotations

import re
import secrets
from datetime import datetime, timezone

from hexhub_backup.operations.sidecar import ENCRYPTED

_ARCHIVE = re.compile(r"hexhub-backup-([0-9A-Za-z][0-9A-Za-z-]{0,39})\.tar")
#: No ids of backups: the pages have these addresses.
RESERVED_IDS = frozenset(
    {
        "doctor",
        "metrics",
        "new",
        "operations",
        "plans",
        "protection",
        "restore",
        "retention",
        "selected",
        "static",
        "token",
        "uploads",
    }
)


def new_id() -> str:
    """An id that sorts by time and that nobody can guess into use twice:
    `20260131-103000-9f3ac1`."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def id_of(name: str) -> str | None:
    """The backup whose archive has this name; None where it can be none."""
    match = _ARCHIVE.fullmatch(name)
    return None if match is None or match[1] in RESERVED_IDS else match[1]


def id_of_copy(name: str) -> str | None:
    """The backup whose archive, encrypted or not, a file of a destination is; None where it can be
    none."""
    return id_of(name.removesuffix(ENCRYPTED))
