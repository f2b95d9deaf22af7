"""A backup that was just written is read back to its last byte."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import IO

import pytest

from hexhub_backup.archive.records import KINDS, USERS, ReleaseFile
from hexhub_backup.archive.rules.manifest import Manifest
from hexhub_backup.archive.source import FileSource, ReadableFile
from hexhub_backup.archive.writing.recheck import recheck
from hexhub_backup.archive.writing.writer import ArchiveWriter
from hexhub_backup.errors import ArchiveError
from tests.support.archives import batches


class Looking:
    """Reads a part of each package file."""

    def __init__(self, rows: IO[bytes]) -> None:
        self.rows = rows
        self.read: dict[str, bytes] = {}

    def look(self, member: str, file: ReadableFile) -> None:
        self.read[member] = file.read(100)


def written(folder: Path, size: int = 3000) -> tuple[Path, Path, Manifest]:
    path, lines = folder / "archive.tar", folder / "sums"
    with path.open("w+b") as file, lines.open("w+b") as sums:
        writer = ArchiveWriter(file, sums)
        for kind in KINDS:
            users = [{"username": f"user-{number:03}"} for number in range(50)]
            writer.write_records(kind, batches(users if kind is USERS else []))
        for name in ("a", "b"):
            data = name.encode() * size
            file_of = ReleaseFile("package", name, "1.0.0")
            writer.write_file(file_of, io.BytesIO(data), len(data), lambda _: None)
        manifest = writer.finish(hex_hub_version="1", generator="test", created_by="ada")
    return path, lines, manifest


@pytest.mark.parametrize("size", [3000, 20_000, 2_500_000])
def test_who_looks_into_the_files_changes_nothing(tmp_path: Path, size: int) -> None:
    path, lines, manifest = written(tmp_path, size)
    data = path.read_bytes()
    passed: list[int] = []

    def looked() -> Looking:
        with (
            FileSource(path) as archive,
            lines.open("rb") as sums,
            tempfile.TemporaryFile() as rows,
        ):
            looking = Looking(rows)
            recheck(archive, sums, manifest, passed.append, looking)
            return looking

    assert looked().read == {f"packages/{n}-1.0.0.tar.gz": n.encode() * 100 for n in "ab"}
    assert sum(passed) == len(data)
    for at in [*range(0, len(data), len(data) // 40), data.rindex(b"a"), data.rindex(b"b")]:
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ArchiveError):
            looked()


def check(path: Path, lines: Path, manifest: Manifest) -> int:
    passed: list[int] = []
    with FileSource(path) as archive, lines.open("rb") as sums:
        recheck(archive, sums, manifest, passed.append)
    return sum(passed)


def test_what_was_written_passes_and_every_byte_is_passed(tmp_path: Path) -> None:
    path, lines, manifest = written(tmp_path)
    assert check(path, lines, manifest) == path.stat().st_size


def test_any_byte_that_differs_is_found(tmp_path: Path) -> None:
    path, lines, manifest = written(tmp_path)
    data = path.read_bytes()
    for at in range(0, len(data), 97):
        changed = bytearray(data)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ArchiveError):
            check(path, lines, manifest)


def test_a_part_that_is_missing_is_found(tmp_path: Path) -> None:
    path, lines, manifest = written(tmp_path)
    data = path.read_bytes()
    for end in range(0, len(data), 512):
        path.write_bytes(data[:end])
        with pytest.raises(ArchiveError):
            check(path, lines, manifest)
