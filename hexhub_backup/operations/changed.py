"""The names of what an operation changed: all of them, in a file beside its events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.records import KINDS
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.marking import marked

#: The users whose credentials were changed.
CREDENTIALS = "credentials"
#: What there are names of: those of the packages and of the users that were changed, and of any
#: other kind that is nobody's child.
WHAT = (*sorted({kind.root.name for kind in KINDS}), CREDENTIALS)

_SCHEMA = """
CREATE TABLE names (what TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (what, name)) WITHOUT ROWID;
"""
_FORMAT = Format(
    name=marked("list of changed names"),
    version=1,
    oldest=0,
    fix=marked("use the release that made it, or a newer one"),
    schema=_SCHEMA,
)
_NAMES = "SELECT name FROM names WHERE what = ? ORDER BY name"
_COUNT = "SELECT count(*) FROM names WHERE what = ?"
#: An outcome lists so many names; the file has all of them.
_LISTED = 100


class ChangedNames:
    """Writes the names; memory does not grow with them. One that is added twice is there once.
    Raises SpaceError and BackupError where the file can't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = _FORMAT.make(path)
        self._database.execute("BEGIN")

    def close(self) -> None:
        self._database.close()

    def add(self, what: str, names: Iterable[str]) -> None:
        with private_errors():
            self._database.executemany(
                "INSERT OR IGNORE INTO names (what, name) VALUES (?, ?)",
                ((what, name) for name in names),
            )

    def complete(self) -> dict[str, Any]:
        """Make the names survive a power loss, before what they are of is decided. Returns what an
        outcome has of them: per `WHAT` their `count`, and the first hundred as `names`."""
        with private_errors():
            self._database.execute("COMMIT")
        sync_file(self._path)
        sync_directory(self._path.parent)
        return {what: self._summary(what) for what in WHAT}

    def _summary(self, what: str) -> dict[str, Any]:
        names = self._database.execute(_NAMES + " LIMIT ?", (what, _LISTED))
        count = self._database.execute(_COUNT, (what,)).fetchone()[0]
        return {"count": count, "names": [name for (name,) in names]}


class Names(Collection[str]):
    """The names of one kind that an operation changed, sorted, each once. Each look reads them
    from the file, so that they can be iterated again and again, in any thread, and do not have
    to fit in memory. They are there for as long as the operation is remembered; after that a
    look raises BackupError."""

    def __init__(self, path: Path, what: str) -> None:
        self._path = path
        self._what = what

    def __iter__(self) -> Iterator[str]:
        with closing(_FORMAT.open(self._path)) as database, private_errors():
            for (name,) in database.execute(_NAMES, (self._what,)):
                yield name

    def __len__(self) -> int:
        with closing(_FORMAT.open(self._path)) as database, private_errors():
            return int(database.execute(_COUNT, (self._what,)).fetchone()[0])

    def __contains__(self, name: object) -> bool:
        with closing(_FORMAT.open(self._path)) as database, private_errors():
            row = database.execute(f"{_COUNT} AND name = ?", (self._what, name)).fetchone()
            return bool(isinstance(name, str) and row[0])


def changed_names(path: Path) -> dict[str, Names]:
    """The names in a file that was completed, by `WHAT`."""
    return {what: Names(path, what) for what in WHAT}
