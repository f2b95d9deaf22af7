"""In which records and files the contents of one archive are not those of another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from hexhub_backup.archive.changes import Change, short_change
from hexhub_backup.archive.private import DamagedError
from hexhub_backup.archive.records import FILE_TYPES, KINDS, FileType, Key, Kind
from hexhub_backup.formatting import plural
from hexhub_backup.marking import marked, marked_plural
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.contents import ChangedFile, Earlier, State, split_key
from hexhub_backup.operations.joining import merged
from hexhub_backup.operations.listing import ContentsWriter
from hexhub_backup.operations.progress import Progress

#: What has happened to a record between two backups.
CHANGES = (marked("added"), marked("removed"), marked("changed"))
#: What a line says of the records of a kind that were added, and of those that were removed.
_SINCE = {
    "added": {
        "users": marked_plural("+{count} user", "+{count} users"),
        "packages": marked_plural("+{count} package", "+{count} packages"),
        "releases": marked_plural("+{count} release", "+{count} releases"),
        "owners": marked_plural("+{count} owner", "+{count} owners"),
    },
    "removed": {
        "users": marked_plural("-{count} user", "-{count} users"),
        "packages": marked_plural("-{count} package", "-{count} packages"),
        "releases": marked_plural("-{count} release", "-{count} releases"),
        "owners": marked_plural("-{count} owner", "-{count} owners"),
    },
}


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
                # Nothing is more serious.
                progress.warn(changed_notice(file), first=True)
                progress.check()
            records = no_differences()
            for each in differences(earlier.contents, listing):
                records[each.kind.name][each.change] += 1
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
    for change, words in _SINCE.items():
        for kind in KINDS:
            if count := records.get(kind.name, {}).get(change, 0):
                parts.append(plural(count, *words[kind.name]))
    if changed := sum(counts.get("changed", 0) for counts in records.values()):
        parts.append(plural(changed, "{count} changed", "{count} changed"))
    return ", ".join(parts) or marked("no changes")


class States(Protocol):
    """The contents of an archive, or those that are being listed."""

    def states(self, kind: Kind) -> Iterator[tuple[str, State]]:
        """Each record of a kind as it is compared, by its key, in byte order."""


@dataclass(frozen=True)
class Difference:
    """A record that is not the same `before` and `now`; None where it is not there."""

    kind: Kind
    key: Key
    before: State | None
    now: State | None

    @property
    def change(self) -> str:
        """One of CHANGES."""
        if self.before is None:
            return "added"
        return "removed" if self.now is None else "changed"

    @property
    def label(self) -> str:
        """What the record is called in messages."""
        return self.kind.label(self.key)

    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The fields that changed, each with what it was and is."""
        if self.before is None or self.now is None:
            return {}
        before, now = json.loads(self.before.body), json.loads(self.now.body)
        names = [name for name in before | now if before.get(name) != now.get(name)]
        return {name: (before.get(name), now.get(name)) for name in names}

    def short_fields(self) -> dict[str, Change]:
        """The same in words short enough for a page."""
        return {name: short_change(*values) for name, values in self.fields().items()}

    def files(self) -> dict[FileType, tuple[str | None, str | None]]:
        """The files that changed, came or went, each with the SHA-256 that it had and has."""
        if self.before is None or self.now is None:
            return {}
        found = {name: (getattr(self.before, name), getattr(self.now, name)) for name in FILE_TYPES}
        return {name: hashes for name, hashes in found.items() if hashes[0] != hashes[1]}

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.name,
            "key": list(self.key),
            "change": self.change,
            "fields": {name: list(values) for name, values in self.fields().items()},
            "files": {name: list(hashes) for name, hashes in self.files().items()},
        }


def differences(earlier: States, later: States) -> Iterator[Difference]:
    """Every record that was added, removed or changed, by kind and in byte order of the key."""
    for kind in KINDS:
        for key, before, now in merged(earlier.states(kind), later.states(kind)):
            if before != now:
                yield Difference(kind, split_key(key), before, now)


def no_differences() -> dict[str, dict[str, int]]:
    """How many records of each kind were added, removed and changed, as it is before any was
    found."""
    return {kind.name: dict.fromkeys(CHANGES, 0) for kind in KINDS}


@dataclass(frozen=True)
class Found:
    """The differences between two lists of contents: their `counts` by kind and change, how many
    are `wanted`, and those of them that were asked for."""

    counts: dict[str, dict[str, int]]
    wanted: int
    shown: list[Difference]


def find_differences(
    earlier: States,
    later: States,
    *,
    kind: str = "",
    change: str = "",
    offset: int = 0,
    limit: int,
) -> Found:
    """Count all differences, and show `limit` of those of a kind and a change, from `offset` on;
    memory does not grow with the others."""
    counts, wanted, shown = no_differences(), 0, list[Difference]()
    for each in differences(earlier, later):
        counts[each.kind.name][each.change] += 1
        if kind in ("", each.kind.name) and change in ("", each.change):
            if offset <= wanted < offset + limit:
                shown.append(each)
            wanted += 1
    return Found(counts, wanted, shown)
