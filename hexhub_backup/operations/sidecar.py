"""The sidecar of a copy: what it is a copy of, in a small file beside it that anybody may read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hexhub_backup.archive.rules.manifest import Manifest
from hexhub_backup.archive.rules.strict_json import StrictJSONError, dumps, find_problem
from hexhub_backup.archive.times import is_time
from hexhub_backup.errors import ArchiveError

#: Bytes that a sidecar may have.
MAX_SIDECAR = 64 * 1024
#: Who made a backup of which only a sidecar is known.
NOBODY = "unknown"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_INSTANCE = re.compile(r"[0-9a-f]{32}")
#: Of the manifest all but names: who made the backup, and which files are missing.
_OF_MANIFEST = ("version", "hex_hub_version", "generator", "created_at", "contents", "checksums")


#: What the name of an encrypted archive ends with.
ENCRYPTED = ".age"


def archive_file(backup: str, *, encrypted: bool = False) -> str:
    """What the copy of an archive is called."""
    return f"hexhub-backup-{backup}.tar{ENCRYPTED if encrypted else ''}"


def sidecar_file(backup: str) -> str:
    """What its sidecar is called."""
    return f"hexhub-backup-{backup}.json"


def page_file(backup: str) -> str:
    """What the page beside it is called, which is for people."""
    return f"hexhub-backup-{backup}.html"


def files_of(backup: str) -> tuple[str, ...]:
    """Every file that a copy may have, the sidecar last: alone it is no copy. An attempt may have
    died before copies were encrypted."""
    archives = archive_file(backup), archive_file(backup, encrypted=True)
    return *archives, page_file(backup), sidecar_file(backup)


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What a sidecar says: the `instance` of the registry, where it says so; of the archive and of
    the stored `file` the size and SHA-256, to whom it is encrypted, and of the manifest what is no
    name. `missing_files` is their number."""

    backup: str
    created_at: str
    file: str
    archive_size: int
    archive_sha256: str
    stored_size: int
    stored_sha256: str
    recipients: tuple[str, ...]
    manifest: Mapping[str, Any]
    missing_files: int
    instance: str | None

    def as_bytes(self) -> bytes:
        """The file."""
        manifest = {name: self.manifest[name] for name in _OF_MANIFEST if name in self.manifest}
        document = {
            "backup": self.backup,
            "instance": self.instance,
            "created_at": self.created_at,
            "archive": {"size_bytes": self.archive_size, "sha256": self.archive_sha256},
            "stored": {
                "file": self.file,
                "size_bytes": self.stored_size,
                "sha256": self.stored_sha256,
            },
            "recipients": list(self.recipients),
            "manifest": manifest,
            "missing_files": self.missing_files,
        }
        return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Sidecar:
        """Read one that may be hostile. Raises ArchiveError where it is no sidecar."""
        try:
            return _read(json.loads(data.decode()) if len(data) <= MAX_SIDECAR else None)
        except (ValueError, KeyError, TypeError, RecursionError, StrictJSONError, ArchiveError):
            raise ArchiveError("The sidecar of a copy is damaged, or is none.") from None


def sidecar_of(
    backup: str,
    *,
    created_at: datetime,
    manifest: Mapping[str, Any],
    file: str,
    archive: tuple[int, str],
    stored: tuple[int, str],
    recipients: Sequence[str],
    instance: str,
) -> Sidecar:
    """The sidecar of a new copy in `file`; `archive` and `stored` are sizes and SHA-256, `instance`
    stands for the registry."""
    return Sidecar(
        backup=backup,
        created_at=created_at.isoformat(),
        file=file,
        archive_size=archive[0],
        archive_sha256=archive[1],
        stored_size=stored[0],
        stored_sha256=stored[1],
        recipients=tuple(recipients),
        manifest=manifest,
        missing_files=len(manifest.get("missing_files", ())),
        instance=instance,
    )


def _read(document: Any) -> Sidecar:
    if find_problem(document) is not None:
        raise ValueError
    archive, stored, manifest = document["archive"], document["stored"], document["manifest"]
    # The names that it has not are needed in an archive.
    whole = Manifest.parse(dumps({"created_by": NOBODY, "missing_files": [], **manifest}))
    sidecar = Sidecar(
        backup=document["backup"],
        created_at=document["created_at"],
        file=stored["file"],
        archive_size=archive["size_bytes"],
        archive_sha256=archive["sha256"],
        stored_size=stored["size_bytes"],
        stored_sha256=stored["sha256"],
        recipients=tuple(document["recipients"]),
        manifest=whole.as_json(),
        missing_files=document["missing_files"],
        instance=document.get("instance"),
    )
    texts = (sidecar.backup, sidecar.created_at, sidecar.file, *sidecar.recipients)
    numbers = (sidecar.archive_size, sidecar.stored_size, sidecar.missing_files)
    hashes = (sidecar.archive_sha256, sidecar.stored_sha256)
    if (
        not all(isinstance(each, str) for each in (*texts, *hashes))
        or not all(_SHA256.fullmatch(each) for each in hashes)
        or not all(type(each) is int and 0 <= each < 2**63 for each in numbers)
        # It becomes a number of 32 bits.
        or sidecar.missing_files >= 2**31
        or not is_time(sidecar.created_at)
        or not (sidecar.instance is None or _INSTANCE.fullmatch(sidecar.instance))
    ):
        raise ValueError
    return sidecar
