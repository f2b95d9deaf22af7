"""Archives made for the tests: whole ones by the writer, and hostile ones block by block."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    KINDS,
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    Kind,
    Record,
    ReleaseFile,
)
from hexhub_backup.archive.rules import strict_json, tar
from hexhub_backup.archive.rules.manifest import Manifest
from hexhub_backup.archive.rules.strict_json import MAX_DIGITS
from hexhub_backup.archive.source import FileSource
from hexhub_backup.archive.writing.writer import ArchiveWriter
from hexhub_backup.errors import ArchiveError

#: The largest integer that an archive takes.
LARGEST = 10**MAX_DIGITS - 1
#: Each beside the limit of something: of 64 bits, of a float, of the reader.
LARGE = [2**63, -(2**63) - 1, 2**64, 2**53 + 1, 10**22, 10**309, LARGEST, -LARGEST]

DATA = Path(__file__).parents[1] / "data"
GENERATOR = "hexhub_backup 0.1.0"
TIME = "2026-01-31T10:30:00.000000Z"
CREATED_AT = datetime(2026, 1, 31, 10, 30, tzinfo=timezone.utc)

Rows = Mapping[Kind, list[Record]]


def user(username: str, **fields: Any) -> Record:
    return {"username": username, "email": f"{username}@example.com", "updated_at": TIME} | fields


def package(name: str, **fields: Any) -> Record:
    return {"name": name, "meta": {"licenses": []}, "source": "local", "updated_at": TIME} | fields


def release(package_name: str, version: str, **fields: Any) -> Record:
    return {
        "package_name": package_name,
        "version": version,
        "has_docs": False,
        "requirements": {},
        "retired": None,
        "updated_at": TIME,
    } | fields


def owner(package_name: str, username: str) -> Record:
    return {"package_name": package_name, "username": username, "level": "full"}


ROWS: Rows = {
    USERS: [user("alice"), user("bob", email="Björn 中文 😀")],
    PACKAGES: [package("a"), package("a-b"), package("jason")],
    RELEASES: [
        release("a", "1.0.0-rc.1+exp.sha"),
        release("a-b", "1", has_docs=True),
        release("jason", "1.4.0", has_docs=True),
    ],
    OWNERS: [owner("jason", "alice")],
}
FILES = {
    ReleaseFile("package", "a", "1.0.0-rc.1+exp.sha"): b"",
    ReleaseFile("package", "a-b", "1"): b"x" * 512,
    ReleaseFile("package", "jason", "1.4.0"): b"jason" * 1000,
    ReleaseFile("docs", "a-b", "1"): b"d",
    ReleaseFile("docs", "jason", "1.4.0"): b"docs" * 200,
}


def batches(rows: Iterable[Record]) -> Iterator[Batch]:
    """The records as a registry gives them: by column, up to three that have the same fields."""
    for fields, group in groupby(rows, key=sorted):
        same = list(group)
        for start in range(0, len(same), 3):
            some = same[start : start + 3]
            yield Batch({field: [row[field] for row in some] for field in fields})


def write(
    path: Path,
    rows: Rows = ROWS,
    files: Mapping[ReleaseFile, bytes] = FILES,
    missing_files: Iterable[str] = (),
) -> Manifest:
    """An archive as a backup makes it."""
    with path.open("w+b") as file, tempfile.TemporaryFile() as sums:
        writer = ArchiveWriter(file, sums)
        for kind in KINDS:
            assert writer.write_records(kind, batches(rows.get(kind, []))) == len(
                rows.get(kind, [])
            )
        for release_file, data in files.items():
            writer.write_file(release_file, io.BytesIO(data), len(data), lambda _: None)
        manifest = writer.finish(
            hex_hub_version="1.2.3",
            generator=GENERATOR,
            created_by="admin",
            created_at=CREATED_AT,
            missing_files=missing_files,
        )
        assert writer.size == file.seek(0, io.SEEK_END)
    assert writer.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return manifest


def check(path: Path, index: Path | None = None) -> ArchiveReader:
    """The archive, read and checked; the caller closes it."""
    reader = ArchiveReader(FileSource(path), index or path.with_suffix(".index"))
    try:
        passed = 0

        def advance(count: int) -> None:
            nonlocal passed
            passed += count

        reader.read_members(advance)
        reader.check_manifest()
        reader.check_files(advance)
        assert passed == reader.size
    except BaseException:
        reader.close()
        raise
    return reader


def refused(path: Path) -> ArchiveError:
    """The error of an archive that has to be refused."""
    with pytest.raises(ArchiveError) as caught:
        check(path).close()
    assert caught.value.faults
    return caught.value


def codes(path: Path) -> set[str]:
    return {fault.code for fault in refused(path).faults}


def pack(members: Mapping[str, bytes]) -> bytes:
    """A plain tar of the members."""
    return b"".join(member(name, data) for name, data in members.items()) + tar.END


def member(name: str, data: bytes) -> bytes:
    return tar.pack(name, len(data)) + padded(data)


def padded(data: bytes) -> bytes:
    return data + bytes(tar.padding(len(data)))


def hexhub(changes: Mapping[str, bytes | None] | None = None) -> dict[str, bytes]:
    """The members of an archive as HexHub writes it, with changes; None leaves one out."""
    members: dict[str, bytes | None] = {
        kind.member: b"".join(strict_json.write_rows(iter(map(strict_json.dumps, ROWS[kind]))))
        for kind in KINDS
    }
    members |= {file.member: data for file, data in FILES.items()}
    members["manifest.json"] = strict_json.dumps({"version": "1.0", "created_at": TIME})
    members |= changes or {}
    return {name: data for name, data in members.items() if data is not None}


def ours(changes: Mapping[str, bytes | None] | None = None, **manifest: Any) -> dict[str, bytes]:
    """The members of an archive as we write it, consistent after the changes, so that only what
    was changed is wrong; then the changes of the manifest."""
    members = hexhub({"manifest.json": None, **(changes or {})})
    sums = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items()
    )
    members.setdefault("SHA256SUMS", sums.encode())
    document: dict[str, Any] = {
        "version": "1.0",
        "hex_hub_version": "1.2.3",
        "generator": GENERATOR,
        "created_at": TIME,
        "created_by": "admin",
        "contents": {kind.name: len(ROWS[kind]) for kind in KINDS}
        | {
            "package_files": sum(name.startswith("packages/") for name in members) - 1,
            "doc_files": sum(name.startswith("docs/") for name in members),
            "total_size_bytes": sum(map(len, members.values())),
        },
        "checksums": {
            name: f"sha256:{hashlib.sha256(members[name]).hexdigest()}"
            for name in (*(kind.member for kind in KINDS), "SHA256SUMS")
            if name in members
        },
        "missing_files": [],
    }
    members["manifest.json"] = strict_json.dumps(document | manifest)
    return members


def content(archive: Path) -> dict[str, str]:
    """Each member's hash, but for the manifest."""
    with tarfile.open(archive) as tar:
        found = {}
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found[member.name] = hashlib.sha256(file.read()).hexdigest()
    del found["manifest.json"]
    return found
