"""Verify: is an archive whole, and what its manifest says?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.source import Source
from hexhub_backup.errors import ArchiveError
from hexhub_backup.notices import Notice
from hexhub_backup.operations.contents import Earlier
from hexhub_backup.operations.differing import compare_with
from hexhub_backup.operations.listing import ContentsWriter, list_archive
from hexhub_backup.operations.progress import Progress
from hexhub_backup.operations.release_check import ReleaseCheck, ReleaseChecks

#: So many bytes tell whether a file may be an archive.
HEAD = tar.BLOCK
#: So many characters of what was found are held in memory.
_HELD = 1 << 20
STEPS = ("read_archive", "check_manifest", "check_files")


def verify(
    *,
    source: Source,
    index: Path,
    progress: Progress,
    check_release: ReleaseCheck | None = None,
    listing: ContentsWriter | None = None,
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """Read every byte of an archive and check it against its manifest, and list its contents where
    there is a `listing`, compared with those of an `earlier` backup. `check_release` looks at the
    package files on the way.

    The `source` is closed; `index` names a file that is made for it. The outcome is `manifest`,
    `size_bytes` and `digest`. Raises ArchiveError with every fault.
    """
    with ArchiveReader(source, index) as reader:
        check(reader, progress, check_release)
        for warning in reader.warnings():
            progress.warn(warning)
        if listing is not None:
            list_archive(reader, listing, progress.check)
            compared = compare_with(earlier, listing, progress)
            listing.complete(reader.manifest.checksums, compared)
        return {
            "manifest": reader.manifest.as_json(),
            "size_bytes": reader.size,
            "digest": reader.digest,
        }


def check_head(head: bytes) -> None:
    """Whether a file may be an archive that begins with these bytes: `HEAD` of them, or all. Raises
    ArchiveError."""
    tar.check_head(head)


def refuse_another(
    known: Mapping[str, Any] | None, found: Mapping[str, Any], *, called: str
) -> None:
    """Raises ArchiveError where an archive, whose manifest was `found`, is not the one whose
    manifest is `known`: where that has checksums, they tell."""
    if known and known["checksums"] and found["checksums"] != known["checksums"]:
        raise ArchiveError(
            f"{called} is another archive: its checksums are not those of this backup. Use another "
            "one, and move this one away."
        )


def check(
    reader: ArchiveReader, progress: Progress, check_release: ReleaseCheck | None = None
) -> None:
    """The three steps that come before any use of an archive. What `check_release` finds in one
    that is damaged is not told."""
    with SpooledTemporaryFile(_HELD, "w+", encoding="utf-8") as found:
        look = None
        if check_release is not None:

            def keep(finding: Notice) -> None:
                found.write(json.dumps(finding.as_json()) + "\n")

            look = ReleaseChecks(check_release, reader.has_package, keep).look
        progress.expect({"read_archive": (reader.size, 0)})
        with progress.step("read_archive"):
            reader.read_members(progress.advance)
            left = reader.unread_bytes()
            progress.expect({"read_archive": (reader.size - left, 0), "check_files": (left, 0)})
        with progress.step("check_manifest"):
            reader.check_manifest()
        with progress.step("check_files"):
            reader.check_files(progress.advance, look)
            found.seek(0)
            for line in found:
                progress.warn(Notice(**json.loads(line)))
