"""The reader and bytes that a machine thinks up: refused with a code, or read as tarfile reads it.

What once was found is in `tests/fixtures/hostile`, one file each, and is tried again every time.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hexhub_backup.archive.reading.reader import ArchiveReader
from hexhub_backup.archive.records import KINDS
from hexhub_backup.archive.rules import tar
from hexhub_backup.archive.source import FileSource
from hexhub_backup.errors import FAULT_CODES, ArchiveError
from tests.hostile import oracle
from tests.hostile.archives import HEXHUB, OURS
from tests.hostile.variants import extended, headers, sealed
from tests.support.archives import pack, padded

KEPT = Path(__file__).parents[1] / "fixtures" / "hostile"
FUZZ = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
MORE = settings(FUZZ, max_examples=250)


def judge(folder: Path, data: bytes) -> str | None:
    """The first code of an archive that is refused; one that is read is what tarfile reads."""
    path = folder / "fuzzed.tar"
    path.write_bytes(data)
    refusal: ArchiveError | None = None
    try:
        with ArchiveReader(FileSource(path), folder / "index") as reader:
            passed: list[int] = []
            reader.read_members(passed.append)
            reader.check_manifest()
            reader.check_files(passed.append)
            assert sum(passed) == len(data)
            found = {kind.name: [row for _, row in reader.records(kind)] for kind in KINDS}
            blocked = {kind.name: {each.key for each in reader.left_out(kind)} for kind in KINDS}
    except ArchiveError as error:
        refusal = error
    if refusal is not None:
        assert 0 < len(refusal.faults) <= 100
        assert {fault.code for fault in refusal.faults} <= FAULT_CODES.keys()
        assert str(refusal).isprintable()
        return refusal.faults[0].code
    try:
        registry, _ = oracle.read(data)
    except (tarfile.ReadError, UnicodeDecodeError):
        # It wants sense of fields that nobody uses, and text in a `hdrcharset`.
        return None
    told = {
        name: sorted(item for item in records.items() if item[0] not in blocked[name])
        for name, records in registry.items()
    }
    assert {
        name: [(tuple(row[key] for key in oracle.KEYS[name]), row) for row in rows]
        for name, rows in found.items()
    } == told
    return None


@pytest.mark.parametrize("path", sorted(KEPT.iterdir()), ids=lambda path: path.name)
def test_what_was_found_once_is_refused(tmp_path: Path, path: Path) -> None:
    """The name of the file begins with the code."""
    assert judge(tmp_path, path.read_bytes()) == path.name.partition("-")[0]


@MORE
@given(st.sampled_from([OURS.tar, HEXHUB.tar]), st.data())
def test_bytes(tmp_path: Path, original: bytes, data: st.DataObject) -> None:
    hostile = bytearray(original)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(hostile) - 1))
        much = data.draw(st.sampled_from([0, 1, 2, 12, 512]))
        hostile[at : at + much] = data.draw(st.binary(max_size=16))
    judge(tmp_path, bytes(hostile))


@MORE
@given(st.sampled_from([OURS.tar, HEXHUB.tar]), st.data())
def test_headers(tmp_path: Path, original: bytes, data: st.DataObject) -> None:
    """Fields of headers, with checksums that are right again."""
    hostile = bytearray(original)
    for at in data.draw(st.lists(st.sampled_from(headers(original)), min_size=1, max_size=3)):
        place, length = data.draw(
            st.sampled_from(
                [
                    *((0, 100), (124, 12), (125, 1), (135, 1), (156, 1), (157, 100)),
                    *((257, 8), (263, 2), (345, 155)),
                ]
            )
        )
        value = data.draw(
            st.binary(max_size=length)
            | st.sampled_from([b"\x80", b"\xff" * 12, b"../x", b"/x", b"00000001000\0", b"5", b"x"])
        )[:length]
        hostile[at + place : at + place + len(value)] = value
        hostile[at : at + tar.BLOCK] = sealed(bytes(hostile[at : at + tar.BLOCK]))
    judge(tmp_path, bytes(hostile))


_RECORD = st.builds(
    lambda key, value, off: b"%d %b=%b\n" % (len(key) + len(value) + 5 + off, key, value),
    st.sampled_from([b"path", b"size", b"mtime", b"GNU.sparse.size", b"hdrcharset", b"x"]),
    st.sampled_from([b"users.json", b"../x", b"", b"0", b"-1", b"5", b"\0", b"9" * 30])
    | st.binary(max_size=20),
    st.sampled_from([0, 0, 0, 1, -1]),
)


@FUZZ
@given(st.data())
def test_extended_headers(tmp_path: Path, data: st.DataObject) -> None:
    hostile = b""
    for name, content in HEXHUB.members.items():
        for _ in range(data.draw(st.integers(0, 10)) // 10):
            type_ = data.draw(st.sampled_from([b"x", b"g", b"L", b"K"]))
            payload = b"".join(data.draw(st.lists(_RECORD, max_size=3)))
            hostile += extended(type_, payload or data.draw(st.binary(max_size=40)))
        hostile += tar.pack(name, len(content)) + padded(content)
    judge(tmp_path, hostile + tar.END)


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.integers(-(10**401), 10**401)
    | st.sampled_from([1 - 10**400, -(10**400), 10**400 - 1, 10**400])
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@FUZZ
@given(st.sampled_from([OURS, HEXHUB]), st.data())
def test_records(tmp_path: Path, base: Any, data: st.DataObject) -> None:
    """Any values in any fields, in archives that hold together otherwise."""
    from tests.hostile.archives import KINDS as MEMBERS
    from tests.hostile.archives import encoded

    rows = {kind: [dict(row) for row in found] for kind, found in base.rows.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from([*rows]))
        row = data.draw(st.sampled_from(rows[kind]))
        row[data.draw(st.sampled_from([*row, "other"]))] = data.draw(_VALUES)
    try:
        changes = {MEMBERS[kind]: encoded(found) for kind, found in rows.items()}
    except UnicodeEncodeError:
        return
    judge(tmp_path, pack(base.sealed(changes, rows)))
