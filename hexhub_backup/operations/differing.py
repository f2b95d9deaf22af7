"""In which records and files the contents of one archive are not those of another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from typing import Any, Protocol

from hexhub_backup.archive.private import DamagedError
from hexhub_backup.archive.records import KINDS, Key, Kind
from hexhub_backup.formatting import number, plural
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.contents import ChangedFile, Earlier, State
from hexhub_backup.operations.joining import merged
from hexhub_backup.operations.listing import ContentsWriter
from hexhub_backup.operations.progress import Progress

#: What has happened to a record between two backups.
CHANGES = ("added", "removed", "changed")


def compare_with(
    earlier: Earlier | None, listing: ContentsWriter, progress: Progress
) -> dict[str, Any]:
    """Compare the contents of a new archive with those of an earlier backup, and warn of each
    package file that changed: they never do.

    Returns `since`, with the `backup` that it was compared with and how many `records` of each kind
    were added, removed and changed, and `changed_files`, how many package files changed. None where
    there is no earlier backup whose contents can be read.
    """
    compared: dict[str, Any] = {"since": None, "changed_files": None}
    if earlier is None:
        progress.log("There is no earlier backup whose contents are listed, to compare with.")
        return compared
    try:
        with closing(earlier.contents):
            compared["changed_files"] = 0
            for file in listing.add_changed(earlier):
                compared["changed_files"] += 1
                progress.warn(changed_notice(file))
                progress.check()
            records = count_differences(earlier.contents, listing)
    except DamagedError:
        progress.log(f"The list of the contents of backup {earlier.backup} can't be read.")
        return compared
    compared["since"] = {"backup": earlier.backup, "records": records}
    progress.log(f"Since backup {earlier.backup}: {since_text(records)}.")
    return compared


def changed_notice(file: ChangedFile) -> Notice:
    """The notice of a package file that changed."""
    values = {"sha256": file.sha256, "earlier": file.earlier, "backup": file.backup}
    return notice("package_file_changed", file.label, "changed", **values)


def since_text(records: Mapping[str, Mapping[str, int]]) -> str:
    """What has happened since another backup, in a line: `+12 releases, -1 user, 3 changed`."""
    parts = []
    for sign, change in (("+", "added"), ("-", "removed")):
        for kind in KINDS:
            if count := records.get(kind.name, {}).get(change, 0):
                parts.append(
                    sign + plural(count, f"{{count}} {kind.one}", f"{{count}} {kind.name}")
                )
    if changed := sum(counts.get("changed", 0) for counts in records.values()):
        parts.append(f"{number(changed)} changed")
    return ", ".join(parts) or "no changes"


class States(Protocol):
    """The contents of an archive, or those that are being listed."""

    def states(self, kind: Kind) -> Iterator[tuple[Key, State]]:
        """Each record of a kind as it is compared, in byte order of its key."""


def count_differences(earlier: States, later: States) -> dict[str, dict[str, int]]:
    """How many records of each kind were `added`, `removed` and `changed`."""
    return {kind.name: _count(earlier.states(kind), later.states(kind)) for kind in KINDS}


def _count(
    befores: Iterable[tuple[Key, State]], nows: Iterable[tuple[Key, State]]
) -> dict[str, int]:
    counts = dict.fromkeys(CHANGES, 0)
    for _, before, now in merged(befores, nows):
        if before != now:
            counts["added" if before is None else "removed" if now is None else "changed"] += 1
    return counts
