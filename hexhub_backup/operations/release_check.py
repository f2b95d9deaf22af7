"""The host's look at each package file: would a client of the registry take it?"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import IO, Protocol

from hexhub_backup.archive.faults import shown
from hexhub_backup.archive.records import RELEASES, Record, ReleaseFile
from hexhub_backup.archive.source import ReadableFile
from hexhub_backup.errors import without_messages
from hexhub_backup.notices import Notice, notice

_log = logging.getLogger("hexhub_backup")
#: So many records are parsed at a time.
_AT_ONCE = 50
#: So many answers of `has_package` are remembered.
_PACKAGES = 32 * 1024


@dataclass
class ReleaseToCheck:
    """A release whose package file is checked. `record` has the fields of its row as the archive
    has them; `has_package` tells whether a package of a name is in the archive too."""

    package: str
    version: str
    record: Record = field(repr=False)
    has_package: Callable[[str], bool] = field(repr=False)


class ReleaseCheck(Protocol):
    """A function that tells what is wrong with the package file of a release.

    It gets each release that has one, with the file, which it reads once and as far as it likes.
    `unpack` is whether what is packed in there is to be looked at too. It returns a sentence for
    each thing that it has found, which becomes a warning. An exception is a warning too, of its
    type alone.
    """

    def __call__(
        self, release: ReleaseToCheck, file: ReadableFile, /, *, unpack: bool
    ) -> Iterable[str]: ...


class ReleaseChecks:
    """The checks of the releases of one archive, whose findings are handed to `warn`."""

    def __init__(
        self,
        check: ReleaseCheck,
        has_package: Callable[[str], bool],
        warn: Callable[[Notice], None],
        *,
        unpack: bool = False,
    ) -> None:
        self._check = check
        # Many releases require the same packages.
        self._has_package = lru_cache(_PACKAGES)(has_package)
        self._warn = warn
        self._unpack = unpack
        self._has_raised = False

    def look(self, record: Record, file: ReadableFile) -> None:
        """Check the package file of a release. Raises what reading the file raises."""
        package, version = RELEASES.key_of(record)
        release = ReleaseToCheck(package, version, record, self._has_package)
        guarded = _Guarded(file)
        try:
            messages = _sentences(self._check(release, guarded, unpack=self._unpack))
        except (Exception, SystemExit) as error:
            guarded.raise_if_any()
            self._warn_of(error, RELEASES.label((package, version)))
        else:
            guarded.raise_if_any()
            for message in messages:
                label = RELEASES.label((package, version))
                self._warn(notice("release_check", label, "found", reason=shown(message)))

    def _warn_of(self, error: BaseException, label: str) -> None:
        if not self._has_raised:
            # Most likely the others say the same.
            self._has_raised = True
            _log.error("check_release= failed on %s", label, exc_info=without_messages(error))
        self._warn(notice("release_check", label, "raised", type=type(error).__name__))


def _sentences(found: Iterable[str]) -> list[str]:
    """Raises TypeError for anything else, a single one among them."""
    messages = list(found)
    # Most often there are none.
    if isinstance(found, str) or (
        messages and not all(isinstance(message, str) for message in messages)
    ):
        raise TypeError("it returns something else than sentences")
    return messages


class _Guarded:
    """A file that remembers why it could not be read: a check may catch it, and that the operation
    is cancelled too."""

    def __init__(self, file: ReadableFile) -> None:
        self._file = file
        self._error: BaseException | None = None

    def read(self, size: int = -1, /) -> bytes:
        self.raise_if_any()
        try:
            return self._file.read(size)
        except BaseException as error:
            self._error = error
            raise

    def raise_if_any(self) -> None:
        if self._error is not None:
            raise self._error


class WrittenReleases:
    """The releases of an archive that is read back: `rows`, an empty file, gets what is read of
    their records, and `look` the package files in their order."""

    def __init__(self, rows: IO[bytes], checks: ReleaseChecks) -> None:
        self.rows = rows
        self._checks = checks
        self._records = self._read()

    def look(self, member: str, file: ReadableFile) -> None:
        """Check the package file that is this member."""
        for record in self._records:
            if ReleaseFile("package", *RELEASES.key_of(record)).member == member:
                self._checks.look(record, file)
                return

    def _read(self) -> Iterator[Record]:
        self.rows.seek(0)
        # Each is a line, between those of the brackets.
        while some := b"".join(islice(self.rows, _AT_ONCE)).strip(b"[],\n"):
            yield from json.loads(b"[%b]" % some)
