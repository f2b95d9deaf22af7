"""Verify: is an archive whole, and what its manifest says?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hexhub_backup.archive.reader import ArchiveReader
from hexhub_backup.operations.progress import Progress

STEPS = ("read_archive", "check_manifest", "check_files")


def verify(*, archive: Path, index: Path, progress: Progress) -> dict[str, Any]:
    """Read every byte of an archive and check it against its manifest.

    `index` names a file that is made for it. The outcome is `manifest`, `size_bytes` and
    `digest`. Raises ArchiveError with every fault.
    """
    with ArchiveReader(archive, index) as reader:
        check(reader, progress)
        for warning in reader.warnings():
            progress.warn(warning.code, warning.message, warning.record)
        return {
            "manifest": reader.manifest.as_json(),
            "size_bytes": reader.size,
            "digest": reader.digest,
        }


def check(reader: ArchiveReader, progress: Progress) -> None:
    """The three steps that come before any use of an archive."""
    progress.expect({"read_archive": (0, 0), "check_files": (reader.size, 0)})
    with progress.step("read_archive"):
        reader.read_members(progress.advance)
    with progress.step("check_manifest"):
        reader.check_manifest()
    with progress.step("check_files"):
        reader.check_files(progress.advance)
