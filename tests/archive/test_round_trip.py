"""What is written is read back, by us and by every other tar."""

from __future__ import annotations

import hashlib
import io
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import (
    FILE_TYPES,
    KINDS,
    OWNERS,
    PACKAGES,
    RELEASES,
    USERS,
    ReleaseFile,
)
from hexhub_backup.archive.rules import strict_json, tar
from hexhub_backup.archive.rules.manifest import MANIFEST
from hexhub_backup.archive.source import FileSource
from hexhub_backup.errors import ArchiveError, NotFoundError
from tests.support.archives import (
    DATA,
    FILES,
    GENERATOR,
    ROWS,
    TIME,
    check,
    hexhub,
    member,
    ours,
    owner,
    pack,
    package,
    padded,
    refused,
    release,
    user,
    write,
)


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    manifest = write(path)
    with check(path) as reader:
        assert reader.strict
        assert reader.manifest == manifest
        assert not list(reader.warnings())
        for kind in KINDS:
            assert reader.count(kind) == len(ROWS[kind])
            assert list(reader.records(kind)) == list(enumerate(ROWS[kind], start=1))
        for file, data in FILES.items():
            entry = reader.file(file)
            assert entry is not None
            assert b"".join(reader.open_file(entry)) == data
        assert reader.file(ReleaseFile("docs", "a", "1.0.0-rc.1+exp.sha")) is None
        assert reader.file_bytes() == sum(map(len, FILES.values()))


def test_the_manifest_says_what_the_spec_says(tmp_path: Path) -> None:
    manifest = write(tmp_path / "backup.tar", missing_files=["docs/x-1.tar.gz"])
    document = manifest.as_json()
    assert document["version"] == "1.0"
    assert document["hex_hub_version"] == "1.2.3"
    assert document["generator"] == GENERATOR
    assert document["created_at"] == "2026-01-31T10:30:00.000000Z"
    assert document["created_by"] == "admin"
    with tarfile.open(tmp_path / "backup.tar") as archive:
        sizes = {info.name: info.size for info in archive}
    assert document["contents"] == {
        "users": 2,
        "packages": 3,
        "releases": 3,
        "owners": 1,
        "package_files": 3,
        "doc_files": 2,
        "total_size_bytes": sum(sizes.values()) - sizes["manifest.json"],
    }
    assert set(document["checksums"]) == {*(kind.member for kind in KINDS), "SHA256SUMS"}
    assert document["missing_files"] == ["docs/x-1.tar.gz"]


def test_two_backups_of_one_registry_are_the_same(tmp_path: Path) -> None:
    write(tmp_path / "1.tar")
    write(tmp_path / "2.tar")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def test_an_empty_registry_makes_a_valid_archive(tmp_path: Path) -> None:
    write(tmp_path / "backup.tar", {}, {})
    with check(tmp_path / "backup.tar") as reader:
        assert [reader.count(kind) for kind in KINDS] == [0, 0, 0, 0]
        assert reader.file_bytes() == 0


ALIKE = [("JSONStream", "1"), ("jason", "2.0.0-RC.1"), ("jason", "2.0.0-rc.1")]
ALIKE += [("jsonstream", "1"), ("re\u0301sume", "1"), ("r\u00e9sume", "1"), ("ﬀ", "1"), ("ﬀ", "2")]


@pytest.mark.parametrize("whose", ["ours", "HexHub's"])
def test_records_may_differ_in_case_or_unicode_normal_form_only(tmp_path: Path, whose: str) -> None:
    """SemVer's pre-releases are case-sensitive, and a registry may hold both."""
    path = tmp_path / "backup.tar"
    rows = {
        USERS: [user("Ada"), user("ada")],
        PACKAGES: [package(name) for name in sorted({name for name, _ in ALIKE})],
        RELEASES: [release(name, version, has_docs=True) for name, version in ALIKE],
    }
    files = {
        ReleaseFile(type_, *key): f"{type_} {key}".encode() for type_ in FILE_TYPES for key in ALIKE
    }
    if whose == "ours":
        write(path, rows, files)
    else:
        json = {
            kind.member: b"".join(
                strict_json.write_rows(iter(map(strict_json.dumps, rows.get(kind, []))))
            )
            for kind in KINDS
        }
        theirs = json | {file.member: data for file, data in files.items()}
        path.write_bytes(pack({**theirs, MANIFEST: hexhub()[MANIFEST]}))
    with check(path) as reader:
        for kind, records in rows.items():
            assert [record for _, record in reader.records(kind)] == records
        for file, data in files.items():
            entry = reader.file(file)
            assert entry is not None
            assert b"".join(reader.open_file(entry)) == data
        assert {warning.code for warning in reader.warnings()} <= {"not_checked"}


def test_gnu_tar_unpacks_it_and_sha256sum_agrees(tmp_path: Path) -> None:
    long = ReleaseFile("package", "z" * 120, "1.0.0")
    files = FILES | {long: b"long"}
    rows = {
        **ROWS,
        PACKAGES: [*ROWS[PACKAGES], package("z" * 120)],
        RELEASES: [*ROWS[RELEASES], release("z" * 120, "1.0.0")],
    }
    path = tmp_path / "backup.tar"
    # In the order of members: package files first.
    write(path, rows, dict(sorted(files.items(), key=lambda item: item[0].type == "docs")))
    listed = subprocess.run(["tar", "-tf", path], check=True, capture_output=True, text=True)
    assert listed.stderr == ""
    names = listed.stdout.splitlines()
    assert names[:4] == ["users.json", "packages/metadata.json", "releases.json", "owners.json"]
    assert names[4:8] == [
        "packages/a-1.0.0-rc.1+exp.sha.tar.gz",
        "packages/a-b/a-b-1.tar.gz",
        "packages/jason-1.4.0.tar.gz",
        long.member,
    ]
    assert names[-2:] == ["SHA256SUMS", "manifest.json"]
    target = tmp_path / "unpacked"
    target.mkdir()
    subprocess.run(["tar", "-xf", path, "-C", target], check=True)
    subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=target, check=True)
    assert stat.S_IMODE((target / "users.json").stat().st_mode) & 0o177 == 0
    check(path).close()


def test_python_reads_ours(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    write(path)
    with tarfile.open(path) as archive:
        for info in archive:
            assert (info.mode, info.uid, info.gid, info.uname, info.mtime) == (0o600, 0, 0, "", 0)
            assert info.isreg()
        for file, data in FILES.items():
            extracted = archive.extractfile(file.member)
            assert extracted is not None
            assert extracted.read() == data


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_python_packed_is_read(tmp_path: Path, format_: int) -> None:
    # Too long for the name field alone, and with a folder for ustar's prefix.
    file = ReleaseFile("package", f"{'n' * 60}-x", "1.0.0")
    path = tmp_path / "backup.tar"
    with tarfile.open(path, "w", format=format_) as archive:
        folder = tarfile.TarInfo("./packages")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for member_name, data in hexhub({file.member: b"data"}).items():
            info = tarfile.TarInfo(f"./{member_name}")
            info.size = len(data)
            info.mtime = 1.5 if format_ == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(data))
    with check(path) as reader:
        entry = reader.file(file)
        assert entry is not None
        assert b"".join(reader.open_file(entry)) == b"data"


@pytest.mark.parametrize("format_", ["ustar", "gnu", "pax"])
def test_what_gnu_tar_packed_is_read(tmp_path: Path, format_: str) -> None:
    files = tmp_path / "files"
    long = ReleaseFile("docs", f"{'é' * 30}-x", "1.0.0")
    for name, data in ours({long.member: b"long"}).items():
        target = files / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    path = tmp_path / "backup.tar"
    subprocess.run(["tar", f"--format={format_}", "-cf", path, "-C", files, "."], check=True)
    with check(path) as reader:
        assert reader.strict
        assert reader.file(long) is not None
        assert [warning.code for warning in reader.warnings()] == ["file_without_release"]


def test_sizes_over_8_gib_take_pax_or_base_256() -> None:
    size = 8 * 1024**3
    assert len(tar.pack("a", size - 1)) == 512
    for header in (tar.pack("a", size), tar.block(b"a", size)):
        with tarfile.open(fileobj=io.BytesIO(header + tar.END)) as archive:
            info = archive.next()
        assert info is not None
        assert (info.name, info.size) == ("a", size)


@pytest.mark.parametrize("pax", [True, False])
def test_a_member_over_8_gib_is_read(tmp_path: Path, pax: bool) -> None:
    size = 9 * 1024**3 + 1
    name = ReleaseFile("package", "a-b", "1").member
    path = tmp_path / "sparse.tar"
    with path.open("wb") as file:
        file.write(pack(hexhub({name: None}))[: -len(tar.END)])
        file.write(tar.pack(name, size) if pax else tar.block(name.encode(), size))
        file.seek(size + tar.padding(size), io.SEEK_CUR)
        file.write(tar.END)
    with ArchiveReader(FileSource(path), tmp_path / "index") as reader:
        reader.read_members(lambda _: None)
        reader.check_manifest()
        entry = reader.file(ReleaseFile("package", "a-b", "1"))
        assert entry is not None
        assert entry.size == size


def test_hexhubs_own_archive_gives_exactly_its_warnings(tmp_path: Path) -> None:
    with check(DATA / "hexhub-small.tar", tmp_path / "index") as reader:
        assert not reader.strict
        assert [(warning.code, warning.record) for warning in reader.warnings()] == [
            ("duplicate_record", "release beta_http 0.1.0"),
            ("missing_package_file", "release eta_legacy 1.0.0"),
            ("missing_package_file", "release eta_legacy 1.1.0"),
            ("missing_package_file", "release zeta_missing 3.1.0"),
            ("missing_docs_file", "release zeta_missing 3.0.0"),
            ("not_checked", "archive"),
        ]
        assert [reader.count(kind) for kind in KINDS] == [5, 8, 21, 7]
        releases = {RELEASES.key_of(record): record for _, record in reader.records(RELEASES)}
        assert releases["beta_http", "0.1.0"]["retired"] is True
        assert list(releases) == sorted(releases)


def test_hexhubs_empty_archive_is_read(tmp_path: Path) -> None:
    with check(DATA / "hexhub-empty.tar", tmp_path / "index") as reader:
        assert [warning.code for warning in reader.warnings()] == ["not_checked"]
        assert [reader.count(kind) for kind in KINDS] == [0, 0, 0, 0]


def test_rows_of_one_key_are_merged_by_instant_then_by_place(tmp_path: Path) -> None:
    path = tmp_path / "hexhub.tar"
    rows = (
        b'[{"username":"b","updated_at":"2026-01-01T02:00:00+02:00","email":"utc 00:00"},'
        b'{"username":"a","email":"older, without a time"},'
        b'{"username":"b","updated_at":"2026-01-01T00:30:00Z","email":"latest"},'
        b'{"username":"b","updated_at":"2026-01-01T00:29:59.999Z","email":"before it"},'
        b'{"username":"a","email":"later row"}]'
    )
    path.write_bytes(pack(hexhub({"users.json": rows})))
    with check(path) as reader:
        merged = [(n, record["email"]) for n, record in reader.records(USERS)]
        assert merged == [(1, "later row"), (2, "latest")]
        found = [warning.record for warning in reader.warnings()]
        assert found == ["user a", "user b", "archive"]


def test_of_owners_that_are_there_twice_the_newest_counts(tmp_path: Path) -> None:
    """HexHub writes the newest first, and no `updated_at` for owners."""
    path = tmp_path / "hexhub.tar"
    rows = [
        owner("a", "ann") | {"level": "full", "inserted_at": "2026-03-01T00:00:00.000000Z"},
        owner("a", "ann") | {"level": "none", "inserted_at": "2026-01-01T00:00:00.000000Z"},
        owner("b", "bob") | {"level": "none", "inserted_at": TIME},
        owner("b", "bob") | {"level": "full", "inserted_at": TIME},
        owner("c", "cid") | {"level": "full", "inserted_at": TIME},
        owner("c", "cid") | {"level": "none", "inserted_at": None, "updated_at": "2030"},
    ]
    member = b"".join(strict_json.write_rows(map(strict_json.dumps, rows)))
    path.write_bytes(pack(hexhub({"owners.json": member})))
    with check(path) as reader:
        assert [record["level"] for _, record in reader.records(OWNERS)] == ["full"] * 3
        found = [warning for warning in reader.warnings() if warning.code == "duplicate_record"]
        assert [warning.record for warning in found] == [
            "owner a ann",
            "owner b bob",
            "owner c cid",
        ]
        assert {warning.message for warning in found} == {
            "2 rows of this key were merged: the latest inserted_at counts"
        }


def test_members_and_keys_that_the_format_does_not_know_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "hexhub.tar"
    members = {"README": b"hello"} | hexhub({"users.json": b'[{"username":"a","shoe_size":43}]'})
    path.write_bytes(pack(dict(reversed(members.items()))))
    with check(path) as reader:
        assert list(reader.records(USERS)) == [(1, {"username": "a", "shoe_size": 43})]


def test_a_file_without_its_release_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "ours.tar"
    path.write_bytes(pack(ours({"packages/jason-9.9.9.tar.gz": b"?"})))
    with check(path) as reader:
        assert [(found.code, found.record) for found in reader.warnings()] == [
            ("file_without_release", "packages/jason-9.9.9.tar.gz")
        ]


def test_a_global_comment_is_passed_over(tmp_path: Path) -> None:
    record = b"14 comment=hi\n"
    path = tmp_path / "git.tar"
    comment = tar.block(b"pax_global_header", len(record), b"g") + padded(record)
    path.write_bytes(comment + pack(hexhub()))
    check(path).close()


def test_padding_up_to_10_kib_is_no_trailing_data(tmp_path: Path) -> None:
    path = tmp_path / "padded.tar"
    path.write_bytes(pack(hexhub()) + bytes(10240))
    check(path).close()


def test_an_index_is_reopened_without_reading_again(tmp_path: Path) -> None:
    path, index = tmp_path / "backup.tar", tmp_path / "backup.index"
    write(path)
    with check(path) as reader:
        digest, records = reader.digest, list(reader.records(RELEASES))
    assert stat.S_IMODE(index.stat().st_mode) == 0o600
    with ArchiveReader.reopen(FileSource(path), index) as again:
        assert (again.digest, again.strict) == (digest, True)
        assert again.manifest.generator == GENERATOR
        assert list(again.records(RELEASES)) == records
        entry = again.file(ReleaseFile("docs", "jason", "1.4.0"))
        assert entry is not None
        assert b"".join(again.open_file(entry)) == b"docs" * 200


def test_an_archive_that_changed_is_not_reopened(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    write(path)
    check(path).close()
    write(path, {USERS: [user("mallory")]}, {})
    with pytest.raises(ArchiveError, match="has changed since: inspect it again"):
        ArchiveReader.reopen(FileSource(path), tmp_path / "backup.index")


def test_an_index_that_was_not_completed_is_not_reopened(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    write(path)
    with ArchiveReader(FileSource(path), tmp_path / "index") as reader:
        reader.read_members(lambda _: None)
        reader.check_manifest()
    with pytest.raises(ArchiveError, match="inspect it again"):
        ArchiveReader.reopen(FileSource(path), tmp_path / "index")


def test_the_digest_is_of_every_member(tmp_path: Path) -> None:
    digests = set()
    for number, change in enumerate([{}, {"docs/jason-1.4.0.tar.gz": b"e"}, {"README": b""}]):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(pack(hexhub(change)))
        with check(path) as reader:
            digests.add(reader.digest)
    assert len(digests) == 3


def test_an_archive_that_is_changed_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "backup.tar"
    write(path)
    with ArchiveReader(FileSource(path), tmp_path / "index") as reader:
        reader.read_members(lambda _: None)
        reader.check_manifest()
        with path.open("ab") as file:
            file.write(member("users.json", b"[]"))
        with pytest.raises(ArchiveError, match="changed while it was read"):
            reader.check_files(lambda _: None)


def test_files_of_every_size_are_held_against_their_checksums(tmp_path: Path) -> None:
    files = {
        ReleaseFile("package", "a", f"1.0.{number}"): bytes([number]) * size
        for number, size in enumerate((0, 1, 511, 4096, 2**20 - 1, 2**20, 2**20 + 1, 3 * 2**20, 5))
    }
    rows = {PACKAGES: [package("a")], RELEASES: [release(*file[1:]) for file in files]}
    path = tmp_path / "backup.tar"
    write(path, rows, files)
    with check(path) as reader:
        entries = {file: reader.file(file) for file in files}
        for file, entry in entries.items():
            assert entry is not None
            assert entry.sha256 == hashlib.sha256(files[file]).hexdigest()
            assert b"".join(reader.open_file(entry)) == files[file]
    damaged = [entry for entry in entries.values() if entry is not None and entry.size]
    with path.open("r+b") as archive:
        for entry in damaged:
            archive.seek(entry.offset + entry.size - 1)
            archive.write(b"\xff")
    assert [fault.member for fault in refused(path).faults] == [each.member for each in damaged]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        ArchiveReader(FileSource(tmp_path / "none.tar"), tmp_path / "index")
    with pytest.raises(ArchiveError, match="not a regular file"):
        ArchiveReader(FileSource(tmp_path), tmp_path / "index")
