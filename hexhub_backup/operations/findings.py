"""What is wrong with the files of a registry, in a file beside the operation's events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.records import RELEASES, FileType
from hexhub_backup.durable import sync_directory, sync_file
from hexhub_backup.marking import marked
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations.choice import Choice

#: The file of a release is not there, is not what it was, is none that a client takes, or belongs
#: to no release. What is worst comes first.
MISSING, CHANGED, UNFIT, STRAY = "missing", "changed", "unfit", "stray"
FOUND = (MISSING, CHANGED, UNFIT, STRAY)
#: Those that whoever fetches a release meets.
HARMFUL = (MISSING, CHANGED, UNFIT)

_SCHEMA = """
CREATE TABLE findings (
  found TEXT NOT NULL, package TEXT, version TEXT, type TEXT, name TEXT NOT NULL, stored TEXT,
  expected TEXT, known_by TEXT, backup TEXT, reason TEXT
);
"""
_FORMAT = Format(
    name=marked("list of findings"),
    version=1,
    oldest=1,
    fix=marked("check the registry again"),
    schema=_SCHEMA,
)
_COLUMNS = "found, package, version, type, name, stored, expected, known_by, backup, reason"
_INSERT = f"INSERT INTO findings ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 (ours)
_SELECT = f"SELECT {_COLUMNS} FROM findings ORDER BY rowid LIMIT ? OFFSET ?"  # noqa: S608 (ours)
#: An outcome lists so many; the file has all of them.
_LISTED = 100
_MISSING: Mapping[FileType, str] = {
    "package": "missing_package_file",
    "docs": "missing_docs_file",
}
_CHANGED: Mapping[FileType, str] = {
    "package": "package_file_changed",
    "docs": "docs_file_changed",
}


class Finding(NamedTuple):
    """One thing that is wrong, `found` says what, with the file that the storage calls `name`.

    Of a file without a row, the release is what a backup knows of it, None where none does.
    `stored` is the SHA-256 of the file that is there, `expected` the one that it should have by the
    backup `known_by`, where that is known. `backup` is one that has the right bytes. `reason` says
    why no client takes it.
    """

    found: str
    package: str | None
    version: str | None
    type: FileType | None
    name: str
    stored: str | None = None
    expected: str | None = None
    known_by: str | None = None
    backup: str | None = None
    reason: str | None = None

    @property
    def label(self) -> str:
        """What it is about, in messages."""
        if self.package is None or self.version is None:
            return " ".join((marked("file"), self.name))
        return RELEASES.label((self.package, self.version))

    @property
    def choice(self) -> Choice | None:
        """What to restore of `backup` to put it right; None where no backup can."""
        if self.backup is None or self.package is None or self.version is None:
            return None
        return Choice(
            strategy="overwrite" if self.found == CHANGED else "skip",
            users=False,
            releases=((self.package, self.version),),
        )

    def notice(self) -> Notice:
        """What an operation warns of."""
        if self.type is None or self.found == STRAY:
            return notice("file_without_row", self.label, "found", name=self.name)
        if self.found == MISSING:
            return notice(_MISSING[self.type], self.label, "in_storage")
        if self.found == UNFIT:
            return notice("release_check", self.label, "found", reason=str(self.reason))
        values = {"sha256": self.stored, "earlier": self.expected, "backup": self.known_by}
        return notice(
            _CHANGED[self.type],
            self.label,
            "changed",
            **{name: str(value) for name, value in values.items()},
        )

    def as_json(self) -> dict[str, str | None]:
        return self._asdict()


class FindingsWriter:
    """Writes the findings; memory does not grow with them. Raises SpaceError and BackupError where
    the file can't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = _FORMAT.make(path)
        self._database.execute("BEGIN")
        self._counts = dict.fromkeys(FOUND, 0)

    def close(self) -> None:
        self._database.close()

    def add(self, finding: Finding) -> None:
        with private_errors():
            self._database.execute(_INSERT, finding)
        self._counts[finding.found] += 1

    def complete(self) -> dict[str, Any]:
        """Make them durable. Returns what an outcome has of them: how many there are of what they
        `found`, and the first hundred `findings`."""
        with private_errors():
            self._database.execute("COMMIT")
        sync_file(self._path)
        sync_directory(self._path.parent)
        first = islice(Findings(self._path), _LISTED)
        return {"found": dict(self._counts), "findings": [each.as_json() for each in first]}


class Findings(Iterable[Finding]):
    """The findings in a file that was completed, the worst first. Each look reads the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[Finding]:
        return self.some(offset=0, limit=-1)

    def some(self, *, offset: int, limit: int) -> Iterator[Finding]:
        with closing(_FORMAT.open(self._path)) as database, private_errors():
            for row in database.execute(_SELECT, (limit, offset)):
                yield Finding(*row)
