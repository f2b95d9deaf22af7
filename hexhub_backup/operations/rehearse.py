"""Rehearse: restore an archive beside the registry, look whether all of it came back, and remove
it again.

It is the very restore of `inspection` and `restore`, into an empty registry with the host's maps
and the rules of its database, and into a folder. The host's own rows and files are never written.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.source import OpenArchive
from hexhub_backup.errors import BackupError, SpaceError, without_messages
from hexhub_backup.notices import Notice, notice
from hexhub_backup.operations import inspection, restore
from hexhub_backup.operations.as_archived import AsArchived
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.decisions import JournalEntry
from hexhub_backup.operations.kept_file import KeptFile
from hexhub_backup.operations.plan import Plan
from hexhub_backup.operations.progress import Progress, Within
from hexhub_backup.operations.release_check import ReleaseCheck, ReleaseChecks
from hexhub_backup.registry.base import Rehearsable, Scratch
from hexhub_backup.storage.base import Storage

_log = logging.getLogger("hexhub_backup")

STEPS = ("check_space", "make_scratch", "read_all", "restore_all", "hold_against")
#: Of each release what it is called, and why a client could not use it, None where it could.
Usable = Iterable[tuple[str, str | None]]
#: What keeps a registry from being what it was when it was backed up.
FINDINGS = frozenset(
    (
        "not_as_archived",
        "blocked",
        "missing_package_file",
        "missing_docs_file",
        "file_without_release",
        "still_hidden",
        "not_usable",
        "release_check",
    )
)
_EVERYTHING = Choice(protected=True)


def rehearse(
    *,
    operation_id: str,
    archive: str,
    open_archive: OpenArchive,
    folder: Path,
    kept: Callable[[Path], KeptFile],
    registry: Rehearsable,
    database: str | None,
    storage: Storage,
    check: Callable[[Scratch], Usable] | None,
    check_release: ReleaseCheck | None,
    words: Mapping[str, str],
    wait: Callable[[], None],
    progress: Progress,
) -> dict[str, Any]:
    """Restore an archive in a scratch registry of the `registry`, and its files in the empty
    `storage`, and hold both against the archive. All else that it needs is in `folder`, which the
    caller removes. `check` looks at what was restored with the host's own code, `check_release` at
    each package file, unpacked. `wait` returns when nothing runs that goes first.

    The outcome is `manifest`, `digest`, `records` (per kind how many came back), `files`,
    `findings` (by code), `usable` (of how many releases how many are, as the host sees it, or
    None), `not_copied` (which rules of the host's database were not tried) and `restore_seconds`.
    Raises ArchiveError, RefusedError, RehearsalError, SpaceError, DatabaseError, OSError.
    """
    with progress.step("check_space"):
        wait()
        _check_space(archive, open_archive, storage)
    with ExitStack() as stack:
        with progress.step("make_scratch"):
            scratch = stack.enter_context(
                registry.scratch(name=operation_id, folder=folder, database=database)
            )
        for each in scratch.not_copied:
            progress.log(f"Not tried: {each}, which could not be copied.")
        wait()
        began = time.monotonic()
        plan_folder = folder / "plan"
        with progress.step("read_all"):
            inspected = inspection.inspect(
                archive=archive,
                open_archive=open_archive,
                folder=plan_folder,
                registry=scratch.registry,
                storage=storage,
                choice=_EVERYTHING,
                actor=None,
                # The restore warns of all that this would.
                progress=_Part(progress, "read_all", words, warns=False),
            )
        seconds = time.monotonic() - began
        wait()
        began = time.monotonic()
        part = _Part(progress, "restore_all", words)
        with progress.step("restore_all"):
            done = restore.restore(
                operation_id=operation_id,
                open_archive=open_archive,
                folder=plan_folder,
                undo_set=kept(folder / "undo.sqlite"),
                changed=kept(folder / "changed.sqlite"),
                registry=scratch.registry,
                storage=storage,
                decisions=_NoDecisions(),
                progress=part,
            )
        seconds += time.monotonic() - began
        wait()
        with progress.step("hold_against"):
            plan = stack.enter_context(closing(Plan(plan_folder / "plan.sqlite")))
            reader = stack.enter_context(
                ArchiveReader.reopen(open_archive(archive), plan_folder / "index.sqlite")
            )
            held = AsArchived(
                reader=reader,
                plan=plan,
                registry=scratch.registry,
                storage=storage,
                progress=progress,
                checks=None
                if check_release is None
                else ReleaseChecks(check_release, reader.has_package, part.warn, unpack=True),
            )
            progress.expect({"hold_against": held.expected()})
            for finding in chain(held.records(), held.files()):
                part.warn(finding)
            usable = None if check is None else _checked(check, scratch, part)
    return {
        "manifest": inspected["manifest"],
        "digest": inspected["digest"],
        "records": {kind.name: done["records"][kind.name]["created"] for kind in KINDS},
        "files": done["files"],
        "findings": dict(part.findings),
        "usable": usable,
        "not_copied": scratch.not_copied,
        "restore_seconds": round(seconds, 1),
    }


def _checked(
    check: Callable[[Scratch], Usable], scratch: Scratch, progress: Progress
) -> dict[str, int]:
    """Warn of what a client could not use. An error of the host's own code is such a finding."""
    good = count = 0
    try:
        for label, problem in check(scratch):
            progress.check()
            count += 1
            if problem is None:
                good += 1
            else:
                progress.warn(notice("not_usable", label, "found", problem=problem))
    except BackupError:
        raise
    except Exception as error:
        _log.error("the check of a rehearsal failed", exc_info=without_messages(error))
        progress.warn(notice("not_usable", None, "failed", error=type(error).__name__))
    return {"good": good, "of": count}


def _check_space(archive: str, open_archive: OpenArchive, storage: Storage) -> None:
    with open_archive(archive) as source:
        needed = source.size
    if needed > (free := storage.free()):
        raise SpaceError(
            f"A rehearsal of this archive needs about {needed:,} bytes in {storage.location}, and "
            f"there are {free:,}: make room there. Nothing was tried."
        )


class _Part(Within):
    """The progress of a part, whose steps are lines of the log. It warns of findings alone, which
    are counted by their codes: what each restore says is not worth an admin's look."""

    def __init__(
        self, outer: Progress, step: str, words: Mapping[str, str], *, warns: bool = True
    ) -> None:
        super().__init__(outer, step, words)
        self._warns = warns
        self.findings = Counter[str]()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.check()
        self.log(f"{self._words[name]}.")
        yield

    def warn(self, warning: Notice, *, first: bool = False) -> None:
        if self._warns and warning.code in FINDINGS:
            self.findings[warning.code] += 1
            super().warn(warning, first=first)


class _NoDecisions:
    """What a restore of an empty registry remembers with its decision: nothing, as no file is
    replaced, and as it is gone with its process."""

    def staged(
        self, connection: Any, entries: Iterable[tuple[int, JournalEntry]]
    ) -> AbstractContextManager[None]:
        return nullcontext()

    def decide(
        self,
        connection: Any,
        operation_id: str,
        outcome: dict[str, Any],
        spared: Iterable[int],
    ) -> None:
        """Nobody asks for it."""

    def decided(self, operation_id: str) -> bool:
        return False

    def journal(self, operation_id: str) -> Iterator[JournalEntry]:
        return iter(())

    def close_journal(self, operation_id: str, outcome: dict[str, Any] | None) -> None:
        """There is none."""
