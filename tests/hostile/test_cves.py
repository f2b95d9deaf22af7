"""The attacks that Python's tarfile fell for, each in the shape in which it became known."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from hexhub_backup.archive.reading import reader
from hexhub_backup.archive.rules import tar
from tests.hostile.archives import BASES, HEXHUB, Base
from tests.hostile.arena import TARGET, Arena
from tests.hostile.variants import (
    FILE,
    USERS,
    Variant,
    before_the_end,
    extended,
    header_of,
    pax,
    put,
)
from tests.support.archives import member

CVES = (
    "CVE-2007-4559",
    "CVE-2019-20907",
    "CVE-2024-6232",
    "CVE-2024-12718",
    "CVE-2025-4138",
    "CVE-2025-4330",
    "CVE-2025-4435",
    "CVE-2025-4517",
    "CVE-2025-8194",
)


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    # Whatever of it loops is ended after so many seconds.
    made = Arena(tmp_path_factory.mktemp("arena"), seconds=60)
    yield made
    made.close()


@pytest.fixture(params=[*BASES])
def base(request: pytest.FixtureRequest) -> Base:
    return BASES[request.param]


def refused(arena: Arena, base: Base, data: bytes) -> tuple[str, ...]:
    """The codes with which an archive is refused, after nothing at all was changed."""
    with arena.entered():
        outcome = arena.run(Variant("CVE", "", data, "refused", base.tar))
    assert outcome.result == "refused", outcome.why
    return outcome.codes


def link(name: bytes, target: bytes, type_: bytes = b"2") -> bytes:
    return put(tar.block(name, 0, type_), 157, target)


def test_all_nine_are_told_of_and_tested() -> None:
    documented = set(re.findall(r"CVE-\d+-\d+", str(reader.__doc__)))
    assert set(CVES) <= documented
    for cve in CVES:
        name = f"test_{cve.lower().replace('-', '_')}"
        assert [test for test in globals() if test.startswith(name)], cve


@pytest.mark.parametrize(
    "name", ["../here/canary", "/tmp/hexhub_backup_hostile_target", "a/../../b"]
)
def test_cve_2007_4559_a_name_that_leaves_its_place(arena: Arena, base: Base, name: str) -> None:
    """extractall() wrote where a member's name led: upwards, or to an absolute path."""
    assert refused(arena, base, before_the_end(base, member(name, b"pwned"))) == ("unsafe_name",)
    assert not TARGET.exists()


def test_cve_2019_20907_a_pax_record_of_length_0(arena: Arena, base: Base) -> None:
    """_proc_pax() went on by a record's length: by nothing, for ever."""
    before, header, after = header_of(base, FILE)
    data = before + extended(b"x", b"0 path=a\n") + header + after
    assert refused(arena, base, data) == ("bad_header",)


def test_cve_2024_6232_a_header_on_which_a_regular_expression_backtracks(
    arena: Arena, base: Base
) -> None:
    """tarfile looked for `(\\d+) ([^=]+)=` and for hdrcharset with patterns that were tried from
    every digit on: quadratic in the header. Ours is cut by its lengths, in one pass."""
    before, header, after = header_of(base, FILE)
    shapes = (b"1" * 65_000, b"1 " * 32_000, b"1 a" * 21_000, b"1" * 32_000 + b" " * 32_000)
    started = time.thread_time()
    for payload in (*shapes, b" hdrcharset" * 5900):
        data = before + extended(b"x", payload) + header + after
        assert refused(arena, base, data) == ("bad_header",)
    # tarfile took minutes of processor time for one of them.
    assert time.thread_time() - started < 10


def test_cve_2024_12718_modes_and_times_of_what_lies_outside(arena: Arena, base: Base) -> None:
    """The data filter let a link's metadata be set on what it leads to, outside."""
    harmful = put(link(b"packages/x.tar.gz", b"../../here/canary"), 100, b"0007777\0")
    again = put(tar.block(b"packages/x.tar.gz", 0, b"5"), 100, b"0007777\0")
    canary = arena.root / "here" / "canary"
    before = canary.stat()
    assert refused(arena, base, before_the_end(base, harmful + again)) == ("unsupported_member",)
    after = canary.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_cve_2025_4138_a_link_that_leads_out(arena: Arena, base: Base) -> None:
    """A link whose target seemed to lie inside, as it was made by way of another link."""
    data = link(b"packages/in", b"docs") + link(b"packages/in/out", b"../../here")
    more = data + member("packages/in/out/canary", b"pwned")
    assert refused(arena, base, before_the_end(base, more)) == ("unsupported_member",)


def test_cve_2025_4330_a_file_through_a_link(arena: Arena, base: Base) -> None:
    """A hard link to a link, through which a file was written outside."""
    chain = link(b"escape", b"../here") + link(b"packages/hard", b"escape", b"1")
    more = chain + member("packages/hard/canary", b"pwned")
    assert refused(arena, base, more + base.tar) == ("unsupported_member",)


def test_cve_2025_4435_what_was_refused_is_not_restored_all_the_same(
    arena: Arena, base: Base
) -> None:
    """With errorlevel 0 members that the filter had refused were extracted. Here one bad member
    is the end of all of them, also where the good ones come before it."""
    data = before_the_end(base, link(b"docs/link.tar.gz", b"jason-1.4.0.tar.gz"))
    assert refused(arena, base, data) == ("unsupported_member",)


def test_cve_2025_4517_links_in_a_path_longer_than_realpath_takes(arena: Arena, base: Base) -> None:
    """A chain of links whose real path is longer than PATH_MAX, so that realpath() gave up and
    the filter took what it had found so far for the whole."""
    folder = b"d" * 240
    steps = b""
    path = b""
    for letter in b"abcdefghijklmnop":
        steps += pax((b"path", path + folder)) + tar.block(b"", 0, b"5")
        steps += pax((b"path", path + bytes([letter])), (b"linkpath", folder)) + link(b"", b"")
        path += bytes([letter]) + b"/"
    long = path + b"l" * 254
    steps += pax((b"path", long), (b"linkpath", b"../" * 16)) + link(b"", b"")
    steps += pax((b"path", b"escape"), (b"linkpath", long + b"/../../here")) + link(b"", b"")
    more = steps + member("escape/canary", b"pwned")
    assert refused(arena, base, more + base.tar) == ("unsupported_member",)


@pytest.mark.parametrize("size", [-512, -1, -1024, -(2**63), -(2**80)])
def test_cve_2025_8194_a_negative_size(arena: Arena, base: Base, size: int) -> None:
    """A size below zero in base-256 sent the reader back, to read the same header again."""
    for name in (USERS, FILE):
        before, header, after = header_of(base, name)
        field = size.to_bytes(12, "big", signed=True)
        assert refused(arena, base, before + put(header, 124, field) + after) == ("bad_header",)
    told = extended(b"x", tar._pax_record(b"size", b"%d" % size))
    assert refused(arena, base, told + base.tar) == ("bad_header",)


def test_sizes_of_pax_and_ustar_that_disagree_smuggle_nothing(arena: Arena) -> None:
    """CVE-2025-62518, of another reader: the header says 0, pax says the size of an archive that
    lies in there. Who believes the header reads that one, who believes pax this one."""
    inner = tar.pack("users.json", 2) + b"[]".ljust(512, b"\0")
    before, header, after = header_of(HEXHUB, FILE)
    outer = pax((b"size", b"%d" % len(inner))) + put(header, 124, b"0" * 11 + b"\0") + inner
    size = len(HEXHUB.members[FILE])
    data = before + outer + after[size + tar.padding(size) :]
    assert refused(arena, HEXHUB, data) == ("bad_header",)
