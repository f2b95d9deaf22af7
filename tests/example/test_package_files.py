"""Which package files the registry reads, and which it refuses."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from examples.host_app import erlang_text, hex_tarball
from examples.host_app.hex_tarball import PackageFile, Requirement, TarballError

#: As rebar3 writes them, and as Hex did before it named the repository.
OLDER = b"""%% -*- coding: utf-8 -*-
{<<"name">>,<<"a">>}.
{<<"requirements">>,
  [{<<"b">>,[{<<"app">>,<<"bb">>},{<<"optional">>,true},{<<"requirement">>,<<"~> 2.0">>}]}]}.
"""
NEWER = b"""{<<"name">>,<<"a">>}.
{<<"requirements">>,[[{<<"name">>,<<"b">>},{<<"app">>,<<"bb">>},{<<"optional">>,true},
  {<<"requirement">>,<<"~> 2.0">>},{<<"repository">>,<<"acme">>}]]}.
"""


def package_file(metadata: bytes, **other: bytes | None) -> bytes:
    """A package file with this metadata, and with `other` members instead of its own; None is
    none."""
    members: dict[str, bytes | None] = {
        "VERSION": b"3",
        "CHECKSUM": hashlib.sha256(b"3" + metadata + b"contents").hexdigest().upper().encode(),
        "metadata.config": metadata,
        "contents.tar.gz": b"contents",
        **other,
    }
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:") as tar:
        for name, data in members.items():
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read(content: bytes) -> PackageFile:
    return hex_tarball.read_package(io.BytesIO(content))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    metadata = {"name": "a", "description": 'ä "b" \\\n日本', "links": {"Source": "x"}, "files": []}
    with (tmp_path / "a").open("wb") as file:
        hex_tarball.write_package(file, metadata, {"mix.exs": b"x"}, size=200_000)
    content = (tmp_path / "a").read_bytes()
    found = read(content)
    assert found.metadata == metadata
    assert found.outer_checksum == hashlib.sha256(content).digest()


@pytest.mark.parametrize(("metadata", "repository"), [(OLDER, ""), (NEWER, "acme")])
def test_requirements_are_read_in_both_forms(metadata: bytes, repository: str) -> None:
    assert read(package_file(metadata)).requirements == (
        Requirement("b", "~> 2.0", app="bb", optional=True, repository=repository),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no tar"),
        (b"x" * 2000, "no tar"),
        (package_file(NEWER)[:3588], "no tar, or a part of it is missing"),
        (package_file(NEWER, CHECKSUM=b"0" * 64), "do not fit its CHECKSUM"),
        (package_file(NEWER, CHECKSUM=b"\xff"), "do not fit its CHECKSUM"),
        (package_file(NEWER, **{"contents.tar.gz": b"others"}), "do not fit its CHECKSUM"),
        (package_file(NEWER, **{"contents.tar.gz": None}), "members are not VERSION, CHECKSUM"),
        (package_file(NEWER, more=b""), "members are not VERSION, CHECKSUM"),
        (package_file(b" " * (2 << 20)), "metadata.config in it is larger than 1048576 bytes"),
        (package_file(b"\xff"), "metadata.config can not be read"),
        (package_file(b'{<<"requirements">>,[[{<<"app">>,<<"b">>}]]}.'), "no name"),
        (package_file(b'{<<"requirements">>,[{<<"b">>,1}]}.'), "can not be read"),
        (package_file(b'{<<"requirements">>,true}.'), "can not be read"),
    ],
)
def test_any_other_file_is_refused_and_says_why(content: bytes, message: str) -> None:
    with pytest.raises(TarballError, match=message):
        read(content)


def test_terms_of_erlang_are_read() -> None:
    text = r'{<<"a">>, [1, -2, true, nil, <<>>, <<"\x{e9}\x41\101\n\"é"/utf8>>]}. % and so on'
    assert erlang_text.read(text) == {"a": [1, -2, True, None, "", 'éAA\n"é']}
    assert erlang_text.read("") == {}


@pytest.mark.parametrize(
    "text",
    ['{<<"a">>,1}', '{<<"a">>,', "[", "1.", "{a,1}.", '{<<"a">>,1}}.', "{<<1>>,1}.",
     '{<<"a">>,' + "[" * 5000 + "]" * 5000 + "}.", r'{<<"\x{ffffff}">>,1}.'],
)  # fmt: skip
def test_terms_that_metadata_does_not_hold_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"missing|no term|not every term|deep|no character"):
        erlang_text.read(text)
