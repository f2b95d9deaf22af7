"""Whatever is wrong with an archive, it is refused with a fault that says so, and in no time."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zipfile
from pathlib import Path

import pytest

from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.rules.manifest import COUNTS
from hexhub_backup.errors import FAULT_CODES
from tests.support.archives import check, codes, hexhub, member, ours, pack, padded, refused, write

BODY = pack(hexhub())
OURS = pack(ours())


def extended(type_: bytes, payload: bytes) -> bytes:
    return tar.block(b"././@PaxHeader", len(payload), type_) + padded(payload)


def pax(**records: object) -> bytes:
    payload = b"".join(
        tar._pax_record(key.replace("__", ".").encode(), str(value).encode())
        for key, value in records.items()
    )
    return extended(b"x", payload)


def resealed(header: bytes, at: int, field: bytes) -> bytes:
    """The header with a field replaced, and its checksum right again."""
    header = header[:at] + field + header[at + len(field) :]
    header = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def named(name: bytes) -> bytes:
    return tar.block(name, 0)


FILE = member("README", b"text")
# Its name is told by an extended header.
UNNAMED = tar.block(b"", 4) + padded(b"text")
ZIPPED = io.BytesIO()
with zipfile.ZipFile(ZIPPED, "w") as _zip:
    _zip.writestr("users.json", "[]")

# Of the tar as such: what is refused here is refused whether there is SHA256SUMS or not.
STRUCTURE: dict[str, tuple[bytes, str]] = {
    # What is no tar.
    "empty": (b"", "not_a_tar"),
    "text": (b"hello", "not_a_tar"),
    "noise": (random.Random(1).randbytes(4096), "not_a_tar"),
    "html": (b"<!doctype html>".ljust(2048), "not_a_tar"),
    "gzip": (gzip.compress(BODY), "compressed"),
    "bzip2": (bz2.compress(BODY), "compressed"),
    "xz": (lzma.compress(BODY), "compressed"),
    "zip": (ZIPPED.getvalue(), "compressed"),
    "zstd": (b"\x28\xb5\x2f\xfd" + BODY, "compressed"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + BODY, "compressed"),
    # Its end.
    "no end": (BODY[:-1024], "truncated"),
    "half an end": (BODY[:-512], "truncated"),
    "only an end": (bytes(1024), "missing_member"),
    "more behind the end": (BODY + b"\0" * 600 + b"x", "trailing_data"),
    "a second tar behind": (BODY + BODY, "trailing_data"),
    "half an end, then more": (BODY[:-1024] + bytes(512) + BODY, "trailing_data"),
    # Sizes.
    "size beyond the end": (tar.block(b"a", 10**9) + BODY, "truncated"),
    "size of 2**80": (resealed(FILE[:512], 124, b"\x80" + b"\xff" * 11) + BODY, "truncated"),
    "negative size, CVE-2025-8194": (
        resealed(FILE[:512], 124, b"\xff" * 12) + BODY,
        "bad_header",
    ),
    "negative octal": (resealed(FILE[:512], 124, b"-0000000512\0") + BODY, "bad_header"),
    "size that is no number": (resealed(FILE[:512], 124, b"00000000x04\0") + BODY, "bad_header"),
    "no size": (resealed(FILE[:512], 124, bytes(12)) + BODY, "bad_header"),
    "pax size that is no number": (pax(size="1e3") + FILE + BODY, "bad_header"),
    "negative pax size": (pax(size=-512) + FILE + BODY, "bad_header"),
    "long pax size": (pax(size="1" * 5000) + FILE + BODY, "bad_header"),
    "pax and ustar sizes, CVE-2025-62518": (pax(size=1024) + FILE + BODY, "bad_header"),
    "pax size that the header could tell": (pax(size=4) + named(b"a") + BODY, "bad_header"),
    "pax size beyond the end": (pax(size=10**12) + named(b"a") + BODY, "truncated"),
    "directory with a size": (tar.block(b"d/", 4, b"5") + padded(b"text") + BODY, "bad_header"),
    # Extended headers.
    "pax length 0, CVE-2019-20907": (extended(b"x", b"0 path=a\n") + FILE + BODY, "bad_header"),
    "pax length too large": (extended(b"x", b"99 path=a\n") + FILE + BODY, "bad_header"),
    "pax length too small": (extended(b"x", b"3 path=a\n") + FILE + BODY, "bad_header"),
    "pax without lengths, CVE-2024-6232": (
        extended(b"x", b"1" * 60_000) + FILE + BODY,
        "bad_header",
    ),
    "pax without =": (extended(b"x", b"7 path\n") + FILE + BODY, "bad_header"),
    "pax of no bytes": (extended(b"x", b"") + FILE + BODY, "bad_header"),
    "pax of many bytes": (pax(comment="x" * 70_000) + FILE + BODY, "bad_header"),
    "pax path twice": (extended(b"x", b"10 path=a\n" * 2) + FILE + BODY, "bad_header"),
    "pax path and another name": (pax(path="owners.json") + FILE + BODY, "bad_header"),
    "pax path of another folder": (
        pax(path="docs/" + "y" * 110) + tar.block(b"packages/" + b"y" * 91, 0) + BODY,
        "bad_header",
    ),
    "pax path that begins in another letter": (pax(path="Qé") + FILE + BODY, "bad_header"),
    "long name and another name": (extended(b"L", b"a\0") + FILE + BODY, "bad_header"),
    "long name of no bytes": (extended(b"L", b"\0") + FILE + BODY, "bad_header"),
    "pax path of no bytes": (pax(path="") + FILE + BODY, "bad_header"),
    "pax declared to be 1 TiB": (tar.block(b"x", 2**40, b"x") + BODY, "bad_header"),
    "long name declared to be 1 TiB": (tar.block(b"x", 2**40, b"L") + BODY, "bad_header"),
    "chained pax": (pax(mtime=1) * 5000 + FILE + BODY, "bad_header"),
    "chained long names": (extended(b"L", b"a\0") * 5000 + FILE + BODY, "bad_header"),
    "pax, then a long name": (pax(mtime=1) + extended(b"L", b"a\0") + FILE + BODY, "bad_header"),
    "pax before the end": (BODY[:-1024] + pax(mtime=1) + tar.END, "bad_header"),
    "global path": (extended(b"g", b"10 path=a\n") + BODY, "bad_header"),
    "global size": (extended(b"g", b"10 size=1\n") + BODY, "bad_header"),
    # Headers.
    "checksum": (BODY[:-1024] + FILE[:148] + b"0000000\0" + FILE[156:] + tar.END, "bad_header"),
    "damaged ustar at the start": (b"X" + BODY[1:], "bad_header"),
    "no magic": (resealed(FILE[:512], 257, bytes(8)) + FILE[512:] + BODY, "bad_header"),
    "padding": (FILE[:-1] + b"x" + BODY, "bad_header"),
    # Types: CVE-2024-12718, CVE-2025-4138, -4330, -4435 and -4517 need a link, or modes.
    **{
        f"type {type_!r}": (tar.block(b"a", 0, type_) + BODY, "unsupported_member")
        for type_ in (b"1", b"2", b"3", b"4", b"6", b"7", b"K", b"S", b"D", b"V", b"\xff")
    },
    "pax sparse": (pax(GNU__sparse__size=5) + FILE + BODY, "unsupported_member"),
    # Names: CVE-2007-4559.
    **{
        f"name {name!r}": (named(name) + BODY, "unsafe_name")
        for name in (
            b"/etc/passwd",
            b"../a",
            b"packages/../../a.tar.gz",
            b"packages/..",
            b"./../a",
            b"././a",
            b"packages//a",
            b"packages/./a",
            b"packages/",
            b"..\\a",
            b"C:\\a",
            b"a\nb",
            b"a\x7fb",
            "a\u0085b".encode(),
            "a\u2028b".encode(),
            b"\xff",
            b"",
        )
    },
    "pax path with a NUL": (pax(path="a\0b") + UNNAMED + BODY, "unsafe_name"),
    "pax path that leaves": (pax(path="../a") + UNNAMED + BODY, "unsafe_name"),
    "long name that leaves": (extended(b"L", b"/a\0") + UNNAMED + BODY, "unsafe_name"),
    "long part": (pax(path="a" * 256) + UNNAMED + BODY, "unsafe_name"),
    "prefix that leaves": (resealed(named(b"a"), 345, b"..") + BODY, "unsafe_name"),
    "directory that leaves": (tar.block(b"../", 0, b"5") + BODY, "unsafe_name"),
    # Duplicates.
    "twice": (FILE + FILE + BODY, "duplicate_member"),
    "twice with ./": (FILE + member("./README", b"text") + BODY, "duplicate_member"),
    "twice but for case": (FILE + member("readme", b"text") + BODY, "duplicate_member"),
    "a directory of a file's name": (tar.block(b"users.json/", 0, b"5") + BODY, "duplicate_member"),
    "a directory but for case": (tar.block(b"Users.JSON", 0, b"5") + BODY, "duplicate_member"),
    "twice but for Unicode": (
        member("é", b"") + member("e\u0301", b"") + BODY,
        "duplicate_member",
    ),
    "a folder but for case": (
        member("Packages/jason-1.4.0.tar.gz", b"") + BODY,
        "duplicate_member",
    ),
    "a suffix but for case": (
        member("packages/jason-1.4.0.TAR.gz", b"") + BODY,
        "duplicate_member",
    ),
    "a file and a folder": (
        member("docs/a-1.tar.gz", b"") + member("docs/a-1.tar.gz/a-1.tar.gz-1.tar.gz", b"") + BODY,
        "duplicate_member",
    ),
    "a file and a folder, the other way round": (
        member("docs/a-1.tar.gz/a-1.tar.gz-1.tar.gz", b"") + member("docs/a-1.tar.gz", b"") + BODY,
        "duplicate_member",
    ),
    "a folder below a file": (tar.block(b"users.json/a/b", 0, b"5") + BODY, "duplicate_member"),
    "a member below another": (member("users.json/a", b"") + BODY, "duplicate_member"),
}


# The same behind an archive of ours instead of HexHub's, wherever it is around one at all.
STRICT = {
    f"{name}, with sums": (data.replace(BODY, OURS), code)
    for name, (data, code) in STRUCTURE.items()
    if BODY in data
}


@pytest.mark.parametrize("name", STRUCTURE | STRICT)
def test_a_tar_that_is_damaged_or_lies_is_refused(tmp_path: Path, name: str) -> None:
    data, code = (STRUCTURE | STRICT)[name]
    path = tmp_path / "hostile.tar"
    path.write_bytes(data)
    error = refused(path)
    assert {fault.code for fault in error.faults} == {code}
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def text(value: str) -> bytes:
    return value.encode()


GOOD = ours()
SUMS = GOOD["SHA256SUMS"].decode()
JASON = "packages/jason-1.4.0.tar.gz"
CONTENT: dict[str, tuple[dict[str, bytes], str]] = {
    **{
        f"without {name}": (
            {key: data for key, data in GOOD.items() if key != name},
            "missing_member",
        )
        for name in (*(kind.member for kind in KINDS), "manifest.json", "SHA256SUMS")
    },
    **{
        f"count of {name}": (
            ours(contents={**dict.fromkeys(COUNTS, 0), name: 10**6}),
            "count_mismatch",
        )
        for name in COUNTS
    },
    "HexHub's time": (
        hexhub(
            {"manifest.json": b'{"version":"1.0","created_at":"2026-01-01","contents":{"users":9}}'}
        ),
        "bad_manifest",
    ),
    "HexHub's count of users": (
        hexhub(
            {
                "manifest.json": b'{"version":"1.0","created_at":"2026-01-01T00:00:00Z",'
                b'"contents":{"users":9,"total_size_bytes":0}}'
            }
        ),
        "count_mismatch",
    ),
    "version": (hexhub({"manifest.json": b'{"version":"2.0"}'}), "unsupported_version"),
    "no version": (hexhub({"manifest.json": b'{"created_at":"x"}'}), "bad_manifest"),
    "no manifest in it": (hexhub({"manifest.json": b"[]"}), "bad_manifest"),
    "manifest is no JSON": (hexhub({"manifest.json": b"{"}), "bad_manifest"),
    "manifest with a BOM": (
        hexhub({"manifest.json": b"\xef\xbb\xbf" + hexhub()["manifest.json"]}),
        "bad_manifest",
    ),
    "manifest with one key twice": (
        hexhub({"manifest.json": b'{"version":"2.0",' + hexhub()["manifest.json"][1:]}),
        "bad_manifest",
    ),
    "manifest with an endless name": (ours(created_by="x" * 1001), "bad_manifest"),
    "created at no time": (ours(created_at=""), "bad_manifest"),
    "version that is a number": (ours(version=1.0), "bad_manifest"),
    "manifest over 4 MiB": (hexhub({"manifest.json": b" " * 2**22 + b"{}"}), "bad_manifest"),
    "generator is no text": (ours(generator=5), "bad_manifest"),
    "created_by is no text": (ours(created_by=None), "bad_manifest"),
    "count is no number": (ours(contents={"users": "2"}), "bad_manifest"),
    "checksum is none": (ours(checksums={"users.json": "md5:1"}), "bad_manifest"),
    "checksum of a file": (ours(checksums={JASON: "sha256:" + "0" * 64}), "bad_manifest"),
    "missing files is no array": (ours(missing_files="docs/a"), "bad_manifest"),
    "missing file that is there": (ours(missing_files=[JASON]), "bad_manifest"),
    "unknown member": (ours({"README": b"hello"}), "unknown_member"),
    "unknown folder": (ours({"src/a.tar.gz": b""}), "unknown_member"),
    "duplicate record": (
        ours(
            {
                "owners.json": b'[{"package_name":"a","username":"b"},'
                b'{"package_name":"a","username":"b"}]'
            }
        ),
        "duplicate_record",
    ),
    "not an array": (hexhub({"users.json": b"{}"}), "bad_json"),
    "a row that is no JSON": (hexhub({"users.json": b"[{]"}), "bad_json"),
    "a row with one key twice": (
        ours({"users.json": b'[{"username":"a","username":"b"}]'}),
        "bad_json",
    ),
    # JSON that is not strict, in each way.
    **{
        f"JSON: {what}": (hexhub({"owners.json": b"[" + row + b"]"}), "bad_json")
        for what, row in {
            "no UTF-8": b'{"a":"\xff"}',
            "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
            "half a surrogate pair": b'{"a":"\\ud800"}',
            "a NUL": b'{"a":"\\u0000"}',
            "NaN": b'{"a":NaN}',
            "Infinity": b'{"a":-Infinity}',
            "a number that is not finite": b'{"a":1e999}',
            "a number of a million digits": b'{"a":' + b"9" * 10**6 + b"}",
            "a million digits behind the point": b'{"a":0.' + b"9" * 10**6 + b"}",
            "401 digits": b'{"a":1' + b"0" * 400 + b"}",
            "endless brackets": b"[" * 10**6,
            "endless objects": b'{"a":' * 10**6,
            "65 levels": b"[" * 65 + b"]" * 65,
            "a text of 5 MB": b'{"a":"' + b"x" * 5 * 10**6 + b'"}',
            "a key of 5 MB": b'{"' + b"x" * 5 * 10**6 + b'":1}',
            "300,000 values": b"[" + b"1," * 300_000 + b"1]",
        }.items()
    },
    "JSON: a BOM": (hexhub({"owners.json": b"\xef\xbb\xbf[]"}), "bad_json"),
    "JSON: UTF-16": (hexhub({"owners.json": "[]".encode("utf-16")}), "bad_json"),
    "a row that is no object": (hexhub({"users.json": b"[1]"}), "bad_record"),
    "a record without its key": (hexhub({"users.json": b"[{}]"}), "bad_record"),
    "a field of a wrong type": (
        ours({"users.json": b'[{"username":"a","email":1}]'}),
        "bad_record",
    ),
    "a release that can not be a file": (
        ours({"releases.json": b'[{"package_name":"..","version":"1"}]'}),
        "unsafe_name",
    ),
    "a file that is damaged": (GOOD | {JASON: b"?" * len(GOOD[JASON])}, "checksum_mismatch"),
    "users that are damaged": (
        GOOD | {"users.json": GOOD["users.json"].replace(b"alice", b"ecila")},
        "checksum_mismatch",
    ),
    "sums that are damaged": (
        GOOD | {"SHA256SUMS": text(SUMS.replace("  ", " *"))},
        "checksum_mismatch",
    ),
    "sums without a member": (
        ours({"SHA256SUMS": text(SUMS.split("\n", 1)[1])}),
        "bad_checksums",
    ),
    "sums with another": (
        ours({"SHA256SUMS": text(SUMS + "0" * 64 + "  docs/x.tar.gz\n")}),
        "bad_checksums",
    ),
    "sums with themselves": (
        ours({"SHA256SUMS": text(SUMS + "0" * 64 + "  SHA256SUMS\n")}),
        "bad_checksums",
    ),
    "sums with one twice": (
        ours({"SHA256SUMS": text(SUMS + SUMS.split("\n", 1)[0] + "\n")}),
        "bad_checksums",
    ),
    "sums of another form": (ours({"SHA256SUMS": b"hello\n"}), "bad_checksums"),
    "sums in one endless line": (ours({"SHA256SUMS": b"a" * 2**20}), "bad_checksums"),
    "sums that escape": (ours({"SHA256SUMS": text("\\" + SUMS)}), "bad_checksums"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_that_does_not_hold_together_is_refused(tmp_path: Path, name: str) -> None:
    members, code = CONTENT[name]
    path = tmp_path / "hostile.tar"
    path.write_bytes(pack(members))
    assert code in codes(path)


def test_every_code_of_an_archive_is_provoked_here() -> None:
    provoked = {code for _, code in (*STRUCTURE.values(), *CONTENT.values())}
    of_hosts = {"bad_mapping"}
    of_restores = {"conflict", "blocked", "changed", "not_granted", "refused"}
    assert provoked == FAULT_CODES.keys() - of_hosts - of_restores


# What is refused with SHA256SUMS, and passed over in HexHub's archives, which have none.
LENIENT: dict[str, tuple[bytes, bytes, str]] = {
    "unknown member": (FILE, FILE, "unknown_member"),
    "unknown directory": (
        tar.block(b"src/", 0, b"5"),
        tar.block(b"packages/a/b", 0, b"5"),
        "unknown_member",
    ),
}
TWICE = b'[{"package_name":"a","username":"b"},{"package_name":"a","username":"b"}]'
AT = b'"version":"1.0","created_at":"2026-01-01T00:00:00Z"'


@pytest.mark.parametrize("name", LENIENT)
def test_members_that_only_archives_with_sums_are_refused_for(tmp_path: Path, name: str) -> None:
    strict, lenient, code = LENIENT[name]
    path = tmp_path / "archive.tar"
    path.write_bytes(strict + OURS)
    assert code in codes(path)
    for more in (strict, lenient):
        path.write_bytes(more + BODY)
        check(path).close()


@pytest.mark.parametrize(
    "changes",
    [
        {"owners.json": TWICE},
        {"manifest.json": b"{" + AT + b"}"},
        {"manifest.json": b"{" + AT + b',"contents":{"users":2,"total_size_bytes":0}}'},
        {"manifest.json": b"{" + AT + b',"created_by":null,"missing_files":["docs/a.tar.gz"]}'},
        {"docs/jason-1.4.0.tar.gz": b"another"},
    ],
    ids=["rows of one key", "least manifest", "bytes not counted", "no creator", "another file"],
)
def test_content_that_only_archives_with_sums_are_refused_for(
    tmp_path: Path, changes: dict[str, bytes]
) -> None:
    path = tmp_path / "archive.tar"
    path.write_bytes(pack(hexhub(changes)))
    check(path).close()
    path.write_bytes(pack(GOOD | changes))
    refused(path)


@pytest.mark.parametrize("mark", ["generator", "checksums", "SHA256SUMS"])
def test_each_mark_of_ours_alone_makes_an_archive_one_that_is_held_to_everything(
    tmp_path: Path, mark: str
) -> None:
    """Who takes two of the three out of an archive of ours does not make it HexHub's."""
    marks: dict[str, dict[str, bytes | None]] = {
        "generator": {"manifest.json": b"{" + AT + b',"generator":"x"}'},
        "checksums": {
            "manifest.json": b"{" + AT + b',"checksums":{"users.json":"sha256:%b"}}' % (b"0" * 64)
        },
        "SHA256SUMS": {"SHA256SUMS": b""},
    }
    path = tmp_path / "archive.tar"
    path.write_bytes(pack(hexhub(marks[mark])))
    refused(path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("packages/" + "z" * 120, b"packages/" + b"z" * 91),
        ("packages/" + "z" * 120, b"packages/zzz"),
        ("packages/ö" + "z" * 120, b"packages/?zzz"),
        ("packages/ö", b"packages/"),
        ("ö", b"?"),
        ("./packages/" + "z" * 120, b"./packages/" + b"z" * 80),
    ],
)
def test_what_writers_make_of_a_path_that_ustar_can_not_hold_is_read(
    tmp_path: Path, path: str, name: bytes
) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(pax(path=path) + named(name) + BODY)
    check(archive).close()


def test_the_good_ones_are_good(tmp_path: Path) -> None:
    for members in (GOOD, hexhub()):
        path = tmp_path / "good.tar"
        path.write_bytes(pack(members))
        check(path).close()


def test_all_faults_are_told_at_once_and_the_list_is_bounded(tmp_path: Path) -> None:
    rows = b"[" + b",".join([b'{"email":1}'] * 200) + b"]"
    path = tmp_path / "hostile.tar"
    path.write_bytes(pack(hexhub({"users.json": rows, "owners.json": b"[1]"})))
    error = refused(path)
    assert len(error.faults) == 100
    assert "and 400 more" in str(error)
    assert error.faults[3].row == 2
    assert error.faults[3].field == "email"


def test_a_fault_names_the_record_and_no_secret(tmp_path: Path) -> None:
    row = b'[{"username":"al\\u001bice","password_hash":"s3cret","totp_enabled":"s3cret"}]'
    path = tmp_path / "hostile.tar"
    path.write_bytes(pack(ours({"users.json": row})))
    error = refused(path)
    assert error.faults[0].record == "user al\\x1bice"
    assert "s3cret" not in str(error.as_json())


def test_every_part_of_an_archive_is_refused(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.tar", tmp_path / "part.tar"
    write(whole)
    data = whole.read_bytes()
    for size in range(0, len(data), 512):
        part.write_bytes(data[:size])
        assert codes(part) <= {"truncated", "not_a_tar"}
