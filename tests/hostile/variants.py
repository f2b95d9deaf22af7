"""Hostile variants of valid archives: many families, each made the same way every time.

What a variant has to come to is said where it is known by construction: `refused`, or `same` as
the archive that it was made of. Of all others only their own words are known, so that they may
be refused, or restored as exactly what they say (see `oracle`).
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from hexhub_backup.archive.rules import tar
from tests.hostile.archives import BASES, HEXHUB, MANIFEST, OURS, REAL, SUMS, Base
from tests.support.archives import member, pack, padded

Expect = Literal["refused", "same", "any"]

BLOCK = 512
USERS = "users.json"
FILE = "packages/jason-1.4.0.tar.gz"
OTHER_FILE = "docs/jason-1.4.0.tar.gz"


@dataclass(frozen=True)
class Variant:
    """`original` is the archive that it was made of."""

    family: str
    name: str
    data: bytes
    expect: Expect
    original: bytes


#: `(name, data, expect)` for each variant of one base.
Made = Iterator[tuple[str, bytes, Expect]]
_FAMILIES: dict[str, Callable[[Base, random.Random], Made]] = {}


def family(name: str) -> Callable[[Callable[[Base, random.Random], Made]], None]:
    def register(make: Callable[[Base, random.Random], Made]) -> None:
        _FAMILIES[name] = make

    return register


def variants() -> Iterator[Variant]:
    """All of them, in one order."""
    # They register themselves.
    from tests.hostile import contents  # noqa: F401

    for name, make in _FAMILIES.items():
        for base in BASES.values():
            # One of its own for each, so that one family does not change the others.
            chance = random.Random(f"{name} {base.name}")
            for number, (variant, data, expect) in enumerate(make(base, chance), start=1):
                yield Variant(name, f"{base.name} {number}: {variant}", data, expect, base.tar)
    for size in range(0, len(REAL), BLOCK):
        yield Variant("prefix", f"HexHub's own: {size} bytes", REAL[:size], "refused", REAL)


# -- pieces ------------------------------------------------------------------------------------


def sealed(header: bytes) -> bytes:
    """The header with a checksum that is right again."""
    header = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


def put(header: bytes, at: int, field: bytes) -> bytes:
    return sealed(header[:at] + field + header[at + len(field) :])


def extended(type_: bytes, payload: bytes) -> bytes:
    return tar.block(b"././@PaxHeader", len(payload), type_) + padded(payload)


def pax(*records: tuple[bytes, bytes]) -> bytes:
    return extended(b"x", b"".join(tar._pax_record(*record) for record in records))


def headers(data: bytes) -> list[int]:
    """Where the headers of a plain archive are."""
    found = [member.offset - BLOCK for member in tar.walk(_reads(data), len(data))]
    assert all(data[at + 257 : at + 262] == b"ustar" for at in found)
    return found


def _reads(data: bytes) -> Callable[[int, int], bytes]:
    return lambda at, length: data[at : at + length]


def header_of(base: Base, name: str) -> tuple[bytes, bytes, bytes]:
    """What is before the header of a member, the header, and what is behind it."""
    at = base.tar.index(tar.block(name.encode(), len(base.members[name])))
    return base.tar[:at], base.tar[at : at + BLOCK], base.tar[at + BLOCK :]


def before_the_end(base: Base, more: bytes) -> bytes:
    return base.tar[: -len(tar.END)] + more + tar.END


# -- headers -----------------------------------------------------------------------------------

_FIELDS = {
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "devmajor": (329, 8),
    "devminor": (337, 8),
}


def _numbers(length: int) -> dict[str, bytes]:
    return {
        "empty": bytes(length),
        "blanks": b" " * length,
        "zero": b"0" * (length - 1) + b"\0",
        "one": b"0" * (length - 2) + b"1\0",
        "all sevens": b"7" * (length - 1) + b"\0",
        "no terminator": b"7" * length,
        "a minus": b"-" + b"0" * (length - 3) + b"1\0",
        "a plus": b"+" + b"0" * (length - 3) + b"1\0",
        "an eight": b"0" * (length - 2) + b"8\0",
        "hexadecimal": b"0x1f".ljust(length, b"\0"),
        "an underscore": b"1_0".ljust(length, b"\0"),
        "a digit of Unicode": "١".encode().ljust(length, b"\0"),
        "a NUL within": b"1\x001".ljust(length, b"\0"),
        "a line break": b"\n1".ljust(length, b"\0"),
        "base-256 of 0": b"\x80" + bytes(length - 1),
        "base-256 of -1": b"\xff" * length,
        "base-256 of a large negative": b"\xff" + b"\x80" + bytes(length - 2),
        "base-256 of 2**63": b"\x80"
        + (2 ** (8 * min(length - 1, 8) - 1)).to_bytes(length - 1, "big"),
        "base-256 of its most": b"\x80" + b"\xff" * (length - 1),
        "base-256 with more bits": b"\xc0" + bytes(length - 1),
        "noise": random.Random(length).randbytes(length),
    }


@family("header: numbers")
def _header_numbers(base: Base, _: random.Random) -> Made:
    for name, fields in ((USERS, ("size", "mode")), (FILE, _FIELDS)):
        before, header, after = header_of(base, name)
        for field in fields:
            at, length = _FIELDS[field]
            for what, value in _numbers(length).items():
                # Nothing but the size has a meaning to a restore.
                expect: Expect = "refused" if field == "size" else "same"
                data = before + put(header, at, value) + after
                yield f"{field} of {name} is {what}", data, expect


@family("header: base-256")
def _header_base_256(base: Base, chance: random.Random) -> Made:
    before, header, after = header_of(base, FILE)
    size = len(base.members[FILE])
    right = b"\x80" + size.to_bytes(11, "big")
    yield "the right size", before + put(header, 124, right) + after, "same"
    for wrong in (size + 1, size - 1, size + 512, size - 512, 2**32 + size, 2**64 + size, 2**87):
        field = b"\x80" + wrong.to_bytes(11, "big")
        # A zero of the padding more is a file of that size, where no sum says otherwise.
        expect: Expect = "any" if wrong == size + 1 and not base.strict else "refused"
        yield f"{wrong}", before + put(header, 124, field) + after, expect
    for number in (-1, -512, -513, -size, -(2**31), -(2**63), -(2**80), -len(before) - 512):
        field = number.to_bytes(12, "big", signed=True)
        yield f"{number}", before + put(header, 124, field) + after, "refused"
    for _ in range(12):
        field = bytes([chance.randrange(128, 256)]) + chance.randbytes(11)
        yield f"{field.hex()}", before + put(header, 124, field) + after, "refused"


@family("header: sizes")
def _header_sizes(base: Base, chance: random.Random) -> Made:
    for name in (USERS, FILE, OTHER_FILE, MANIFEST):
        before, header, after = header_of(base, name)
        size = len(base.members[name])
        wrong = {size + 1, size - 1, size + 512, size - 512, 0, 2 * size, 8**11 - 1, len(base.tar)}
        wrong |= {chance.randrange(4 * size) for _ in range(4)}
        for number in sorted(wrong - {size}):
            if number >= 0:
                # Of an archive without sums, a file that lost its end is what it says it is.
                data = before + put(header, 124, b"%011o\0" % number) + after
                yield f"{name} of {number} bytes", data, "refused" if base.strict else "any"


@family("header: checksum")
def _header_checksum(base: Base, chance: random.Random) -> Made:
    before, header, after = header_of(base, FILE)
    right = int(header[148:154], 8)
    for at in (*range(0, 148, 9), *range(156, 512, 20)):
        flipped = header[:at] + bytes([header[at] ^ 1 << chance.randrange(8)]) + header[at + 1 :]
        yield f"a bit in byte {at}", before + flipped + after, "refused"
    for field in (
        bytes(8),
        b" " * 8,
        b"%06o\0 " % (right + 1),
        b"%06o\0 " % (right - 1),
        b"%06x\0 " % right,
        b"-%05o\0 " % right,
        b"\x80" + right.to_bytes(7, "big"),
        b"\xff" * 8,
        b"%06o\0 " % sum(b - 256 if b > 127 else b for b in header.ljust(512) + b"\xff"),
    ):
        wrong = header[:148] + field + header[156:]
        yield f"{field!r}", before + wrong + after, "refused"
    for field in (b"%06o\0 ", b"%06o \0", b"%07o\0", b"%08o", b"  %o\0\0"):
        told = (field % right).ljust(8, b"\0")[:8]
        same = header[:148] + told + header[156:]
        yield f"right, as {field!r}", before + same + after, "same"


@family("header: magic")
def _header_magic(base: Base, _: random.Random) -> Made:
    before, header, after = header_of(base, FILE)
    for magic in (
        bytes(8),
        b"ustar\x0001",
        b"ustar   ",
        b"ustar\0  ",
        b"USTAR\x0000",
        b"GNUtar \0",
        b"ustar  1",
        b"\0ustar00",
        b"tar\0\0\0\0\0",
        b"PK\x03\x04\0\0\0\0",
    ):
        yield f"{magic!r}", before + put(header, 257, magic) + after, "refused"
    yield "GNU's", before + put(header, 257, b"ustar  \0") + after, "same"


@family("header: type")
def _header_type(base: Base, _: random.Random) -> Made:
    for name in (USERS, FILE):
        before, header, after = header_of(base, name)
        for number in range(256):
            type_ = bytes([number])
            expect: Expect = "same" if type_ in (b"0", b"\0") else "refused"
            yield f"{type_!r} for {name}", before + put(header, 156, type_) + after, expect


@family("links and devices")
def _links(base: Base, _: random.Random) -> Made:
    targets = (b"/etc/passwd", b"../../../etc", b"../here/canary", b".", b"users.json", b"")
    for type_ in b"123467DMNSVK":
        for target in targets:
            link = put(tar.block(b"packages/link", 0, bytes([type_])), 157, target)
            through = member("packages/link/x.tar.gz", b"x")
            yield f"{chr(type_)} to {target!r}", link + base.tar, "refused"
            yield (
                f"{chr(type_)} to {target!r}, and a file through it",
                before_the_end(base, link + through),
                "refused",
            )


# -- names -------------------------------------------------------------------------------------

_LEAVING = [
    b"/etc/passwd",
    b"//etc/passwd",
    b"/tmp/hexhub_backup_hostile_target",
    b"../canary",
    b"../here/canary",
    b"../../canary",
    b"packages/../../canary",
    b"packages/../users.json",
    b"packages/..",
    b"..",
    b".",
    b"./.",
    b"./../canary",
    b"././users.json",
    b".//users.json",
    b"./",
    b"/",
    b"packages/",
    b"packages//a-1.tar.gz",
    b"packages/./a-1.tar.gz",
    b"packages/a/../../a.tar.gz",
    b"..\\canary",
    b"packages\\a-1.tar.gz",
    b"C:\\canary",
    b"\\\\host\\share",
    b"a\nb",
    b"a\rb",
    b"a\tb",
    b"a\x1b[31mb",
    b"a\x7fb",
    b"\x01",
    b"\xff",
    b"a\xc0\xaf..",
    b"\xed\xa0\x80",
    "a\u0085b".encode(),
    "a\u009bb".encode(),
    "a\u2028b".encode(),
    "a\u2029b".encode(),
]
_COLLIDING = {
    b"users.json": b"users.json",
    b"./users.json": b"users.json",
    b"USERS.JSON": b"users.json",
    b"Users.json": b"users.json",
    "uſers.json".encode(): b"users.json",
    b"PACKAGES/metadata.json": b"packages/metadata.json",
    b"Manifest.json": b"manifest.json",
    b"PACKAGES/jason-1.4.0.tar.gz": b"packages/jason-1.4.0.tar.gz",
    b"packages/jason-1.4.0.tar.gz/a": b"packages/jason-1.4.0.tar.gz",
    b"packages/jason-1.4.0.tar.gz/x-1.tar.gz": b"packages/jason-1.4.0.tar.gz",
    b"docs/jason-1.4.0.TAR.GZ": b"docs/jason-1.4.0.tar.gz",
}


def _carriers(name: bytes, data: bytes = b"x") -> Iterator[tuple[str, bytes]]:
    """A member of that name, in each way to tell it."""
    header, body = tar.block(b"", len(data)), padded(data)
    if len(name) <= 100:
        yield "ustar", tar.block(name, len(data)) + body
    folder, slash, last = name.rpartition(b"/")
    if slash and folder and last and len(folder) < 155:
        yield "prefix", put(tar.block(last, len(data)), 345, folder) + body
    yield "pax", pax((b"path", name)) + header + body
    yield "GNU", extended(b"L", name + b"\0") + put(header, 257, b"ustar  \0") + body


@family("names")
def _names(base: Base, _: random.Random) -> Made:
    for name in _LEAVING:
        for carrier, more in _carriers(name):
            yield f"{name!r} by {carrier}", before_the_end(base, more), "refused"
            yield f"{name!r} by {carrier}, first", more + base.tar, "refused"
        directory = tar.block(name.rstrip(b"/") + b"/", 0, b"5")
        # That is what `tar -C folder .` writes.
        harmless = name in (b".", b"./", b"packages/")
        yield f"directory {name!r}", directory + base.tar, "same" if harmless else "refused"
    for name in (b"a" * 256, b"packages/" + b"a" * 300 + b".tar.gz", "é".encode() * 200):
        for carrier, more in _carriers(name):
            yield f"{len(name)} bytes by {carrier}", before_the_end(base, more), "refused"
    for number in (*range(1, 32), 92, 127):
        more = b"".join(dict(_carriers(b"packages/a%cb.tar.gz" % number))["pax"] for _ in "1")
        yield f"character {number}", before_the_end(base, more), "refused"
    for name in (b"a\0b", b"users.json\0.tar.gz", b"\0"):
        yield f"{name!r}", before_the_end(base, dict(_carriers(name))["pax"]), "refused"


@family("names that collide")
def _collisions(base: Base, _: random.Random) -> Made:
    for name, with_ in _COLLIDING.items():
        for carrier, more in _carriers(name, base.members[with_.decode()]):
            yield f"{name!r} by {carrier}, at the end", before_the_end(base, more), "refused"
            yield f"{name!r} by {carrier}, first", more + base.tar, "refused"
    for one, other in (("é", "e\u0301"), ("ﬀ", "ff"), ("ß", "SS"), ("Σ", "ς"), ("K", "k")):
        pair = member(one, b"1") + member(other, b"2")
        yield f"{one} and {other}", before_the_end(base, pair), "refused"
    for folder in (
        *("users.json", "packages/jason-1.4.0.tar.gz", "Packages/Metadata.json"),
        *("users.json/a", "packages/jason-1.4.0.tar.gz/a/b"),
    ):
        directory = tar.block(f"{folder}/".encode(), 0, b"5")
        yield f"directory {folder}", directory + base.tar, "refused"


# -- extended headers --------------------------------------------------------------------------


def _lies(name: bytes, size: int) -> dict[str, bytes]:
    """Payloads of a pax header before a member of this name and size."""
    record = tar._pax_record
    return {
        "no bytes": b"",
        "length 0": b"0 path=a\n",
        "length 00": b"00 path=a\n",
        "length -1": b"-1 path=a\n",
        "length 1": b"1 path=a\n",
        "length too small": b"9 path=a\n",
        "length too large": b"11 path=a\n",
        "length far too large": b"9999999 path=a\n",
        "length of 60,000 digits": b"1" * 60_000 + b" path=a\n",
        "length of other digits": "²0 path=a\n".encode(),
        "no blank": b"9path=ab\n",
        "no key": b"6 =ab\n",
        "no equals sign": b"8 patha\n",
        "no line break": b"9 path=ab",
        "a NUL instead": b"9 path=a\0",
        "only a line break": b"\n",
        "bytes behind": record(b"mtime", b"1") + b"x",
        "NULs behind": record(b"mtime", b"1") + bytes(20),
        "noise": random.Random(1).randbytes(300),
        "backtracking": b"0" * 20_000 + b" " * 20_000,
        "path twice": record(b"path", name) * 2,
        "two paths": record(b"path", name) + record(b"path", b"other"),
        "empty path": record(b"path", b""),
        "path that is not UTF-8": record(b"path", b"\xff\xfe"),
        "path of another member": record(b"path", b"owners.json"),
        "path of no member": record(b"path", b"README"),
        "path that leaves": record(b"path", b"../canary"),
        "path with a NUL": record(b"path", name + b"\0"),
        "path with another folder": record(b"path", b"docs/" + b"y" * 110 + b".tar.gz"),
        "size twice": record(b"size", b"%d" % size) * 2,
        "size empty": record(b"size", b""),
        "size that is negative": record(b"size", b"-512"),
        "size that is no number": record(b"size", b"1e3"),
        "size in hexadecimal": record(b"size", b"0x10"),
        "size with blanks": record(b"size", b" %d" % size),
        "size with underscores": record(b"size", b"1_0"),
        "size with a fraction": record(b"size", b"%d.0" % size),
        "size of other digits": record(b"size", "١".encode()),
        "size of 5,000 digits": record(b"size", b"9" * 5000),
        "size one more": record(b"size", b"%d" % (size + 1)),
        "size one less": record(b"size", b"%d" % (size - 1)),
        "size 0": record(b"size", b"0"),
        "size of the archive": record(b"size", b"100000"),
        "size of 1 TiB": record(b"size", b"%d" % 2**40),
        "size of 2**63": record(b"size", b"%d" % 2**63),
        "size of 2**64": record(b"size", b"%d" % 2**64),
        "sparse 0.0": record(b"GNU.sparse.size", b"5") + record(b"GNU.sparse.numblocks", b"1"),
        "sparse 0.1": record(b"GNU.sparse.map", b"0,512") + record(b"GNU.sparse.size", b"5"),
        "sparse 1.0": record(b"GNU.sparse.major", b"1") + record(b"GNU.sparse.minor", b"0"),
        "sparse name": record(b"GNU.sparse.name", b"users.json"),
        "sparse real size": record(b"GNU.sparse.realsize", b"%d" % 2**50),
        "too many bytes": record(b"comment", b"x" * 70_000),
    }


def _harmless(name: bytes, size: int) -> dict[str, bytes]:
    record = tar._pax_record
    return {
        "mtime": record(b"mtime", b"1.5"),
        "mtime that is none": record(b"mtime", b"soon"),
        "the path": record(b"path", name),
        "the size": record(b"size", b"%d" % size),
        "a comment": record(b"comment", b"\xff\0\n"),
        "60,000 bytes": record(b"comment", b"x" * 60_000),
        "a key with a blank": b"11  path=a\n",
        "4,096 records": b"".join(b"7 %03x=\n" % n for n in range(4096)),
        "a link's name": record(b"linkpath", b"/etc/passwd"),
        "an owner": record(b"uid", b"-1") + record(b"uname", b"root"),
        "charset": record(b"hdrcharset", b"BINARY"),
        "an attribute": record(b"SCHILY.xattr.security.capability", b"\1\0\0\2"),
        "an ACL": record(b"SCHILY.acl.access", b"user::rwx"),
    }


@family("pax")
def _pax_lies(base: Base, _: random.Random) -> Made:
    for name in (USERS, FILE):
        before, header, after = header_of(base, name)
        size = len(base.members[name])
        for what, payload in _lies(name.encode(), size).items():
            data = before + extended(b"x", payload) + header + after
            yield f"{what}, before {name}", data, "refused"
        for what, payload in _harmless(name.encode(), size).items():
            data = before + extended(b"x", payload) + header + after
            yield f"{what}, before {name}", data, "same"
        hidden = put(header, 124, b"%011o\0" % 0)
        data = before + pax((b"size", b"%d" % size)) + hidden + after
        yield f"a size that only pax tells, {name}", data, "refused"
        renamed = put(header, 0, b"owners.json".ljust(100, b"\0"))
        data = before + pax((b"path", name.encode())) + renamed + after
        yield f"a name that pax overrides, {name}", data, "refused"
        empty = put(header, 0, bytes(100))
        data = before + pax((b"path", name.encode())) + empty + after
        yield f"a name that only pax tells, {name}", data, "same"
    for size in (0, 1, 511, 513, 65537, 2**20, 2**33 - 1, 2**40, 2**62):
        declared = tar.block(b"x", size, b"x")
        yield f"declared to be {size} bytes", declared + base.tar, "refused"
        declared = tar.block(b"x", size, b"g")
        yield f"global, declared to be {size} bytes", declared + base.tar, "refused"


@family("global pax")
def _global(base: Base, _: random.Random) -> Made:
    record = tar._pax_record
    for what, payload, expect in (
        ("comment", record(b"comment", b"hi"), "same"),
        ("mtime", record(b"mtime", b"1"), "same"),
        ("path", record(b"path", b"users.json"), "refused"),
        ("size", record(b"size", b"5"), "refused"),
        ("size 0", record(b"size", b"0"), "refused"),
        ("path and comment", record(b"comment", b"") + record(b"path", b"a"), "refused"),
        ("sparse", record(b"GNU.sparse.size", b"5"), "refused"),
        ("nothing", b"", "refused"),
        ("a link's name", record(b"linkpath", b"/etc"), "same"),
    ):
        header = extended(b"g", payload)
        made: Expect = "same" if expect == "same" else "refused"
        yield what, header + base.tar, made
        yield f"{what}, 50 times", header * 50 + base.tar, made
        before, at, after = header_of(base, FILE)
        yield f"{what}, in between", before + header + at + after, made
        yield (
            f"{what}, between pax and its file",
            (before + pax((b"mtime", b"1")) + header + at + after),
            "refused",
        )


@family("GNU long names")
def _gnu(base: Base, _: random.Random) -> Made:
    before, header, after = header_of(base, FILE)
    name = FILE.encode()
    right = extended(b"L", name + b"\0")
    for count in (2, 3, 100, 5000):
        yield f"L {count} times", before + right * count + header + after, "refused"
        link = extended(b"K", b"/etc/passwd\0")
        yield f"K {count} times", before + link * count + header + after, "refused"
        both = (right + link) * count
        yield f"L and K {count} times", before + both + header + after, "refused"
        mixed = (right + pax((b"path", name))) * count
        yield f"L and x {count} times", before + mixed + header + after, "refused"
    for what, payload in {
        "no bytes": b"",
        "only a NUL": b"\0",
        "a NUL within": b"packages/a\0b.tar.gz\0",
        "another member": b"users.json\0",
        "no member": b"README\0",
        "not UTF-8": b"\xff\xfe\0",
        "that leaves": b"../canary\0",
        "absolute": b"/tmp/hexhub_backup_hostile_target\0",
        "of 60,000 bytes": b"a" * 60_000 + b"\0",
        "of 70,000 bytes": b"a" * 70_000 + b"\0",
        "of 60,000 folders": b"a/" * 30_000 + b"a\0",
    }.items():
        data = before + extended(b"L", payload) + header + after
        yield f"L {what}", data, "refused"
    yield "L, the right one", before + right + header + after, "same"
    yield "L without a NUL", before + extended(b"L", name) + header + after, "same"
    yield "L at the end", before_the_end(base, right), "refused"
    yield "L of 1 TiB", before + tar.block(b"x", 2**40, b"L") + header + after, "refused"


@family("sparse")
def _sparse(base: Base, _: random.Random) -> Made:
    before, header, after = header_of(base, FILE)
    size = len(base.members[FILE])
    for real in (0, size, 2**33 - 1):
        old = put(put(header, 156, b"S"), 386, b"%011o\0%011o\0" % (0, size))
        old = put(old, 483, b"%011o\0" % real)
        yield f"old, {real} bytes", before + old + after, "refused"
        yield f"old, extended, {real} bytes", before + put(old, 482, b"\1") + after, "refused"
        for major in (b"0", b"1"):
            told = pax(
                (b"GNU.sparse.major", major),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", FILE.encode()),
                (b"GNU.sparse.realsize", b"%d" % real),
            )
            yield f"{major!r}, {real} bytes", before + told + header + after, "refused"


# -- the file as a whole -----------------------------------------------------------------------


@family("prefix")
def _prefix(base: Base, chance: random.Random) -> Made:
    for size in range(0, len(base.tar), BLOCK):
        yield f"{size} bytes", base.tar[:size], "refused"
    for _ in range(60):
        size = chance.randrange(len(base.tar))
        yield f"{size} bytes, in a block", base.tar[:size], "refused"


@family("suffix")
def _suffix(base: Base, _: random.Random) -> Made:
    for at in range(BLOCK, len(base.tar), 2 * BLOCK):
        # It may begin with a header: then members are missing.
        yield f"from {at} on", base.tar[at:], "refused"


@family("blocks")
def _blocks(base: Base, chance: random.Random) -> Made:
    data = base.tar
    count = len(data) // BLOCK
    blocks = [data[at * BLOCK : (at + 1) * BLOCK] for at in range(count)]
    # The two at the end say the same with a third.
    for at in range(count - 2):
        without = b"".join(blocks[:at] + blocks[at + 1 :])
        yield f"without {at}", without, "refused" if base.strict else "any"
        twice = b"".join([*blocks[: at + 1], blocks[at], *blocks[at + 1 :]])
        yield f"{at} twice", twice, "refused" if base.strict else "any"
    for what, block in (("zeros", bytes(BLOCK)), ("noise", chance.randbytes(BLOCK))):
        for at in range(0, count - 2, 2):
            yield f"{what} before {at}", b"".join([*blocks[:at], block, *blocks[at:]]), "refused"
            if blocks[at] != block:
                over = b"".join([*blocks[:at], block, *blocks[at + 1 :]])
                yield f"{what} over {at}", over, "refused" if base.strict else "any"
    for _ in range(60):
        one, other = sorted(chance.sample(range(count - 2), 2))
        swapped = [*blocks]
        swapped[one], swapped[other] = swapped[other], swapped[one]
        if blocks[one] != blocks[other]:
            yield f"{one} for {other}", b"".join(swapped), "refused" if base.strict else "any"


@family("concatenated")
def _concatenated(base: Base, chance: random.Random) -> Made:
    data, bare = base.tar, base.tar[: -len(tar.END)]
    others = {"itself": data, "ours": OURS.tar, "HexHub's": HEXHUB.tar, "an empty tar": tar.END}
    for what, other in others.items():
        expect: Expect = "same" if other == tar.END else "refused"
        yield f"with {what}", data + other, expect
        yield (
            f"with {what}, without the end between",
            bare + other,
            ("same" if other == tar.END else "refused"),
        )
        # A zero tar before it is its end.
        yield f"behind {what}", other + data, "refused"
        yield (
            f"with {what}, one zero block between",
            bare + bytes(BLOCK) + other,
            ("same" if other == tar.END else "refused"),
        )
    for what, more, expect in (
        ("a byte", b"x", "refused"),
        ("a zero byte", b"\0", "same"),
        ("zeros up to 10 KiB", bytes(-len(data) % 10240), "same"),
        ("1 MiB of zeros", bytes(2**20), "same"),
        ("2 MiB of zeros and a byte", bytes(2**21) + b"x", "refused"),
        ("a block of noise", chance.randbytes(BLOCK), "refused"),
        ("a zip", b"PK\x03\x04" + bytes(26), "refused"),
        ("a member", member("docs/x-1.tar.gz", b"x"), "refused"),
        ("a line break", b"\n", "refused"),
    ):
        yield f"{what} behind", data + more, "same" if expect == "same" else "refused"
    for what, more in (
        ("a byte", b"\0"),
        ("a zero block", bytes(BLOCK)),
        ("a BOM", b"\xef\xbb\xbf"),
        ("a script", b"#!/bin/sh\n".ljust(BLOCK, b"\n")),
        ("noise", chance.randbytes(BLOCK)),
    ):
        yield f"{what} before", more + data, "refused"
    yield "without its end", bare, "refused"
    yield "with half an end", bare + bytes(BLOCK), "refused"
    yield "with an end that is short by a byte", data[:-1], "refused"
    yield "with an end that is not zero", data[:-1] + b"\1", "refused"


@family("not a tar")
def _not_a_tar(base: Base, chance: random.Random) -> Made:
    data = base.tar
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        for name, content in base.members.items():
            # By name alone it would get the time of day, and another at the next run.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    gzipped = gzip.compress(data, mtime=0)
    for what, other in {
        "nothing": b"",
        "a byte": b"\0",
        "zeros": bytes(10240),
        "half a block": data[:256],
        "noise": chance.randbytes(20_000),
        "text": b"hello " * 1000,
        "JSON": base.members[MANIFEST],
        "HTML": b"<!doctype html><title>Log in</title>".ljust(4096),
        "gzip": gzipped,
        "gzip, stored": gzip.compress(data, 0, mtime=0),
        "gzip twice": gzip.compress(gzipped, mtime=0),
        "bzip2": bz2.compress(data),
        "xz": lzma.compress(data),
        "lzma": lzma.compress(data, lzma.FORMAT_ALONE),
        "zlib": zlib.compress(data),
        "deflate": zlib.compress(data)[2:-4],
        "zip": zipped.getvalue(),
        "zip with a tar before it": data + zipped.getvalue(),
        "zstd": b"\x28\xb5\x2f\xfd" + data,
        "7z": b"7z\xbc\xaf\x27\x1c" + data,
        "lz4": b"\x04\x22\x4d\x18" + data,
        "lzip": b"LZIP\1" + data,
        "compress": b"\x1f\x9d\x90" + data,
        "rar": b"Rar!\x1a\x07\x01\0" + data,
        "ar": b"!<arch>\n" + data,
        "cpio": b"070701" + b"0" * 104 + data,
        "base64": b64encode(data),
        "upper case": data.upper(),
        "swapped bytes": b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2)),
        "backwards": data[::-1],
        "a tar in a tar": pack({"archive.tar": data}),
        "a tar in a folder": pack({f"backup/{name}": it for name, it in base.members.items()}),
        "an SQLite database": b"SQLite format 3\0".ljust(4096, b"\0"),
    }.items():
        yield what, other, "refused"


@family("flipped bytes")
def _flips(base: Base, chance: random.Random) -> Made:
    data = base.tar
    for number in range(150):
        hostile = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
            hostile[chance.randrange(len(hostile))] = chance.randrange(256)
        if hostile != data:
            yield f"number {number}", bytes(hostile), "any"


@family("flipped headers")
def _header_flips(base: Base, chance: random.Random) -> Made:
    """Bytes of headers, with a checksum that is right again."""
    data = base.tar
    places = headers(data)
    for number in range(150):
        hostile = bytearray(data)
        for at in chance.sample(places, chance.choice((1, 1, 2))):
            for _ in range(chance.choice((1, 1, 3))):
                hostile[at + chance.randrange(BLOCK)] = chance.choice(
                    (0, 32, 47, 48, 55, 128, 255, chance.randrange(256))
                )
            hostile[at : at + BLOCK] = sealed(bytes(hostile[at : at + BLOCK]))
        yield f"number {number}", bytes(hostile), "any"


# -- other ways to say the same ----------------------------------------------------------------


@family("other writers")
def _harmless_forms(base: Base, chance: random.Random) -> Made:
    """What other tars write, which has to be restored as the original is."""
    names = [*base.members]
    for number in range(6):
        order = chance.sample(names, len(names)) if number else names[::-1]
        yield f"order {number}", pack({name: base.members[name] for name in order}), "same"
    folders = b"".join(
        tar.block(name, 0, b"5") for name in (b"./", b"packages/", b"docs/", b"packages/a-b")
    )
    yield "with directories", folders + base.tar, "same"
    yield "with directories twice", folders + folders + base.tar, "same"
    yield "with directories behind", before_the_end(base, folders), "same"
    for what, format_ in (
        ("ustar", tarfile.USTAR_FORMAT),
        ("GNU", tarfile.GNU_FORMAT),
        ("pax", tarfile.PAX_FORMAT),
    ):
        for prefix in ("", "./"):
            if format_ == tarfile.USTAR_FORMAT:
                kept = {n: d for n, d in base.members.items() if len(n) < 100}
                if kept != base.members:
                    continue
            whole = io.BytesIO()
            with tarfile.open(fileobj=whole, mode="w", format=format_) as archive:
                for name, content in base.members.items():
                    info = tarfile.TarInfo(prefix + name)
                    info.size, info.mode, info.mtime = len(content), 0o100755, 1e9 + 0.5
                    info.uid = info.gid = 2**31
                    info.uname = "Björn" if format_ == tarfile.PAX_FORMAT else "root"
                    archive.addfile(info, io.BytesIO(content))
            yield f"{what} by Python, {prefix or 'plain'}", whole.getvalue(), "same"
    long = next(name for name in names if len(name) > 100)
    empty = pax((b"path", long.encode())) + tar.block(b"", len(base.members[long]))
    whole_header = tar.pack(long, len(base.members[long]))
    yield "an empty name under pax", base.tar.replace(whole_header, empty), "same"
    gnu = extended(b"L", long.encode() + b"\0") + put(
        tar.block(long.encode()[:100], len(base.members[long])), 257, b"ustar  \0"
    )
    yield "a long name of GNU", base.tar.replace(whole_header, gnu), "same"


@family("unknown members")
def _unknown(base: Base, _: random.Random) -> Made:
    # Of an archive with sums every member is known; of HexHub's others are passed over.
    expect: Expect = "refused" if base.strict else "same"
    for name in (
        "README",
        "users.json.bak",
        "packages/x.json",
        "src/a.tar.gz",
        ".hidden",
        "Packages.json",
        "packages/a.tar.gz.sig",
        "manifest.json.asc",
        "é中😀",
        "a" * 255,
        "a/" * 100 + "a",
    ):
        yield name[:40], before_the_end(base, member(name, b"hello")), expect
        changed = base.members | {name: b"hello"}
        if base.strict:
            yield f"{name[:40]}, vouched for", pack(base.sealed(changed)), "refused"
    for folder in (b"src/", b"packages/a/b/", b"users/", b"a" * 90 + b"/"):
        directory = tar.block(folder, 0, b"5")
        yield f"directory {folder[:40]!r}", directory + base.tar, expect
    if not base.strict:
        # SHA256SUMS makes it an archive that is held to everything.
        for sums in (b"", b"x\n", b"0" * 64 + b"  users.json\n"):
            yield f"with sums {sums[:8]!r}", before_the_end(base, member(SUMS, sums)), "refused"
