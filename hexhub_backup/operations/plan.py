"""A plan: what a restore would do to each record and file, kept in a file of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from hexhub_backup.archive.index import index_errors
from hexhub_backup.archive.records import FileType, Kind, ReleaseFile
from hexhub_backup.registry.base import Action, Comparison, State

Strategy = Literal["skip", "overwrite", "fail"]
STRATEGIES: tuple[Strategy, ...] = ("skip", "overwrite", "fail")

#: What a restore does with one file: `place` it where there is none, `replace` the stored one.
FileAction = Literal["place", "replace"]

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE records (
  kind TEXT NOT NULL, n INTEGER NOT NULL, state TEXT NOT NULL, comparison TEXT NOT NULL,
  action TEXT,
  PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE files (
  type TEXT NOT NULL, n INTEGER NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL,
  action TEXT, tag TEXT, size INTEGER NOT NULL,
  PRIMARY KEY (type, n)
) WITHOUT ROWID;
"""
_BATCH = 1000


@dataclass(frozen=True)
class PlannedFile:
    """A file of release `n`, `size` bytes in the archive. `tag` is the stored file's when the
    plan was made, None where there was none; `action` is None where the stored one stays."""

    file: ReleaseFile
    n: int
    action: FileAction | None
    tag: str | None
    size: int


@dataclass(frozen=True)
class PlannedRecord:
    """Record `n` of its kind. `state` counts the release's files in, `comparison` is what the
    row alone gave; `action` is what the strategy makes of it, None where the row stays."""

    state: State
    comparison: Comparison
    action: Action | None


class Plan:
    """The plan in a file; memory does not grow with it. Raises SpaceError and BackupError where
    the file can't be used.

    `about` holds `archive` (path), `digest` (of the archive), `strategy`, `protected` and
    `actor`.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._database = sqlite3.connect(path)
        with index_errors():
            # A plan is made again rather than recovered.
            self._database.execute("PRAGMA journal_mode = MEMORY")
            self._database.execute("PRAGMA synchronous = OFF")
            if not self._database.execute("SELECT 1 FROM sqlite_master").fetchone():
                self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    @property
    def about(self) -> dict[str, Any]:
        rows = self._database.execute("SELECT key, value FROM about")
        return {key: json.loads(value) for key, value in rows}

    def save_about(self, about: dict[str, Any]) -> None:
        with index_errors(), self._database:
            self._database.executemany(
                "INSERT OR REPLACE INTO about VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in about.items()],
            )

    def add_records(self, kind: Kind, records: Iterable[PlannedRecord]) -> None:
        rows = (
            (
                kind.name,
                record.comparison.n,
                record.state,
                json.dumps(dataclasses.asdict(record.comparison)),
                record.action,
            )
            for record in records
        )
        self._add("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows)

    def add_files(self, files: Iterable[PlannedFile]) -> None:
        rows = (
            (
                planned.file.type,
                planned.n,
                planned.file.package,
                planned.file.version,
                planned.action,
                planned.tag,
                planned.size,
            )
            for planned in files
        )
        self._add("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _add(self, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
        while batch := list(islice(rows, _BATCH)):
            with index_errors(), self._database:
                self._database.executemany(statement, batch)

    def records(self, kind: Kind, *, only: str = "1") -> Iterator[PlannedRecord]:
        """The records of a kind in order of n."""
        rows = self._database.execute(
            f"SELECT state, comparison, action FROM records WHERE kind = ? AND ({only}) ORDER BY n",  # noqa: S608 (conditions of this module)
            (kind.name,),
        )
        for state, comparison, action in rows:
            yield PlannedRecord(state, _comparison(json.loads(comparison)), action)

    def conflicts(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self.records(kind, only="state = 'conflict'")

    def blocked(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self.records(kind, only="state = 'blocked'")

    def written(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self.records(kind, only="action IS NOT NULL")

    def files(self, file_type: FileType, *actions: FileAction) -> Iterator[PlannedFile]:
        """The files of a type in order of n; only those with one of the actions, if any."""
        rows = self._database.execute(
            "SELECT package, version, n, action, tag, size FROM files WHERE type = ? ORDER BY n",
            (file_type,),
        )
        for package, version, n, action, tag, size in rows:
            if not actions or action in actions:
                yield PlannedFile(ReleaseFile(file_type, package, version), n, action, tag, size)

    def file_bytes(self, file_type: FileType) -> int:
        """The size of the files of a type that are to be placed or replaced."""
        query = "SELECT sum(size) FROM files WHERE type = ? AND action IS NOT NULL"
        return self._database.execute(query, (file_type,)).fetchone()[0] or 0

    def counts(self, kind: Kind) -> dict[State, int]:
        """How many records of a kind are in each state."""
        rows = self._database.execute(
            "SELECT state, count(*) FROM records WHERE kind = ? GROUP BY state", (kind.name,)
        )
        found = dict(rows)
        states: tuple[State, ...] = ("create", "unchanged", "conflict", "blocked")
        return {state: found.get(state, 0) for state in states}


def _comparison(values: dict[str, Any]) -> Comparison:
    for name in ("key", "differs", "protected"):
        values[name] = tuple(values[name])
    return Comparison(**values)
