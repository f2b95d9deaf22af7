"""A plan: what a restore would do to each record and file, kept in a file of its own."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    RELEASES,
    FileType,
    Kind,
    ReleaseFile,
)
from hexhub_backup.marking import marked
from hexhub_backup.notices import Notice
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.planned import (
    FileAction,
    PlannedAction,
    PlannedFile,
    PlannedRecord,
    cause_of,
    is_replaceable,
)
from hexhub_backup.registry.base import State

STATES: tuple[State, ...] = ("create", "unchanged", "conflict", "blocked")
#: The kinds by name, in their order.
KIND_OF: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}

_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE records (
  kind TEXT NOT NULL, n INTEGER NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, action TEXT,
  comparison TEXT NOT NULL, cause TEXT NOT NULL, PRIMARY KEY (kind, n)
) WITHOUT ROWID;
CREATE TABLE files (
  type TEXT NOT NULL, n INTEGER NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL,
  action TEXT, tag TEXT, size INTEGER NOT NULL, stored_size INTEGER, differs INTEGER NOT NULL,
  PRIMARY KEY (type, n)
) WITHOUT ROWID;
CREATE TABLE notes (code TEXT NOT NULL, record TEXT, message TEXT NOT NULL);
"""
_FORMAT = Format(
    name="plan", version=3, oldest=3, fix=marked("inspect the archive again"), schema=_SCHEMA
)
# Made last: filling is quicker without them. A page is found in the first alone, names included.
_INDEXES = """
CREATE INDEX records_by_cause ON records (kind, state, cause, n, name);
CREATE INDEX notes_by_code ON notes (code);
"""
_INSERT_RECORD = """
INSERT INTO records (kind, n, name, state, action, comparison, cause)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_FILE = """
INSERT INTO files (type, n, package, version, action, tag, size, stored_size, differs)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_NOTE = "INSERT INTO notes (code, record, message) VALUES (?, ?, ?)"
_RECORDS = "SELECT n, state, comparison, action, cause FROM records WHERE kind = :kind"
_NUMBERS = "SELECT n FROM records WHERE kind = :kind"
_COUNT_RECORDS = "SELECT count(*) FROM records WHERE kind = :kind"
_IN_STATE = " AND state = :state"
_OF_CAUSE = " AND cause = :cause"
# In capitals or not, of A to Z: more quickly than by `lower`.
_NAMED = " AND name LIKE :text ESCAPE '!'"
# The archive's own faults block the others, which have a negative number.
_STAGED = " AND n > 0"
_DIFFERING = " AND action IS NOT 'create' AND state != 'unchanged'"
_OVERWRITTEN = " AND action = 'overwrite'"
_IN_ORDER = " ORDER BY n"
_BY_CAUSE = " ORDER BY cause, n"
_PAGE = " LIMIT :limit OFFSET :offset"
_FILES = """
SELECT type, n, package, version, action, tag, size, stored_size, differs, EXISTS (
  SELECT 1 FROM records WHERE kind = :kind AND records.n = files.n AND records.action = 'create'
) AS is_new FROM files
"""
_PLACED_BYTES = "SELECT sum(size) FROM files WHERE type = :type AND action = 'place'"
_STORED = "SELECT type, package, version, tag FROM files"
_WRITTEN = """ WHERE tag IS NOT NULL AND EXISTS (
  SELECT 1 FROM records WHERE kind = :kind AND records.n = files.n AND records.action IS NOT NULL
)"""
_NOTES = "SELECT code, message, record FROM notes"
_COUNT_RECORDS_BY = """
SELECT kind, state, action, n > 0 AS is_staged, count(*) FROM records
GROUP BY kind, state, action, is_staged
"""
_COUNT_FILES_BY = """
SELECT type, action, count(*), sum(size) FROM files WHERE action IS NOT NULL GROUP BY type, action
"""
_COUNT_NOTES_BY = "SELECT code, count(*) FROM notes GROUP BY code"
_ROOTS = """
SELECT DISTINCT json_extract(comparison, '$.key[0]') AS root FROM records
WHERE kind = :kind AND action IS NOT NULL
"""
# More would bring on collections of garbage.
_BATCH = 100
# So many numbers of records that have a text are remembered: their page needs no second scan.
_FEW = 1000


def _pattern(text: str) -> str:
    """What has this text anywhere, for `_NAMED`."""
    literal = re.sub("[%_!]", r"!\g<0>", text)
    return f"%{literal}%"


class PlanWriter:
    """Writes the plan of one choice; memory does not grow with it. Raises SpaceError and
    BackupError where the file can't be written. Without `complete` it is none."""

    def __init__(self, path: Path) -> None:
        self._database = _FORMAT.make(path)
        self._database.execute("BEGIN")
        self._records: list[tuple[Any, ...]] = []
        self._files: list[tuple[Any, ...]] = []
        self._notes: list[tuple[Any, ...]] = []
        #: What each of the records comes to, its files included.
        self._effects: list[tuple[Any, ...]] = []
        self._hash = hashlib.sha256()
        #: How many records `overwrite` replaces without protected columns, and with them.
        self._replaceable = {False: 0, True: 0}

    def close(self) -> None:
        self._database.close()

    def add(self, kind: Kind, planned: PlannedRecord, files: Iterable[PlannedFile] = ()) -> None:
        """Add a record, with the files where it is a release."""
        _, n, _, state, action, _ = row = planned.row(kind)
        effects, differing = [], []
        for (file_type, package, version), _, does, tag, size, stored_size, differs, _ in files:
            effects.append((file_type, does, differs))
            if differs and stored_size is not None:
                differing.append(file_type)
            self._files.append(
                (file_type, n, package, version, does, tag, size, stored_size, differs)
            )
        comparison, cause = planned.comparison, ""
        if state in ("conflict", "blocked"):
            cause = cause_of(planned, differing)
        if state == "conflict":
            for protected in self._replaceable:
                self._replaceable[protected] += is_replaceable(comparison, protected=protected)
        self._records.append((*row, cause))
        self._effects.append(
            (kind.name, n, state, action, comparison.differs, comparison.hidden, effects)
        )
        if len(self._records) >= _BATCH:
            self._flush()

    def note(self, notice: Notice) -> None:
        self._notes.append((notice.code, notice.record, notice.message))
        if len(self._notes) >= _BATCH:
            self._flush_notes()

    def complete(self, *, digest: str, choice: Choice, **about: Any) -> str:
        """Say what the plan is about, and make it readable. Returns its hash: `sha256:…` of the
        archive's digest, the choice and the effect on each record and file."""
        self._flush()
        self._flush_notes()
        bound = json.dumps([digest, choice.as_json()], sort_keys=True)
        self._hash.update(bound.encode())
        plan_hash = f"sha256:{self._hash.hexdigest()}"
        rows = {"digest": digest, "choice": choice.as_json(), "hash": plan_hash, **about}
        with private_errors():
            # Once: a page asks for most of them, and some plans have hundreds of thousands.
            rows["counts"] = {
                **self._count(),
                "replaceable": self._replaceable[choice.protected],
            }
            self._database.executemany(
                "INSERT INTO about (key, value) VALUES (?, ?)",
                [(key, json.dumps(value)) for key, value in rows.items()],
            )
            self._database.execute("COMMIT")
            self._database.executescript(_INDEXES)
        return plan_hash

    def _count(self) -> dict[str, Any]:
        """What `Plan` says of the number of records, files and notes."""
        states = {kind: dict.fromkeys(STATES, 0) for kind in KIND_OF}
        overwritten = dict.fromkeys(KIND_OF, 0)
        staged = dict.fromkeys(KIND_OF, 0)
        for kind, state, action, is_staged, count in self._database.execute(_COUNT_RECORDS_BY):
            states[kind][state] += count
            overwritten[kind] += count if action == "overwrite" else 0
            staged[kind] += count if is_staged else 0
        files = {"place": 0, "replace": 0}
        sizes = dict.fromkeys(FILE_TYPES, 0)
        for file_type, action, count, size in self._database.execute(_COUNT_FILES_BY):
            files[action] += count
            sizes[file_type] += size
        return {
            "states": states,
            "overwritten": overwritten,
            "staged": staged,
            "files": files,
            "bytes": sizes,
            "notes": dict(self._database.execute(_COUNT_NOTES_BY)),
        }

    def _flush(self) -> None:
        self._hash.update(json.dumps(self._effects).encode())
        self._effects.clear()
        self._insert(_INSERT_RECORD, self._records)
        self._insert(_INSERT_FILE, self._files)

    def _flush_notes(self) -> None:
        self._insert(_INSERT_NOTE, self._notes)

    def _insert(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        with private_errors():
            self._database.executemany(statement, rows)
        rows.clear()


class Plan:
    """A plan that was completed, to be read.

    `about` holds `archive` (its name), `digest` (of the archive), `hash` (of the plan), `choice`,
    `actor`, `totals` (how many records of each kind the archive holds), `refused` (why a record
    of a kind is not taken, by its number) and `counts` (of what is in the plan).
    """

    def __init__(self, path: Path) -> None:
        self._database, about = _FORMAT.open_with_about(path)
        self._database.row_factory = sqlite3.Row
        self.about: Mapping[str, Any] = about
        self.choice = Choice.of_json(self.about["choice"])
        self._counts: Mapping[str, Any] = self.about["counts"]
        #: The numbers of the records of a kind, in a state, that have a text, as `search` orders
        #: them; None where they are many.
        self._found: dict[tuple[str, State, str], list[int] | None] = {}

    def close(self) -> None:
        self._database.close()

    def records(self, kind: Kind) -> Iterator[PlannedRecord]:
        """The records of a kind in order of n."""
        return self._records(_RECORDS + _IN_ORDER, kind=kind.name)

    def differing(self, kind: Kind) -> Iterator[PlannedRecord]:
        """The records that a restore stages, without those that it creates and those that are
        unchanged; in order of n."""
        return self._records(_RECORDS + _STAGED + _DIFFERING + _IN_ORDER, kind=kind.name)

    def state_of(self, kind: Kind, n: int) -> State:
        """The state of a record that a restore stages."""
        query = "SELECT state FROM records WHERE kind = :kind AND n = :n"
        state: State = self._database.execute(query, {"kind": kind.name, "n": n}).fetchone()[0]
        return state

    def actions(self, kind: Kind) -> Iterator[PlannedAction]:
        """What becomes of each record that a restore stages, in order of n."""
        query = "SELECT n, action, name FROM records WHERE kind = :kind AND n > 0 ORDER BY n"
        for row in self._database.execute(query, {"kind": kind.name}):
            yield PlannedAction(row["n"], row["action"], f"{kind.one} {row['name']}")

    def staged_count(self, kind: Kind) -> int:
        return int(self._counts["staged"][kind.name])

    def conflicts(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self._records(_RECORDS + _IN_STATE + _IN_ORDER, kind=kind.name, state="conflict")

    def blocked(self, kind: Kind) -> Iterator[PlannedRecord]:
        return self._records(_RECORDS + _IN_STATE + _IN_ORDER, kind=kind.name, state="blocked")

    def overwritten(self, kind: Kind) -> Iterator[PlannedRecord]:
        """The records of a kind that are overwritten, in order of n."""
        return self._records(_RECORDS + _OVERWRITTEN + _IN_ORDER, kind=kind.name)

    def written_roots(self, kind: Kind) -> Iterator[str]:
        """The names of the roots of the records that are created or overwritten (`Kind.root`)."""
        for row in self._database.execute(_ROOTS, {"kind": kind.name}):
            yield row["root"]

    def search(
        self, kind: Kind, state: State, text: str = "", *, offset: int, limit: int
    ) -> list[PlannedRecord]:
        """Of the records of a kind that are in a state and have `text` in their key, `limit` from
        `offset` on: those of one cause together, in order of n."""
        values: dict[str, Any] = {"kind": kind.name, "state": state, "text": _pattern(text)}
        if text and (few := self._few(kind, state, text)) is not None:
            page = "SELECT value FROM json_each(:numbers)"
            values["numbers"] = json.dumps(few[offset : offset + limit])
        else:
            page = f"{_NUMBERS}{_IN_STATE}{_NAMED if text else ''}{_BY_CAUSE}{_PAGE}"
            values |= {"limit": limit, "offset": offset}
        return list(self._records(f"{_RECORDS} AND n IN ({page}){_BY_CAUSE}", **values))

    def count(self, kind: Kind, state: State, text: str = "", *, cause: str | None = None) -> int:
        """How many records of a kind are in a state and have `text` in their key; only those of
        a cause, if it is given."""
        if not text and cause is None:
            return self.states(kind)[state]
        if cause is None and (found := self._few(kind, state, text)) is not None:
            return len(found)
        wanted = _IN_STATE + (_OF_CAUSE if cause is not None else "") + (_NAMED if text else "")
        values = {"kind": kind.name, "state": state, "cause": cause, "text": _pattern(text)}
        (count,) = self._database.execute(_COUNT_RECORDS + wanted, values).fetchone()
        return int(count)

    def _few(self, kind: Kind, state: State, text: str) -> list[int] | None:
        """The numbers of the records of a kind that are in a state and have `text` in their key;
        None where they are more than `_FEW`."""
        asked = (kind.name, state, text)
        if asked not in self._found:
            query = f"{_NUMBERS}{_IN_STATE}{_NAMED}{_BY_CAUSE} LIMIT {_FEW + 1}"
            values = {"kind": kind.name, "state": state, "text": _pattern(text)}
            found = [row["n"] for row in self._database.execute(query, values)]
            self._found[asked] = found if len(found) <= _FEW else None
        return self._found[asked]

    def _records(self, query: str, **values: Any) -> Iterator[PlannedRecord]:
        return map(PlannedRecord.of_row, self._database.execute(query, values))

    def files(self, file_type: FileType, *actions: FileAction) -> Iterator[PlannedFile]:
        """The files of a type in order of n; only those with one of the actions, if any."""
        wanted = " AND action IS NOT NULL" if actions else ""
        query = _FILES + " WHERE type = :type" + wanted + " ORDER BY n"
        rows = self._database.execute(query, {"type": file_type, "kind": RELEASES.name})
        for planned in map(PlannedFile.of_row, rows):
            if not actions or planned.action in actions:
                yield planned

    def files_of(self, n: int) -> list[PlannedFile]:
        """The files of release `n`."""
        query = _FILES + " WHERE n = :n ORDER BY type DESC"
        rows = self._database.execute(query, {"n": n, "kind": RELEASES.name})
        return list(map(PlannedFile.of_row, rows))

    def stored(self, *, written: bool = False) -> Iterator[tuple[ReleaseFile, str | None]]:
        """All files, each with the tag that the stored one had, None where there was none. Only
        stored ones of releases whose rows are `written`, if that is wanted."""
        query = _STORED + (_WRITTEN if written else "")
        rows = self._database.execute(query, {"kind": RELEASES.name})
        for file_type, package, version, tag in rows:
            yield ReleaseFile(file_type, package, version), tag

    def file_bytes(self, file_type: FileType) -> int:
        """The size of the files of a type that are to be placed or replaced."""
        return int(self._counts["bytes"][file_type])

    def placed_bytes(self, file_type: FileType) -> int:
        """The size of those of them that are to be placed."""
        (placed,) = self._database.execute(_PLACED_BYTES, {"type": file_type}).fetchone()
        return placed or 0

    def file_counts(self) -> dict[FileAction, int]:
        """How many files are to be placed, and how many replaced."""
        return dict(self._counts["files"])

    def notes(
        self, code: str | None = None, *, offset: int = 0, limit: int = -1
    ) -> Iterator[Notice]:
        """What an admin should know, in the order in which it was found."""
        wanted = "" if code is None else " WHERE code = :code"
        values = {"code": code, "limit": limit, "offset": offset}
        for row in self._database.execute(_NOTES + wanted + " ORDER BY rowid" + _PAGE, values):
            yield Notice(**dict(row))

    def note_counts(self) -> dict[str, int]:
        """How many notes of each code there are."""
        return dict(self._counts["notes"])

    def states(self, kind: Kind) -> dict[State, int]:
        """How many records of a kind are in each state."""
        return dict(self._counts["states"][kind.name])

    def effect(self, kind: Kind) -> dict[str, int]:
        """How many records of a kind would be `created`, `overwritten`, are `unchanged`, would
        be `skipped` (conflicts that stay), `left_out` (blocked), and are `not_chosen`."""
        states = self.states(kind)
        overwritten = self._counts["overwritten"][kind.name]
        return {
            "created": states["create"],
            "overwritten": overwritten,
            "unchanged": states["unchanged"],
            "skipped": states["conflict"] - overwritten,
            "left_out": states["blocked"],
            "not_chosen": self.about["totals"][kind.name] - sum(states.values()),
        }

    def replaceable(self) -> int:
        """How many records the strategy `overwrite` would replace, or replaces."""
        return int(self._counts["replaceable"])

    def replaces(self) -> int:
        """How many records would be overwritten: an admin has to type that number."""
        return sum(self.effect(kind)["overwritten"] for kind in KINDS)
