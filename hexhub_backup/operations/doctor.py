"""Doctor: hold a registry against its own rows, and find which backup can put right what is
wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hexhub_backup.archive.private import DamagedError
from hexhub_backup.archive.records import FILE_TYPES, PACKAGES, RELEASES, ReleaseFile
from hexhub_backup.archive.source import HashedFile
from hexhub_backup.notices import Notice
from hexhub_backup.operations.contents import Contents
from hexhub_backup.operations.examined import Examined, Wanted
from hexhub_backup.operations.findings import CHANGED, MISSING, UNFIT, FindingsWriter
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.pace import Pace
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.release_check import ReleaseCheck, ReleaseChecks
from hexhub_backup.registry.base import Registry
from hexhub_backup.storage.base import OpenFile, Storage, StoredFile
from hexhub_backup.storage.many import in_order, open_if_there

STEPS = ("list_releases", "list_files", "ask_backups", "read_files", "look_again")
#: Seconds between the two looks. A host stores a file and its row one after the other: by then it
#: has done both.
SETTLES = 1.0
_SLICE = 0.1
#: Tells why no client would take a package file that is looked into; None where one would.
_Unfit = Callable[[Wanted, HashedFile], str | None]


@dataclass(frozen=True)
class KnownBackup:
    """A backup of this registry: its id, when it was made, whether reading it takes a key, and its
    contents, to be closed; None where they are not listed."""

    backup: str
    created_at: datetime
    locked: bool
    open: Callable[[], Contents | None]


def examine(
    *,
    registry: Registry,
    storage: Storage,
    work: Path,
    findings: KeptFile,
    good: Callable[[], Iterable[KnownBackup]],
    doubted: Callable[[], Iterable[KnownBackup]],
    rate: int,
    check_release: ReleaseCheck | None,
    progress: Progress,
) -> dict[str, Any]:
    """Look at each file that a row of the registry says is there, and for files without a row, and
    warn of what is wrong. What seems wrong is looked at once more, row and file, before it is said.

    A file is held against the newest of the `good` backups that has its release. Where one of the
    `doubted` says that a package file has changed, it is held against what it was before. Both come
    with the newest first. `work` names a folder for what it needs, `rate` is how many bytes a
    second it reads at most, 0 for any. `check_release` looks into each package file that is what it
    should be.

    The outcome is how many `releases` and `files` were looked at, and what `FindingsWriter` says;
    all of it is kept as `findings`. Changes nothing. Raises BackupError, OSError.
    """
    with ExitStack() as stack:
        doctor = _Doctor(registry, storage, good, doubted, rate, check_release, progress)
        looked = stack.enter_context(closing(Examined(work / "first.sqlite")))
        releases, files = doctor.look(looked)
        with progress.step("look_again"):
            if looked.any_suspect:
                doctor.wait()
                again = stack.enter_context(closing(Examined(work / "again.sqlite")))
                doctor.look_again(again, looked)
                looked = again
            path = work / "findings.sqlite"
            with closing(FindingsWriter(path)) as writer:
                for finding in looked.findings(storage.name_of):
                    progress.warn(finding.notice())
                    writer.add(finding)
                outcome = writer.complete()
            path.replace(findings.here())
            findings.keep()
    return {"releases": releases, "files": files, **outcome}


@dataclass(frozen=True)
class _Doctor:
    registry: Registry
    storage: Storage
    good: Callable[[], Iterable[KnownBackup]]
    doubted: Callable[[], Iterable[KnownBackup]]
    rate: int
    check_release: ReleaseCheck | None
    progress: Progress

    def look(self, examined: Examined) -> tuple[int, int]:
        """The first look. Returns how many releases and files there are to look at."""
        progress = self.progress
        with progress.step("list_releases"):
            with self.registry.snapshot() as snapshot:
                count = snapshot.count(RELEASES)
            progress.expect(
                {
                    "list_releases": (0, count),
                    "read_files": (0, count * len(FILE_TYPES)),
                }
            )
            self._list_releases(examined, lambda _: True)
        with progress.step("list_files"):
            self._list_files(examined, lambda _: True)
        with progress.step("ask_backups"):
            self._ask_backups(examined)
        with progress.step("read_files"):
            return count, self._read_files(examined)

    def look_again(self, examined: Examined, before: Examined) -> None:
        """The second look, at what seems to be wrong; and which backups can put it right."""
        self._list_releases(examined, before.is_suspect)
        if before.any_stray:
            self._list_files(examined, before.is_stray)
        self._ask_backups(examined)
        self._read_files(examined)
        if examined.any_suspect:
            for backup in self.good():
                with self._opened(backup) as contents:
                    if contents is not None:
                        name_of, locked = self.storage.name_of, backup.locked
                        examined.look_for_bytes(backup.backup, contents, name_of, locked=locked)

    def wait(self) -> None:
        """Let the host be done with what it is at."""
        ends = time.monotonic() + SETTLES
        while (left := ends - time.monotonic()) > 0:
            self.progress.check()
            time.sleep(min(left, _SLICE))

    def _list_releases(self, examined: Examined, wanted: Callable[[str], bool]) -> None:
        looks_into = self.check_release is not None
        with self.registry.snapshot() as snapshot:
            if looks_into:
                names = (name for (name,) in snapshot.keys(PACKAGES))
                examined.add_packages(self._checked(names))
            for batch in snapshot.batches(RELEASES):
                examined.add(batch, wanted, whole=looks_into)
                self.progress.advance(items=len(batch))

    def _list_files(self, examined: Examined, wanted: Callable[[str], bool]) -> None:
        with self.registry.snapshot() as snapshot:
            # The row of a file may be one that the host hides.
            keys = snapshot.keys(RELEASES, hidden=True)
            files = (ReleaseFile(each, *key) for key in keys for each in FILE_TYPES)
            examined.add_names(self._checked(map(self.storage.name_of, files)))
        examined.add_stored(filter(wanted, self._checked(self.storage.names())))

    def _checked(self, names: Iterable[str]) -> Iterator[str]:
        for name in names:
            self.progress.advance()
            yield name

    def _ask_backups(self, examined: Examined) -> None:
        for backup in self.good():
            if not examined.pass_over(backup.created_at):
                break
            with self._opened(backup) as contents:
                if contents is not None:
                    examined.hold_against(backup.backup, backup.created_at, contents)
        for backup in self.doubted():
            with self._opened(backup) as contents:
                if contents is not None:
                    examined.doubt(contents)

    @contextmanager
    def _opened(self, backup: KnownBackup) -> Iterator[Contents | None]:
        """The contents of a backup; where they can't be read, the others are enough."""
        self.progress.check()
        contents = backup.open()
        if contents is None:
            self.progress.log(f"The contents of backup {backup.backup} are not listed: verify it.")
            yield None
            return
        with closing(contents):
            try:
                yield contents
            except DamagedError:
                self.progress.log(
                    f"The list of the contents of backup {backup.backup} can't be read."
                )

    def _read_files(self, examined: Examined) -> int:
        count, pace, unfit = 0, Pace(None, self.rate), self._unfit(examined)
        opened = in_order(self._open, examined.wanted(), self.storage.at_once)
        for wanted, there in opened:
            count += 1
            self._look_at(examined, wanted, there, unfit, pace)
            self.progress.advance(items=1)
        return count

    def _open(self, wanted: Wanted) -> tuple[Wanted, OpenFile | StoredFile | None]:
        """Only what is held against something, or looked into, is read."""
        if wanted.sha256 is None and wanted.record is None:
            return wanted, self.storage.stat(wanted.file)
        return wanted, open_if_there(self.storage, wanted.file)

    def _look_at(
        self,
        examined: Examined,
        wanted: Wanted,
        there: OpenFile | StoredFile | None,
        unfit: _Unfit,
        pace: Pace,
    ) -> None:
        if there is None:
            if wanted.says:
                examined.suspect(wanted.file, MISSING, None)
        elif not isinstance(there, StoredFile):
            with there:
                read = HashedFile(there, lambda size: self._passed(size, pace))
                problem = unfit(wanted, read)
                sha256 = read.rest()
                # The host is just writing it: the next check sees what has become of it.
                if there.changed():
                    return
                if wanted.sha256 not in (None, sha256):
                    examined.suspect(wanted.file, CHANGED, sha256)
                elif problem is not None:
                    examined.suspect(wanted.file, UNFIT, sha256, problem)

    def _unfit(self, examined: Examined) -> _Unfit:
        problems = list[Notice]()
        checks = None
        if self.check_release is not None:
            checks = ReleaseChecks(self.check_release, examined.has_package, problems.append)

        def unfit(wanted: Wanted, read: HashedFile) -> str | None:
            problems.clear()
            if checks is not None and wanted.record is not None:
                checks.look(wanted.record, read)
            return problems[0].message if problems else None

        return unfit

    def _passed(self, size: int, pace: Pace) -> None:
        self.progress.check()
        pace.passed(size, self.progress.check)
