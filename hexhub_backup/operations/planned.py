"""What a plan holds of one record and of one file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from hexhub_backup.archive.records import FileType, Kind, ReleaseFile, as_json
from hexhub_backup.marking import marked
from hexhub_backup.registry.base import Action, Comparison, State
from hexhub_backup.storage.base import Purpose

#: What a restore does with one file: `place` it where there is none, `replace` the stored one.
FileAction = Literal["place", "replace"]

_DIFFERING_FILES: Mapping[FileType, str] = {
    "package": marked("package file"),
    "docs": marked("docs file"),
}


class PlannedFile(NamedTuple):
    """A file of release `n`, `size` bytes in the archive. `tag` and `stored_size` are the stored
    file's when the plan was made, None where there was none; the tag is sealed where that file
    was read. `differs` says whether it has another content; `action` is None where it stays.
    `is_new` says of a complete plan whether the release is created."""

    file: ReleaseFile
    n: int
    action: FileAction | None
    tag: str | None
    size: int
    stored_size: int | None
    differs: bool
    is_new: bool = False

    @property
    def purpose(self) -> Purpose:
        """What it is staged for."""
        if self.action == "replace":
            return "replace"
        return "place" if self.is_new else "put_back"

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> PlannedFile:
        return cls(
            file=ReleaseFile(row["type"], row["package"], row["version"]),
            n=row["n"],
            action=row["action"],
            tag=row["tag"],
            size=row["size"],
            stored_size=row["stored_size"],
            differs=bool(row["differs"]),
            is_new=bool(row["is_new"]),
        )


class PlannedRecord(NamedTuple):
    """One record of a kind. `state` counts the release's files in, `comparison` is what the
    row alone gave; `action` is what the strategy makes of it, None where the row stays. `cause`
    says of a complete plan in short why it is in conflict or blocked."""

    state: State
    comparison: Comparison
    action: Action | None
    cause: str = ""

    def row(self, kind: Kind) -> tuple[Any, ...]:
        """The record in a plan, as `_INSERT_RECORD` takes it."""
        comparison, key = self.comparison, self.comparison.key
        text = (
            f'{{"key": {as_json(key)}, "state": "{comparison.state}"}}'
            if comparison.is_plain
            else self._comparison()
        )
        return kind.name, comparison.n, " ".join(key), self.state, self.action, text

    def _comparison(self) -> str:
        """Only what is neither false nor empty is written, and never `rights`, which are needed
        only while a plan is made."""
        return json.dumps(
            {
                name: value
                for name, value in zip(Comparison._fields, self.comparison, strict=True)
                if value and name not in ("n", "rights")
            }
        )

    @classmethod
    def of_row(cls, row: sqlite3.Row) -> PlannedRecord:
        comparison: dict[str, Any] = {
            name: tuple(value) if type(value) is list else value
            for name, value in json.loads(row["comparison"]).items()
        }
        changes: dict[str, list[str | None] | None] = comparison.pop("changes", {})
        comparison["changes"] = {
            name: None if change is None else tuple(change) for name, change in changes.items()
        }
        return cls(row["state"], Comparison(n=row["n"], **comparison), row["action"], row["cause"])


def is_replaceable(comparison: Comparison, *, protected: bool) -> bool:
    """Whether the strategy `overwrite` replaces a record in conflict. `protected` says that
    protected columns are restored."""
    # Whoever made the archive must not become an admin by it.
    return not comparison.own and (protected or not comparison.privileged)


def cause_of(planned: PlannedRecord, differing: Iterable[FileType]) -> str:
    """In short why a record is in conflict or blocked, alike for all of the same cause: the
    fields and files that differ, or the reason. `differing` are the types of its files that
    differ."""
    comparison = planned.comparison
    if planned.state == "blocked":
        return str(comparison.reason)
    hidden = (marked("hidden"),) if comparison.hidden else ()
    files = (_DIFFERING_FILES[each] for each in differing)
    return ", ".join((*hidden, *comparison.differs, *files))


class PlannedAction(NamedTuple):
    """What becomes of record `n`, without what was compared; `label` is its name in messages."""

    n: int
    action: Action | None
    label: str
