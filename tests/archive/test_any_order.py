"""An archive in another order than ours is the same archive; one in ours is read without a look at
each name."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.archive.records import FILE_TYPES, KINDS
from hexhub_backup.archive.rules.strict_json import dumps, write_rows
from tests.support.archives import ROWS, check, codes, ours, pack

BACKWARDS: dict[str, bytes | None] = {
    kind.member: b"".join(write_rows(map(dumps, reversed(ROWS[kind])))) for kind in KINDS
}
# What is filled only where names have to be looked for.
LOOKED_UP = ("sums", "expected")


def found(path: Path, members: dict[str, bytes]) -> list[Any]:
    """What a restore asks of an archive of the members."""
    path.write_bytes(pack(members))
    with check(path) as reader:
        records = [list(reader.records(kind)) for kind in KINDS]
        files = [
            (n, entry.member, entry.size, entry.sha256)
            for file_type in FILE_TYPES
            for n, entry in reader.files(file_type)
        ]
        return [records, files, list(reader.warnings())]


def looked_up(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path.with_suffix(".index"))) as index:
        return {
            name: index.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in LOOKED_UP
        }


def test_ours_needs_no_look_at_each_name(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    found(path, ours())
    assert looked_up(path) == dict.fromkeys(LOOKED_UP, 0)


@pytest.mark.parametrize(
    "members",
    [dict(reversed(ours().items())), ours(BACKWARDS), dict(sorted(ours().items()))],
    ids=["members backwards", "rows backwards", "members by name"],
)
def test_another_order_is_the_same_archive(tmp_path: Path, members: dict[str, bytes]) -> None:
    path = tmp_path / "a.tar"
    expected = found(path, ours())
    assert found(path, members) == expected


def test_what_comes_behind_the_checksums_is_held_against_them(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(pack(ours() | {"docs/a-1.0.0-rc.1+exp.sha.tar.gz": b"new"}))
    assert "bad_checksums" in codes(path)


def test_a_missing_file_is_told_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    members = ours({"docs/jason-1.4.0.tar.gz": None})
    expected = found(path, members)
    assert [each.code for each in expected[2]] == ["missing_docs_file"]
    assert found(path, dict(reversed(members.items()))) == expected
