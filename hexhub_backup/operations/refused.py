"""What a database refused in a restore, in a file, so that the next plan can leave it out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from hexhub_backup.archive.records import KINDS
from hexhub_backup.errors import ChangedError, NotFoundError

#: By the name of a kind: the numbers of records in the archive, and why each is refused.
Refused = Mapping[str, Mapping[int, str]]


def save(path: Path, digest: str, records: Refused) -> None:
    """Keep what was refused of the archive with a digest. Raises OSError."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"digest": digest, "records": records}, file)


def load(paths: Iterable[Path], digest: str) -> dict[str, dict[int, str]]:
    """What several restores kept of an archive. Raises NotFoundError where there is none,
    ChangedError where it was another archive."""
    refused: dict[str, dict[int, str]] = {kind.name: {} for kind in KINDS}
    for path in paths:
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise NotFoundError(
                f"The database refused no records in operation {path.stem}, or that is forgotten: "
                "name a restore that failed so, or leave --without out."
            ) from None
        if saved["digest"] != digest:
            raise ChangedError(
                f"The operation {path.stem} was a restore of another archive: what the database "
                "refused of that says nothing of this one. Inspect it without --without."
            )
        for kind, records in saved["records"].items():
            refused[kind].update({int(n): reason for n, reason in records.items()})
    return refused
