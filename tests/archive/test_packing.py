"""Names and sizes as real programs tell them in a tar: each of their formats is read."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hexhub_backup.archive.rules import tar
from hexhub_backup.errors import ArchiveError
from tests.support.archives import padded

#: Around the length at which each format begins to tell a name otherwise, of ASCII or not.
NAMES = [
    *(f"packages/{'x' * (length - 9)}" for length in (10, 98, 99, 100, 101, 155, 156, 200)),
    *(f"docs/a-b/a-b-{'y' * (length - 13)}" for length in (97, 98, 99, 100, 101, 157)),
    *(f"packages/{'中' * count}-1" for count in (1, 29, 30, 31, 60)),
    f"packages/{'z' * 88}é",
    f"{'folder' * 20}/{'f' * 150}",
]


def _read(data: bytes) -> list[str]:
    members = tar.walk(lambda at, count: data[at : at + count], len(data))
    return [member.name.removeprefix("./") for member in members if not member.directory]


def _formats() -> list[str]:
    """Those of the system's tar: GNU's, or libarchive's on macOS."""
    version = subprocess.run(["tar", "--version"], check=True, capture_output=True, text=True)
    return ["gnu", "oldgnu", "pax"] if "GNU" in version.stdout else ["gnutar", "pax"]


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("format_", _formats())
def test_each_name_that_the_systems_tar_packs_is_read(
    tmp_path: Path, format_: str, prefix: str
) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"content")
        packed = subprocess.run(
            ["tar", f"--format={format_}", "-C", tmp_path, "-cf", "-", prefix + name],
            check=True,
            capture_output=True,
        )
        assert _read(packed.stdout) == [name]


@pytest.mark.parametrize("prefix", ["", "./"])
@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_name_that_python_packs_is_read(format_: int, prefix: str) -> None:
    for name in NAMES:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=format_) as archive:
            info = tarfile.TarInfo(prefix + name)
            info.size = 7
            archive.addfile(info, io.BytesIO(b"content"))
        assert _read(packed.getvalue()) == [name]


def _long_name(path: bytes, header: bytes, magic: bytes) -> bytes:
    """A member named by GNU's `L` and, in its header, by another name."""
    told = tar.block(b"././@LongLink", len(path) + 1, b"L") + padded(path + b"\0")
    return told + _with(tar.block(header, 1), 257, magic) + padded(b"x") + tar.END


def _with(block: bytes, at: int, data: bytes) -> bytes:
    block = block[:at] + data + block[at + len(data) :]
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _short_names() -> Iterator[tuple[bytes, bytes]]:
    """Paths that a header could hold, and what stands in it."""
    for path in (b"a", b"packages/a-1.tar.gz", b"packages/" + b"x" * 90, b"packages/" + b"x" * 91):
        for header in (path, path[:99], b""):
            yield path, header


@pytest.mark.parametrize("magic", [b"ustar  \0", b"ustar\x0000"])
def test_a_long_name_that_is_short_is_read(magic: bytes) -> None:
    for path, header in _short_names():
        assert _read(_long_name(path, header, magic)) == [path.decode()]


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (b"packages/a-1.tar.gz", b"packages/a-1.tar"),
        (b"packages/" + b"x" * 91, b"packages/" + b"x" * 89),
        (b"packages/" + b"x" * 91, b"packages/" + b"x" * 89 + b"y"),
        (b"packages/" + b"x" * 90, b"packages/" + b"x" * 91),
        (b"f" * 120 + b"/a", b"f" * 98),
    ],
)
def test_a_long_name_beside_another_name_is_refused(path: bytes, header: bytes) -> None:
    """A reader that does not know `L` would see another member."""
    with pytest.raises(ArchiveError, match="two names"):
        _read(_long_name(path, header, b"ustar  \0"))


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513])
def test_a_small_size_may_be_told_as_a_large_one_is(size: int) -> None:
    content = padded(b"x" * size) + tar.END
    base_256 = _with(tar.block(b"a", size), 124, b"\x80" + size.to_bytes(11, "big"))
    assert _read(base_256 + content) == ["a"]
    record = b"size=%d\n" % size
    record = b"%d %b" % (len(record) + 3, record) if len(record) > 6 else b"9 " + record
    pax = tar.block(b"PaxHeader", len(record), b"x") + padded(record)
    assert _read(pax + tar.block(b"a", size) + content) == ["a"]
    assert _read(pax + base_256 + content) == ["a"]
