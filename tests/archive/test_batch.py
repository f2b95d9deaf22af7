"""Records encoded by column are what they are one by one, and what is wrong is left to that."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexhub_backup.archive.batch import Batch
from hexhub_backup.archive.records import KINDS, PACKAGES, USERS, Kind, Record
from hexhub_backup.archive.rules.fields import check_record
from hexhub_backup.archive.rules.strict_json import StrictJSONError, dumps
from hexhub_backup.archive.writing.lines import plain_lines
from tests.support.archives import ROWS, TIME, batches, package, user


def one_by_one(kind: Kind, records: list[Record]) -> list[bytes] | None:
    try:
        lines = [dumps(record) for record in records]
    except StrictJSONError:
        return None
    return None if any(check_record(kind, record) for record in records) else lines


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


SHARED = {"é": [1, 2.5, None, True, 'a "quoted" one \\u0000']}
plain = st.text("ab-é😀\\\"'%\n\x7f", max_size=5)
wrong = st.sampled_from(
    [
        *(
            "\0",
            "\ud800",
            "\\u0000",
            "../a",
            "x" * 300,
            "2026-02-30T00:00:00.000000Z",
            TIME,
            TIME[:-1],
        ),
        *(
            2**63,
            -(2**63) - 1,
            10**400,
            -(10**400),
            10**400 - 1,
            10**5000,
            float("nan"),
            float("inf"),
            1.5,
            True,
            None,
        ),
        *({}, [], (1,), {"a": "\0"}, {"a": 10**400}, {"a": float("nan")}, SHARED, SHARED),
        *(nested("a", levels) for levels in (62, 63, 64, 65)),
        *(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc), b"bytes", {"a": {1}}),
    ]
)


@st.composite
def some_records(draw: st.DrawFn) -> tuple[Kind, list[Record]]:
    kind = draw(st.sampled_from(KINDS))
    fields = draw(st.sets(st.sampled_from([*kind.fields, "own", "of the host's: 100 %"])))
    good = {
        "text": plain | st.none(),
        "boolean": st.booleans() | st.none(),
        "integer": st.integers(1 - 10**400, 10**400 - 1) | st.none(),
        "object": st.just(SHARED) | st.dictionaries(plain, plain) | st.none(),
        "time": st.just(TIME) | st.none(),
        "any": plain | st.booleans() | st.just(SHARED),
    }
    one = st.fixed_dictionaries(
        {
            field: plain.filter(bool) if field in kind.key else good[kind.fields.get(field, "any")]
            for field in sorted({*fields, *kind.key})
        }
    )
    records = draw(st.lists(one, min_size=1, max_size=5))
    for _ in range(draw(st.integers(0, 1))):
        record = draw(st.sampled_from(records))
        record[draw(st.sampled_from(sorted(record)))] = draw(wrong)
    return kind, records


@given(some_records())
def test_a_batch_is_encoded_as_its_records_are_or_not_at_all(
    found: tuple[Kind, list[Record]],
) -> None:
    kind, records = found
    batch = Batch({name: [record[name] for record in records] for name in sorted(records[0])})
    assert len(batch) == len(records)
    same = zip(batch.records(), records, strict=True)
    assert all(one[name] is other[name] for one, other in same for name in other)
    lines = plain_lines(kind, batch)
    assert lines is None or lines == one_by_one(kind, records)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_hosts_have_is_plain(kind: Kind) -> None:
    for batch in batches(ROWS[kind]):
        lines = plain_lines(kind, batch)
        assert lines is not None
        assert lines == one_by_one(kind, list(batch.records()))


def test_objects_that_are_alike_may_be_one() -> None:
    meta = {"é": [1, 2.5, None, True, 'a "quoted" one']}
    records = [package(name, meta=meta) for name in ("a", "b")]
    (batch,) = batches(records)
    lines = plain_lines(PACKAGES, batch)
    assert lines is not None
    assert lines == one_by_one(PACKAGES, records)


@pytest.mark.parametrize("value", [10**400, -(10**400), nested("a", 64), float("nan"), "\0"])
def test_what_a_reader_refuses_is_not_plain(value: Any) -> None:
    (batch,) = batches([user("a", own=value)])
    assert plain_lines(USERS, batch) is None


@pytest.mark.parametrize("value", [2**63, 10**400 - 1, 1 - 10**400, nested("a", 63)])
def test_what_a_reader_just_takes_is_plain(value: Any) -> None:
    records = [user("a", own=value)]
    (batch,) = batches(records)
    assert plain_lines(USERS, batch) == [dumps(records[0])]


@pytest.mark.parametrize("large", [str, lambda text: {"text": text}], ids=["text", "object"])
def test_what_is_large_is_not_in_memory_twice(large: Callable[[str], Any]) -> None:
    (batch,) = batches([user("a", own=large("x" * 300_000))])
    assert plain_lines(USERS, batch) is None
    many = [large("y" * 200_000) for _ in range(10)]
    names = [f"user-{number}" for number in range(10)]
    tracemalloc.start()
    try:
        assert plain_lines(USERS, Batch({"own": many, "username": names})) is None
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()
