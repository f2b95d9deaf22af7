"""The writer refuses what the reader would, and survives files that change under it."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

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
from hexhub_backup.archive.rules.strict_json import MAX_ROW_BYTES
from hexhub_backup.archive.writing.writer import ArchiveWriter, SourceChangedError
from hexhub_backup.errors import BackupError, RecordError
from tests.support.archives import FILES, ROWS, batches, check, owner, package, release, user, write

pytestmark = pytest.mark.sample


@contextmanager
def writing(path: Path) -> Iterator[ArchiveWriter]:
    with (
        path.open("w+b") as file,
        tempfile.TemporaryFile() as sums,
        ThreadPoolExecutor(1) as beside,
    ):
        yield ArchiveWriter(file, sums, beside=beside)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "record", "code", "words"),
    [
        (USERS, user("a", email="\0"), "bad_record", "user a, field email"),
        (USERS, user("a", email="\ud800"), "bad_record", "user a, field email"),
        (USERS, user("a", extra=float("inf")), "bad_record", "user a, field extra"),
        (USERS, user("a", extra=10**400), "bad_record", "user a, field extra"),
        (USERS, user("a", extra="x" * 4 * 1024**2), "bad_record", "user a: it is larger"),
        (USERS, user("a", email=5), "bad_record", "user a, field email: it must be a text"),
        (USERS, user("a", totp_enabled=1), "bad_record", "field totp_enabled: it must be true"),
        (USERS, user("a", updated_at="yesterday"), "bad_record", "field updated_at: it must be"),
        (USERS, user("a", updated_at="2026-02-30T00:00:00Z"), "bad_record", "field updated_at"),
        (USERS, user(""), "bad_record", "field username: it is part of the key"),
        (USERS, {"email": "x"}, "bad_record", "field username: it is missing"),
        (PACKAGES, package("a", meta=[]), "bad_record", "field meta: it must be an object"),
        (PACKAGES, package("a", downloads=1.0), "bad_record", "field downloads"),
        (PACKAGES, package("../a"), "unsafe_name", "package ../a"),
        (RELEASES, release("a", "1/../.."), "unsafe_name", "release a 1/../.."),
        (RELEASES, release("a", ".1"), "unsafe_name", "begins with a dot"),
        (RELEASES, release("a", "1" * 250), "unsafe_name", "longer than"),
        (RELEASES, release("a", "1\n"), "unsafe_name", "release a 1"),
        (OWNERS, owner("a", None), "bad_record", "field username"),  # type: ignore[arg-type]
    ],
)
def test_a_record_that_could_not_be_read_back_is_refused(
    tmp_path: Path, kind: Kind, record: Record, code: str, words: str
) -> None:
    with writing(tmp_path / "a.tar") as writer, pytest.raises(RecordError) as caught:
        writer.write_records(kind, batches([record]))
    assert words in str(caught.value)
    assert caught.value.faults[0].code == code
    assert caught.value.faults[0].member == kind.member


@pytest.mark.parametrize(
    ("records", "code", "words"),
    [
        ([user("b"), user("a")], "bad_record", "byte order"),
        ([user("\uffff"), user("😀"), user("é")], "bad_record", "byte order"),
        ([user("a"), user("a")], "duplicate_record", "there are two rows of this key"),
        # Beyond one batch.
        ([*map(user, "abcb")], "bad_record", "byte order"),
        ([*map(user, "abcc")], "duplicate_record", "there are two rows of this key"),
    ],
)
def test_records_come_once_and_in_byte_order(
    tmp_path: Path, records: list[Record], code: str, words: str
) -> None:
    with writing(tmp_path / "a.tar") as writer, pytest.raises(RecordError, match=words) as caught:
        writer.write_records(USERS, batches(records))
    assert caught.value.faults[0].code == code


def test_a_secret_is_never_in_an_error(tmp_path: Path) -> None:
    records = [user("a", password_hash="s3cret\0")]
    with writing(tmp_path / "a.tar") as writer, pytest.raises(RecordError) as caught:
        writer.write_records(USERS, batches(records))
    assert "s3cret" not in str(caught.value.as_json())


class Source(io.BytesIO):
    """A file that gives a few bytes at a time, as a pipe or a network file system may."""

    def readinto(self, buffer: Any) -> int:
        return super().readinto(memoryview(buffer)[:700])


@pytest.mark.parametrize("size", [0, 10, 3 * 1024**2])
@pytest.mark.parametrize("source_size", [-1, 1])
def test_a_file_that_changed_leaves_the_archive_as_it_was(
    tmp_path: Path, size: int, source_size: int
) -> None:
    file = ReleaseFile("package", "jason", "1.4.0")
    path = tmp_path / "a.tar"
    with writing(path) as writer:
        for kind in KINDS:
            writer.write_records(kind, batches(ROWS[kind]))
        before = writer.size
        changed = io.BytesIO(bytes(max(0, size + source_size)))
        if size + source_size >= 0:
            with pytest.raises(SourceChangedError):
                writer.write_file(file, changed, size, lambda _: None)
        assert writer.size == before
        passed: list[int] = []
        writer.write_file(file, Source(b"x" * size), size, passed.append)
        assert sum(passed) == size
        writer.finish(hex_hub_version="1", generator="g", created_by="a")
    assert writer.sha256 == sha256_of(path)
    with check(path) as reader:
        assert reader.manifest.contents["package_files"] == 1
        entry = reader.file(file)
        assert entry is not None
        assert b"".join(reader.open_file(entry)) == b"x" * size


def test_a_copy_that_is_cancelled_leaves_the_archive_as_it_was(tmp_path: Path) -> None:
    def cancel(_: int) -> None:
        raise KeyboardInterrupt

    with writing(tmp_path / "a.tar") as writer:
        writer.write_records(RELEASES, batches(ROWS[RELEASES]))
        before = writer.size
        with pytest.raises(KeyboardInterrupt):
            writer.write_file(next(iter(FILES)), io.BytesIO(bytes(2**21)), 2**21, cancel)
        with pytest.raises(KeyboardInterrupt):
            writer.write_file(ReleaseFile("docs", "a", "1"), io.BytesIO(b"a"), 1, cancel)
        assert writer.size == before


def test_many_records_and_files_are_as_they_were_also_behind_one_that_changed(
    tmp_path: Path,
) -> None:
    rows = [release(f"p{n:04}", "1.0.0", meta={"text": "\n é [{"}) for n in range(2000)]
    path = tmp_path / "a.tar"
    with writing(path) as writer:
        for kind in KINDS:
            writer.write_records(kind, batches(rows if kind is RELEASES else []))
        for n, row in enumerate(rows):
            file, data = ReleaseFile("package", *RELEASES.key_of(row)), b"data" * n
            changed = io.BytesIO(data + b"more")
            with pytest.raises(SourceChangedError):
                writer.write_file(file, changed, len(data), lambda _: None)
            writer.write_file(file, io.BytesIO(data), len(data), lambda _: None)
        writer.finish(hex_hub_version="1", generator="g", created_by="a")
    assert writer.sha256 == sha256_of(path)
    with check(path) as reader:
        assert [record for _, record in reader.records(RELEASES)] == rows
        for n, row in enumerate(rows):
            entry = reader.file(ReleaseFile("package", *RELEASES.key_of(row)))
            assert entry is not None
            assert b"".join(reader.open_file(entry)) == b"data" * n


def test_missing_files_are_in_the_manifest(tmp_path: Path) -> None:
    missing = ReleaseFile("docs", "jason", "1.4.0")
    files = {file: data for file, data in FILES.items() if file != missing}
    write(tmp_path / "a.tar", files=files, missing_files=[missing.member])
    with check(tmp_path / "a.tar") as reader:
        assert reader.manifest.missing_files == (missing.member,)
        assert [(found.code, found.record) for found in reader.warnings()] == [
            ("missing_docs_file", "release jason 1.4.0")
        ]


def test_a_manifest_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    names = (f"packages/{'n' * 100}-{n}.tar.gz" for n in range(1_000_000))
    with pytest.raises(BackupError, match="is the storage mounted"):
        write(tmp_path / "a.tar", missing_files=names)


def test_the_largest_manifest_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    # Between two quotes.
    name = "x" * (MAX_ROW_BYTES - len(write(path).as_bytes()) - 2)
    assert len(write(path, missing_files=[name]).as_bytes()) == MAX_ROW_BYTES
    check(path).close()
    with pytest.raises(BackupError, match="is the storage mounted"):
        write(path, missing_files=[f"{name}x"])


def test_a_system_users_odd_name_is_no_failure(tmp_path: Path) -> None:
    with writing(tmp_path / "a.tar") as writer:
        for kind in KINDS:
            writer.write_records(kind, [])
        writer.finish(hex_hub_version="1", generator="g", created_by="cli:\udcff\0")
    with check(tmp_path / "a.tar") as reader:
        assert reader.manifest.created_by == "cli:??"


@pytest.mark.parametrize("has_docs", [True, False])
def test_a_release_that_would_make_a_folder_of_anothers_file_is_refused(
    tmp_path: Path, has_docs: bool
) -> None:
    """No tar could be unpacked that has both."""
    file, folder = ("x", "1.0.0-rc.1"), ("x-1.0.0-rc.1.tar.gz", "1")
    keys = [("w", "1"), file, ("x", "2"), folder, (folder[0], "2"), ("x-y.tar.gz", "1")]
    releases = [release(*key, has_docs=has_docs) for key in keys]
    with writing(tmp_path / "a.tar") as writer, pytest.raises(RecordError) as caught:
        writer.write_records(RELEASES, batches(releases))
    (fault,) = caught.value.faults
    assert (fault.code, fault.record) == ("duplicate_member", "release x 1.0.0-rc.1")
    assert "release x-1.0.0-rc.1.tar.gz 1" in fault.message
    assert fault.message in str(caught.value)


def test_names_that_end_as_files_do_are_no_fault(tmp_path: Path) -> None:
    keys = [("x", "1.0.0-rc.1"), ("x-1.0.0-rc.2.tar.gz", "1"), ("x.tar.gz", "1")]
    rows = {RELEASES: [release(*key) for key in keys], PACKAGES: [package("x-1.0.0-rc.1.tar.gz")]}
    files = {ReleaseFile("package", *key): b"" for key in keys}
    write(tmp_path / "a.tar", rows, files)
    check(tmp_path / "a.tar").close()


def test_a_file_comes_once(tmp_path: Path) -> None:
    file, docs = ReleaseFile("package", "a", "1"), ReleaseFile("docs", "a", "1")
    with writing(tmp_path / "a.tar") as writer:
        for each in (file, docs):
            writer.write_file(each, io.BytesIO(b""), 0, lambda _: None)
            size = writer.size
            for again in (file, each):
                with pytest.raises(ValueError, match="order"):
                    writer.write_file(again, io.BytesIO(b""), 0, lambda _: None)
            assert writer.size == size


def test_a_json_member_over_8_gib_gets_its_size_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hexhub_backup.archive.rules.tar.MAX_USTAR_SIZE", 100)
    write(tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes()[124:125] == b"\x80"
    check(tmp_path / "a.tar").close()
