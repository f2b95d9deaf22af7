"""Package files as a project of mix would publish them."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from typing import Any

from examples.host_app import hex_files


def package_file(name: str = "own", version: str = "0.1.0", **metadata: Any) -> bytes:
    """One of a release, with this metadata over what is usual."""
    file = io.BytesIO()
    usual = {
        "name": name,
        "app": name,
        "version": version,
        "description": "Of our own",
        "licenses": ["MIT"],
        "links": {"Source": "https://git.example.com/own"},
        "build_tools": ["mix"],
        "elixir": "~> 1.14",
        "requirements": [
            {"name": "jason", "app": "jason", "optional": True, "requirement": "~> 1.0",
             "repository": "hexpm"},
        ],
    }  # fmt: skip
    hex_files.write_package(file, {**usual, **metadata}, {"mix.exs": version.encode()})
    return file.getvalue()


METADATA = b"""{<<"app">>,<<"own">>}.
{<<"name">>,<<"own">>}.
{<<"requirements">>,[]}.
{<<"version">>,<<"0.1.0">>}.
"""


def tar_of(members: Iterable[tarfile.TarInfo | tuple[str, bytes]]) -> bytes:
    """A tar of files, and of what else is given by its header."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def packed(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    """The contents of a package, as contents.tar.gz has them."""
    return gzip.compress(tar_of(members), mtime=0)


CONTENTS = packed(("mix.exs", b"x"))


def members_of(
    metadata: bytes = METADATA, contents: bytes = CONTENTS, version: bytes = b"3"
) -> dict[str, bytes]:
    """The members of a package file, with a CHECKSUM that fits."""
    checksum = hashlib.sha256(version + metadata + contents).hexdigest().upper().encode()
    return {
        "VERSION": version,
        "CHECKSUM": checksum,
        "metadata.config": metadata,
        "contents.tar.gz": contents,
    }


def raw_package(members: dict[str, bytes] | None = None, **other: bytes) -> bytes:
    """A package file of these members; without them, of `members_of` with what else is said."""
    return tar_of((members_of(**other) if members is None else members).items())
