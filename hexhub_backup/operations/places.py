"""Which releases of an archive the storage can not hold beside others, by the names of their files.

Only where the storage takes some names for one, as few do: then the places of all releases are put
into a file, since not all fit in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from hexhub_backup.archive.private import Format, private_errors
from hexhub_backup.archive.records import FILE_TYPES, RELEASES, Key, ReleaseFile
from hexhub_backup.marking import marked

_SCHEMA = """
CREATE TABLE places (
  place TEXT NOT NULL, package TEXT NOT NULL, version TEXT NOT NULL, whose TEXT NOT NULL,
  PRIMARY KEY (place, package, version, whose)
) WITHOUT ROWID;
"""
_FORMAT = Format(
    name=marked("list of places"),
    version=1,
    oldest=1,
    fix=marked("inspect the archive again"),
    schema=_SCHEMA,
)
_OTHER = """
SELECT package, version, whose FROM places
WHERE place = ? AND (package, version) != (?, ?) ORDER BY whose DESC, package, version LIMIT 1
"""


class Places:
    """The places of all files of the registry and of an archive, in a file at `path`, which is
    removed when this is closed. `alike` is the storage's; raises SpaceError and BackupError."""

    def __init__(self, path: Path, alike: Callable[[ReleaseFile], str]) -> None:
        self._alike = alike
        self._path = path
        self._database = _FORMAT.make(path)
        self._database.execute("BEGIN")

    def close(self) -> None:
        self._database.close()
        self._path.unlink()

    def add(self, keys: Iterable[Key], whose: str) -> None:
        """Releases by their keys; `whose` is where they are: the registry or the archive."""
        with private_errors():
            self._database.executemany(
                "INSERT OR IGNORE INTO places (place, package, version, whose) VALUES (?, ?, ?, ?)",
                ((place, *key, whose) for key in keys for place in self._of(key)),
            )

    def problem(self, key: Key) -> str | None:
        """Why the files of a new release can't be stored, and the fix; None where they can."""
        with private_errors():
            for place in self._of(key):
                row = self._database.execute(_OTHER, (place, *key)).fetchone()
                if row is not None:
                    package, version, whose = row
                    other = RELEASES.label((package, version))
                    return marked(
                        f"the storage can not hold its files beside those of {other} of the "
                        f"{whose}, as it tells neither case nor Unicode forms of names apart: take "
                        "one of the two out where the archive was made, or move the storage to a "
                        "file system that does"
                    )
        return None

    def _of(self, key: Key) -> Iterator[str]:
        return (self._alike(ReleaseFile(file_type, *key)) for file_type in FILE_TYPES)
