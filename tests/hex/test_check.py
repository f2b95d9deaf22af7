"""What `hex_tarball` finds in package files, and that it finds nothing in sound ones."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import random
import tarfile
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hexhub_backup import ReleaseToCheck, hex_tarball
from hexhub_backup.hex import contents
from hexhub_backup.operations.release_check import ReleaseCheck
from tests.support.hex import (
    CONTENTS,
    METADATA,
    members_of,
    package_file,
    packed,
    raw_package,
    tar_of,
)
from tests.support.instance import DATA

CHECK: ReleaseCheck = partial(hex_tarball, repository="acme")
#: Packages that are there.
PACKAGES = {"own", "jason"}
NOISE = random.Random(5).randbytes(5000)


def found(
    content: bytes,
    *,
    unpack: bool = False,
    check: ReleaseCheck = CHECK,
    record: Mapping[str, Any] | None = None,
    package: str = "own",
    version: str = "0.1.0",
) -> list[str]:
    release = ReleaseToCheck(package, version, dict(record or {}), PACKAGES.__contains__)
    return list(check(release, io.BytesIO(content), unpack=unpack))


def with_member(name: str, data: bytes) -> bytes:
    return raw_package({**members_of(), name: data})


def of_message(value: object) -> str:
    """What a test is called by: the file itself is no name."""
    return value if isinstance(value, str) else "file"


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def requiring(*requirements: tuple[str, str]) -> bytes:
    return package_file(
        requirements=[
            {"name": name, "app": name, "optional": False, "requirement": "~> 1.0",
             **({"repository": repository} if repository else {})}
            for name, repository in requirements
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "client takes: it is no tar, or a part of it is missing"),
        (raw_package()[:3000], "client takes: it is no tar, or a part"),
        (with_member("CHECKSUM", b"0" * 64), "its contents do not fit its CHECKSUM"),
        (with_member("contents.tar.gz", CONTENTS[:-1]), "its contents do not fit its CHECKSUM"),
        (with_member("more", b""), "it has other members"),
        (raw_package({"VERSION": b"3"}), "CHECKSUM in it is missing"),
        (tar_of(reversed(members_of().items())), "metadata.config in it is missing, or comes"),
        (raw_package(version=b"2"), "its VERSION is not 3"),
        (raw_package(metadata=b"no terms"), "metadata.config can't be read: they are no Erlang"),
        (package_file("other"), "another name in its metadata: other"),
        (package_file(version="0.2.0"), "another version in its metadata: 0.2.0"),
        (raw_package(metadata=METADATA.replace(b"name", b"nome")), "another name in its meta"),
        (requiring(("gone", "acme")), "it requires gone of this repository, which is not here"),
    ],
    ids=of_message,
)
def test_each_defect_is_found(content: bytes, message: str) -> None:
    (problem,) = found(content)
    assert message in problem


def test_several_defects_are_found_at_once() -> None:
    content = requiring(("gone", "acme"), ("lost", "acme"), ("jason", "acme"))
    assert [each.partition(":")[0] for each in found(content, package="a", version="1.0.0")] == [
        "its package file has another name in its metadata",
        "its package file has another version in its metadata",
        "it requires gone of this repository, which is not here",
        "it requires lost of this repository, which is not here",
    ]


def test_requirements_of_other_repositories_are_not_checked() -> None:
    content = requiring(("gone", ""), ("gone", "hexpm"), ("gone", "other"))
    assert found(content) == []
    # Whose registry has no name has no requirements of its own.
    assert found(requiring(("gone", "acme")), check=hex_tarball) == []
    assert found(requiring(("gone", "")), check=partial(hex_tarball, repository="hexpm")) != []


def test_the_whole_file_has_the_checksum_that_its_release_says() -> None:
    content = raw_package()
    digest = hashlib.sha256(content).digest()
    right: list[Any] = [
        digest.hex(), digest.hex().upper(), {"$bytes": base64.b64encode(digest).decode()}, None,
    ]  # fmt: skip
    for said in right:
        assert found(content, record={"outer_checksum": said}) == []
    for said in ("0" * 64, "none", "", 1, {"$bytes": ""}):
        (problem,) = found(content, record={"outer_checksum": said})
        assert problem == "its package file has another SHA-256 than the release says"
    # What follows the tar belongs to it too.
    assert found(content + b"x", record={"outer_checksum": digest.hex()}) != []


@pytest.mark.parametrize(
    ("packed_contents", "message"),
    [
        (packed(("mix.exs", NOISE))[:-200], "can't be unpacked: it ends before it is complete"),
        (packed(("mix.exs", NOISE))[:-4], "can't be unpacked: it ends before it is complete"),
        (packed(("mix.exs", NOISE))[:-8] + bytes(8), "it is no gzip, or damaged"),
        (CONTENTS + b"garbage", "it is no gzip, or damaged"),
        (b"", "it ends before it is complete"),
        (tar_of([("mix.exs", b"x")]), "it is no gzip, or damaged"),
        (
            gzip.compress(tar_of([("mix.exs", NOISE)])[:2000], mtime=0),
            "it is no tar, or a part of it is missing",
        ),
        (gzip.compress(b"x" * 2000, mtime=0), "it is no tar, or one of its headers is damaged"),
        (packed(("../x", b"x")), "outside of the package: ../x"),
        (packed(("a/../../x", b"x")), "outside of the package: a/../../x"),
        (packed(("/", b"x")), "outside of the package"),
        (packed(link("lib/a", "../../x")), "leads out of the package: lib/a"),
        (packed(link("a", "/etc/passwd")), "leads out of the package: a"),
        (packed(link("lib/a", "../x", tarfile.LNKTYPE)), "leads out of the package: lib/a"),
        (packed(link("a", "", tarfile.CHRTYPE)), "is a device: a"),
    ],
    ids=of_message,
)
def test_contents_that_no_client_unpacks_are_found_when_they_are_unpacked(
    packed_contents: bytes, message: str
) -> None:
    content = raw_package(contents=packed_contents)
    (problem,) = found(content, unpack=True)
    assert message in problem
    assert found(content) == []
    # It is told beside all others.
    assert len(found(content, unpack=True, version="1.0.0")) == 2


def test_what_clients_unpack_is_none() -> None:
    plain = tar_of([("mix.exs", b"x")])
    long = io.BytesIO()
    with tarfile.open(fileobj=long, mode="w:", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("é" * 200))
    gnu = io.BytesIO()
    with tarfile.open(fileobj=gnu, mode="w:", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(link("a" * 200, "b" * 200))
    for each in (
        packed(("a", b"x"), link("lib/b", "../a"), link("c", "a", tarfile.LNKTYPE)),
        packed(("/a", b"x"), ("./b", b""), ("a/../c", b"")),
        gzip.compress(plain[:700]) + gzip.compress(plain[700:]),
        gzip.compress(plain + b"garbage"),
        gzip.compress(long.getvalue()),
        gzip.compress(gnu.getvalue()),
        packed(),
    ):
        assert found(raw_package(contents=each), unpack=True) == []


def test_a_bomb_is_unpacked_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contents.MOST_UNPACKED == 1 << 30
    monkeypatch.setattr(contents, "MOST_UNPACKED", 1 << 20)
    (problem,) = found(raw_package(contents=packed(("zeros", bytes(2 << 20)))), unpack=True)
    assert "it unpacks to more than" in problem
    assert found(raw_package(contents=packed(("zeros", bytes(1 << 19)))), unpack=True) == []


class _Watched(io.BytesIO):
    """A file that knows how much it was asked for at a time."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0
        self.most = max(self.most, size)
        return super().read(size)


def test_it_is_read_once_and_in_pieces() -> None:
    content = raw_package(contents=packed(("noise", os.urandom(1 << 20))))
    file = _Watched(content)
    release = ReleaseToCheck("own", "0.1.0", {}, PACKAGES.__contains__)
    assert list(hex_tarball(release, file, unpack=True)) == []
    assert file.most <= 1 << 16


@settings(max_examples=25)
@given(
    name=st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True),
    text=st.text(st.characters(codec="utf-8"), max_size=50),
    files=st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary()),
)
def test_nothing_is_found_in_what_is_sound(name: str, text: str, files: dict[str, bytes]) -> None:
    content = package_file(name, description=text, links={text: text}, files=list(files))
    assert found(content, unpack=True, package=name) == []
    contents = packed(*files.items())
    assert found(raw_package(contents=contents), unpack=True) == []


def test_nothing_is_found_in_what_hexhub_has_packed() -> None:
    with tarfile.open(DATA / "hexhub-small.tar") as archive:
        releases = json.load(archive.extractfile("releases.json") or io.BytesIO())
        looked_at = 0
        for record in releases:
            package, version = record["package_name"], record["version"]
            member = f"packages/{package}-{version}.tar.gz"
            if member not in archive.getnames():
                continue
            content = (archive.extractfile(member) or io.BytesIO()).read()
            named = {"package": package, "version": version, "record": record}
            assert found(content, unpack=True, **named) == []
            looked_at += 1
    assert looked_at == 19  # one release is there twice
