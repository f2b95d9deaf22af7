"""A plan: what a restore would do to each record and file, kept in a file of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hexhub_backup.archive.private import made, opened, private_errors
from hexhub_backup.archive.records import KINDS, FileType, Kind, ReleaseFile
from hexhub_backup.operations.choice import Choice
from hexhub_backup.registry.base import Action, Comparison, State

#: What a restore does with one file: `place` it where there is none, `replace` the stored one.
FileAction = Literal["place", "replace"]
STATES: tuple[State, ...] = ("create", "unchanged", "conflict", "blocked")
#: The kinds by name, in their order.
KIND_OF: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE records (
  kind TEXT NOT NULL, n INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, action TEXT,
  comparison TEXT NOT NULL, PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE files (
  type TEXT NOT NULL, n INTEGER NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL,
  action TEXT, tag TEXT, size INTEGER NOT NULL, stored_size INTEGER, differs INTEGER NOT NULL,
  PRIMARY KEY (type, n)
) WITHOUT ROWID;
CREATE TABLE notes (code TEXT NOT NULL, record TEXT, message TEXT NOT NULL);
"""
# Made last: filling is quicker without them.
_INDEXES = """
CREATE INDEX records_by_state ON records (kind, state);
CREATE INDEX notes_by_code ON notes (code);
"""
_BATCH = 1000


@dataclass(frozen=True)
class PlannedFile:
    """A file of release `n`, `size` bytes in the archive. `tag` and `stored_size` are the stored
    file's when the plan was made, None where there was none; the tag is sealed where that file
    was read. `differs` says whether it has another content; `action` is None where it stays."""

    file: ReleaseFile
    n: int
    action: FileAction | None
    tag: str | None
    size: int
    stored_size: int | None
    differs: bool


@dataclass(frozen=True)
class PlannedRecord:
    """One record of a kind. `state` counts the release's files in, `comparison` is what the
    row alone gave; `action` is what the strategy makes of it, None where the row stays."""

    state: State
    comparison: Comparison
    action: Action | None


@dataclass(frozen=True)
class Note:
    """What an admin should know of a plan: `code` is one of `WARNING_CODES` or `NOTE_CODES`."""

    code: str
    message: str
    record: str | None = None


class PlanWriter:
    """Writes the plan of one choice; memory does not grow with it. Raises SpaceError and
    BackupError where the file can't be written. Without `complete` it is none."""

    def __init__(self, path: Path) -> None:
        self._database = made(path, f"{_SCHEMA} BEGIN")
        self._records: list[tuple[Any, ...]] = []
        self._files: list[tuple[Any, ...]] = []
        self._notes: list[tuple[Any, ...]] = []
        self._hash = hashlib.sha256()

    def close(self) -> None:
        self._database.close()

    def add(self, kind: Kind, planned: PlannedRecord, files: Iterable[PlannedFile] = ()) -> None:
        """Add a record, with the files where it is a release."""
        found = planned.comparison
        effect: list[Any] = [kind.name, found.n, planned.state, planned.action]
        effect += [found.differs, found.hidden]
        for each in files:
            file = each.file
            effect += [file.type, each.action, each.differs]
            self._files.append(
                (
                    *(file.type, each.n, file.package, file.version, each.action, each.tag),
                    *(each.size, each.stored_size, each.differs),
                )
            )
        self._hash.update(json.dumps(effect).encode())
        name, text = " ".join(found.key), _text_of(found)
        self._records.append((kind.name, found.n, name, planned.state, planned.action, text))
        if len(self._records) >= _BATCH:
            self._flush()

    def note(self, code: str, message: str, record: str | None = None) -> None:
        self._notes.append((code, record, message))
        if len(self._notes) >= _BATCH:
            self._flush()

    def complete(self, *, digest: str, choice: Choice, **about: Any) -> str:
        """Say what the plan is about, and make it readable. Gives its hash: `sha256:…` of the
        archive's digest, the choice and the effect on each record and file."""
        self._flush()
        bound = json.dumps([digest, choice.as_json()], sort_keys=True)
        self._hash.update(bound.encode())
        plan_hash = f"sha256:{self._hash.hexdigest()}"
        rows = {"digest": digest, "choice": choice.as_json(), "hash": plan_hash, **about}
        with private_errors():
            self._database.executemany(
                "INSERT INTO about VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in rows.items()],
            )
            self._database.execute("COMMIT")
            self._database.executescript(_INDEXES)
        return plan_hash

    def _flush(self) -> None:
        with private_errors():
            for table, width, rows in (
                ("records", 6, self._records),
                ("files", 9, self._files),
                ("notes", 3, self._notes),
            ):
                marks = ", ".join("?" * width)
                self._database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 (tables of this module)
                rows.clear()


class Plan:
    """A plan that was completed, to be read.

    `about` holds `archive` (path), `digest` (of the archive), `hash` (of the plan), `choice`,
    `actor`, `totals` (how many records of each kind the archive holds) and `refused` (why a record
    of a kind is not taken, by its number).
    """

    def __init__(self, path: Path) -> None:
        self._database = opened(path)
        try:
            with private_errors():
                rows = self._database.execute("SELECT key, value FROM about").fetchall()
        except BaseException:
            self._database.close()
            raise
        self.about: Mapping[str, Any] = {key: json.loads(value) for key, value in rows}
        self.choice = Choice.of_json(self.about["choice"])

    def close(self) -> None:
        self._database.close()

    def records(self, kind: Kind, *, only: str = "1") -> Iterator[PlannedRecord]:
        """The records of a kind in order of n."""
        rows = self._database.execute(
            f"SELECT n, state, comparison, action FROM records WHERE kind = ? AND ({only}) "  # noqa: S608 (conditions of this module)
            "ORDER BY n",
            (kind.name,),
        )
        yield from map(_planned, rows)

    def staged(self, kind: Kind) -> Iterator[PlannedRecord]:
        """The records that a restore stages: all but those that the archive's own faults block,
        which have a negative n."""
        return self.records(kind, only="n > 0")

    def staged_count(self, kind: Kind) -> int:
        query = "SELECT count(*) FROM records WHERE kind = ? AND n > 0"
        return int(self._database.execute(query, (kind.name,)).fetchone()[0])

    def conflicts(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self.records(kind, only="state = 'conflict'")

    def blocked(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self.records(kind, only="state = 'blocked'")

    def written(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self.records(kind, only="action IS NOT NULL")

    def search(
        self, kind: Kind, *, state: State | None, text: str, offset: int, limit: int
    ) -> tuple[int, list[PlannedRecord]]:
        """How many records of a kind are in a state and have `text` in their key, and `limit`
        of them from `offset` on."""
        found, values = "kind = ?", [kind.name]
        if state is not None:
            found += " AND state = ?"
            values.append(state)
        if text:
            found += " AND instr(lower(name), lower(?))"
            values.append(text)
        count = self._database.execute(
            f"SELECT count(*) FROM records WHERE {found}",  # noqa: S608 (conditions of this method)
            values,
        ).fetchone()[0]
        rows = self._database.execute(
            f"SELECT n, state, comparison, action FROM records WHERE {found} "  # noqa: S608 (conditions of this method)
            "ORDER BY n LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        return count, list(map(_planned, rows))

    def files(self, file_type: FileType, *actions: FileAction) -> Iterator[PlannedFile]:
        """The files of a type in order of n; only those with one of the actions, if any."""
        rows = self._database.execute("SELECT * FROM files WHERE type = ? ORDER BY n", (file_type,))
        for planned in map(_planned_file, rows):
            if not actions or planned.action in actions:
                yield planned

    def files_of(self, n: int) -> list[PlannedFile]:
        """The files of release `n`."""
        return list(
            map(
                _planned_file,
                self._database.execute("SELECT * FROM files WHERE n = ? ORDER BY type DESC", (n,)),
            )
        )

    def file(self, file_type: FileType, n: int) -> PlannedFile | None:
        """The file of a type of release `n`, where it was looked at."""
        row = self._database.execute(
            "SELECT * FROM files WHERE type = ? AND n = ?", (file_type, n)
        ).fetchone()
        return None if row is None else _planned_file(row)

    def file_bytes(self, file_type: FileType) -> int:
        """The size of the files of a type that are to be placed or replaced."""
        query = "SELECT sum(size) FROM files WHERE type = ? AND action IS NOT NULL"
        return self._database.execute(query, (file_type,)).fetchone()[0] or 0

    def file_counts(self) -> dict[FileAction, int]:
        """How many files are to be placed, and how many replaced."""
        rows = self._database.execute("SELECT action, count(*) FROM files GROUP BY action")
        found = dict(rows)
        return {"place": found.get("place", 0), "replace": found.get("replace", 0)}

    def notes(self, code: str | None = None, *, offset: int = 0, limit: int = -1) -> Iterator[Note]:
        """What an admin should know, in the order in which it was found."""
        found, values = ("1", []) if code is None else ("code = ?", [code])
        rows = self._database.execute(
            f"SELECT code, message, record FROM notes WHERE {found} "  # noqa: S608 (conditions of this method)
            "ORDER BY rowid LIMIT ? OFFSET ?",
            [*values, limit, offset],
        )
        for row in rows:
            yield Note(*row)

    def note_counts(self) -> dict[str, int]:
        """How many notes of each code there are."""
        return dict(self._database.execute("SELECT code, count(*) FROM notes GROUP BY code"))

    def states(self, kind: Kind) -> dict[State, int]:
        """How many records of a kind are in each state."""
        rows = self._database.execute(
            "SELECT state, count(*) FROM records WHERE kind = ? GROUP BY state", (kind.name,)
        )
        found = dict(rows)
        return {state: found.get(state, 0) for state in STATES}

    def effect(self, kind: Kind) -> dict[str, int]:
        """How many records of a kind would be `created`, `overwritten`, are `unchanged`, would
        be `skipped` (conflicts that stay), `left_out` (blocked), and are `not_chosen`."""
        states = self.states(kind)
        overwritten = self._database.execute(
            "SELECT count(*) FROM records WHERE kind = ? AND action = 'overwrite'", (kind.name,)
        ).fetchone()[0]
        return {
            "created": states["create"],
            "overwritten": overwritten,
            "unchanged": states["unchanged"],
            "skipped": states["conflict"] - overwritten,
            "left_out": states["blocked"],
            "not_chosen": self.about["totals"][kind.name] - sum(states.values()),
        }

    def replaces(self) -> int:
        """How many records would be overwritten: an admin has to type that number."""
        return sum(self.effect(kind)["overwritten"] for kind in KINDS)


def _text_of(found: Comparison) -> str:
    return json.dumps(
        [
            found.key,
            found.state,
            found.differs,
            found.reason,
            found.hidden,
            found.own,
            found.totp_dropped,
            found.unknown_password,
            found.protected,
            found.holds,
            found.would_hold,
            found.changes,
        ]
    )


def _planned(row: tuple[Any, ...]) -> PlannedRecord:
    n, state, text, action = row
    key, own_state, differs, reason, hidden, own, *told, changes = json.loads(text)
    totp, password, protected, holds, would_hold = told
    comparison = Comparison(
        n=n,
        key=tuple(key),
        state=own_state,
        differs=tuple(differs),
        reason=reason,
        hidden=hidden,
        own=own,
        totp_dropped=totp,
        unknown_password=password,
        protected=tuple(protected),
        holds=holds,
        would_hold=tuple(would_hold),
        changes={name: None if each is None else tuple(each) for name, each in changes.items()},
    )
    return PlannedRecord(state, comparison, action)


def _planned_file(row: tuple[Any, ...]) -> PlannedFile:
    file_type, n, package, version, action, tag, size, stored_size, differs = row
    file = ReleaseFile(file_type, package, version)
    return PlannedFile(file, n, action, tag, size, stored_size, bool(differs))
