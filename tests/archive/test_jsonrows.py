"""JSON is taken strictly, and no text of any shape costs more than bounded memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hexhub_backup.archive.rules import strict_json
from hexhub_backup.archive.rules.json_rows import Row, loads, read_rows
from hexhub_backup.archive.rules.strict_json import (
    MAX_VALUES,
    StrictJSONError,
    dumps,
    write_rows,
)
from tests.support import matrix

MIB = 1024 * 1024


def rows_of(data: bytes, step: int | None = None) -> list[Row]:
    source = io.BytesIO(data)
    return list(read_rows(lambda length: source.read(min(length, step or length))))


def problem_of(row: bytes) -> str:
    """Why the one row is refused, while the one behind it is read."""
    first, second = rows_of(b"[" + row + b',{"b":1}]')
    assert second.problem is None
    assert second.value == {"b": 1}
    assert first.problem is not None
    return str(first.problem)


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.integers(1 - 10**400, 10**400 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda children: st.lists(children) | st.dictionaries(st.text('abcé😀\\"[{'), children),
    max_leaves=20,
)


def test_integers_of_400_digits_are_carried_and_longer_ones_refused() -> None:
    """Also those that Python itself refuses to make a text of."""
    largest = 10**400 - 1
    row = {"a": [largest, -largest, 2**63, -(2**63) - 1]}
    assert rows_of(b"[" + dumps(row) + b"]")[0].value == row
    for value in (largest + 1, -largest - 1, 10**5000):
        with pytest.raises(StrictJSONError, match="more than 400 digits"):
            dumps({"a": value})
    for digits in (b"1" + b"0" * 400, b"-1" + b"0" * 400, b"9" * 5000):
        assert problem_of(b'{"a":' + digits + b"}") == "an integer has more than 400 digits"


@given(st.lists(values), st.integers(1, 40))
def test_what_is_written_is_read_whatever_the_chunks(rows: list[Any], step: int) -> None:
    data = b"".join(write_rows(map(dumps, rows)))
    assert json.loads(data) == rows
    found = rows_of(data, step)
    assert [row.value for row in found] == rows
    assert [row.number for row in found] == list(range(1, len(rows) + 1))
    assert all(row.problem is None for row in found)
    assert [json.loads(row.body) for row in found] == rows


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    try:
        rows_of(b"[" + data)
    except StrictJSONError:
        return
    json.loads(b"[" + data)


@pytest.mark.parametrize(
    "value",
    matrix.first(
        [
            [[] for _ in range(MAX_VALUES - 3)],
            [{} for _ in range(MAX_VALUES - 3)],
            [[[]] for _ in range((MAX_VALUES - 3) // 2)],
            {str(n): n for n in range((MAX_VALUES - 3) // 2)},
            {str(n): [] for n in range((MAX_VALUES - 3) // 2)},
            [1.5] * (MAX_VALUES - 3),
        ]
    ),
    ids=["lists", "objects", "nested", "members", "empty members", "numbers"],
)
def test_the_writer_and_the_reader_count_values_alike(value: Any) -> None:
    assert loads(dumps({"a": value})) == {"a": value}
    spaced = json.dumps([{"a": value}], separators=(" , ", " : ")).replace("[]", "[ ]")
    (row,) = rows_of(spaced.encode())
    assert (row.problem, row.value) == (None, {"a": value})
    more = {"a": value, "b": [[], []]}
    with pytest.raises(StrictJSONError, match="more than"):
        dumps(more)
    with pytest.raises(StrictJSONError, match="more than"):
        loads(json.dumps(more).encode())


def test_the_form_on_disk() -> None:
    rows = [{"b": 1, "a": "é"}, {}]
    assert b"".join(write_rows(map(dumps, rows))) == '[\n{"a":"é","b":1},\n{}\n]\n'.encode()
    assert b"".join(write_rows(iter([]))) == b"[]\n"


@pytest.mark.parametrize(
    "row",
    [
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"a":1}}',
        b'{"a":1' + b"0" * 400 + b"}",
        b'{"a":-1' + b"0" * 400 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":0.' + b"1" * 401 + b"}",
        b'{"a":"\\u0000"}',
        b'{"\\u0000":1}',
        b'{"a":"\\ud800"}',
        b'{"a":["\\udc00\\ud800"]}',
        b'{"a":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"a":"' + b"x" * 4 * MIB + b'"}',
        '{{"a":"{}"}}'.format("😀" * MIB).encode(),
    ],
    ids=lambda row: repr(row[:20]),
)
def test_a_row_that_breaks_a_rule_is_refused_alone(row: bytes) -> None:
    assert problem_of(row)
    with pytest.raises(StrictJSONError):
        loads(row)


def test_a_problem_names_the_field_and_never_the_value() -> None:
    row = rows_of(b'[{"name":"x","password_hash":"secret\\u0000"}]')[0]
    assert row.problem is not None
    assert row.problem.field == "password_hash"
    assert "secret" not in str(row.problem)


@pytest.mark.parametrize(
    "row",
    [
        b'{"a":9223372036854775807,"b":-9223372036854775808,"c":1e308}',
        b'{"a":"\\ud83d\\ude00 \\\\u0000"}',
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":"' + b"[" * 100_000 + b'\\"\\\\"}',
        b'{"a":[' + b"1," * 240_000 + b"1]}",
        b'{"a":"' + b"x" * (4 * MIB - 8) + b'"}',
    ],
    ids=lambda row: repr(row[:20]),
)
def test_a_row_at_the_bound_is_read(row: bytes) -> None:
    found = rows_of(b"[ \n" + row + b" , " + row + b"]\n")
    assert [entry.problem for entry in found] == [None, None]
    assert found[0].value == found[1].value == json.loads(row)
    assert found[0].body == row.decode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{}",
        b"null",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1]]",
        b"[1] x",
        b"[01]",
        b"[+1]",
        b"[.5]",
        b"['a']",
        b'["a\n"]',
        b'["\\x"]',
        b"[tru]",
        b"[{1:2}]",
        b"[/**/1]",
        b"\xef\xbb\xbf[]",
        b'["\xff"]',
        b'["\xed\xa0\x80"]',
        b'["\xc3',
        "[1]".encode("utf-16"),
        b"[]\0",
        b"[" + b"[" * 100_000,
        b"[" + b'{"a":' * 100_000,
        b"[[" + b"1," * 260_000 + b"1]]",
        b'["' + b"x" * 9 * MIB + b'"]',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_not_an_array_of_json_is_refused(data: bytes) -> None:
    for step in (None, 7) if len(data) < 1000 else (None,):
        with pytest.raises(StrictJSONError):
            rows_of(data, step)


DEEP = "[" * 64 + "]" * 64
BLANKS = st.sampled_from(["", "", "", " ", "\n", "\t \r"])
KEYS = st.sampled_from(["a", "b", ":", '":', '" :', "", "\n", "a\\"])


@st.composite
def texts(draw: st.DrawFn, depth: int = 0) -> tuple[str, bool]:
    """An object as JSON, and whether one in it has a key twice."""
    names = draw(st.lists(KEYS, max_size=3, unique=draw(st.booleans())))
    twice = len(set(names)) < len(names)
    members = []
    for name in names:
        blank, value = draw(BLANKS), json.dumps(draw(KEYS))
        if depth < 3 and draw(st.booleans()):
            value, inner = draw(texts(depth + 1))
            twice |= inner
            if draw(st.booleans()):
                value = f"[{blank}{value}{blank}]"
        members.append(f"{json.dumps(name)}{draw(BLANKS)}:{blank}{value}{draw(BLANKS)}")
    return f"{{{draw(BLANKS)}{','.join(members)}}}", twice


@given(st.lists(texts(), max_size=5), st.sampled_from([",", ",\n", " , "]))
def test_a_key_that_is_there_twice_is_found_in_whatever_is_around_it(
    objects: list[tuple[str, bool]], separator: str
) -> None:
    # Alone, and among others that are the same.
    for many in (objects, [each for each in objects for _ in range(3)]):
        rows = rows_of(f"[{separator.join(text for text, _ in many)}]".encode())
        assert [row.body for row in rows] == [text for text, _ in many]
        assert [row.problem is not None for row in rows] == [twice for _, twice in many]
        assert [row.value for row in rows] == [json.loads(text) for text, _ in many]
        assert [row.number for row in rows] == [*range(1, len(many) + 1)]


@pytest.mark.parametrize(
    "value",
    [
        "9" * 401,
        "-" + "9" * 401,
        "0." + "3" * 400,
        "1e999",
        "NaN",
        '"\\u0000"',
        "[" * 64 + "]" * 64,
    ],
    ids=lambda value: value[:6],
)
def test_what_breaks_a_rule_is_found_among_rows_that_don_t(value: str) -> None:
    for place in range(5):
        rows = [f'{{"a":{value if number == place else "1"}}}' for number in range(5)]
        found = rows_of(f"[{','.join(rows)}]".encode())
        assert [row.number for row in found if row.problem is not None] == [place + 1]


def test_a_fault_names_its_row() -> None:
    with pytest.raises(StrictJSONError, match="it is not JSON") as caught:
        rows_of(b"[{},{},{]")
    assert caught.value.row == 3


@pytest.mark.parametrize("data", [b"", b"{},{}", b"{}]", b"{}x", b"\xef\xbb\xbf{}", b"[" * 9999])
def test_one_document_is_one_document(data: bytes) -> None:
    with pytest.raises(StrictJSONError):
        loads(data)
    assert loads(b' {"a": [1]} ') == {"a": [1]}


@pytest.mark.parametrize(
    "value",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": "\0"},
        {"\0": 1},
        {"a": "\ud800"},
        {"a": 10**400},
        {"a": 10**4000},
        {"a": [-(10**400)]},
        {"a": b"bytes"},
        {"a": {1: 1, "1": 1}},
        {"a": [1] * 250_001},
        {"a": "x" * 4 * MIB},
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_would_be_refused_is_not_written(value: Any) -> None:
    with pytest.raises(StrictJSONError):
        dumps(value)


def test_what_is_nested_too_deeply_is_not_written() -> None:
    value: Any = []
    for _ in range(63):
        value = [value]
    assert loads(dumps(value)) == value
    with pytest.raises(StrictJSONError, match="deeper than 64"):
        dumps([value])
    for _ in range(100_000):
        value = [value]
    with pytest.raises(StrictJSONError, match="deeper than 64"):
        dumps(value)


# The kernel's high-water mark of the process, set back before each shape.
HOSTILE = """
from itertools import chain, repeat
from pathlib import Path
from hexhub_backup.archive.rules.json_rows import read_rows
from hexhub_backup.archive.rules.strict_json import StrictJSONError

def memory(name):
    status = Path("/proc/self/status").read_text()
    return int(status.split(name + ":")[1].split()[0]) // 1024

def read(head, repeated, count, tail):
    at_once = 64 * 1024 // len(repeated)
    pieces = chain([head], repeat(repeated * at_once, count // at_once), [tail])
    if repeated == b"distinct":
        row = b"".join(b'{"%%05x":1},' %% n for n in range(20_000))
        pieces = chain([head], (row.replace(b'"', b'"%%04x' %% n) for n in range(count)), [tail])
    try:
        for row in read_rows(lambda _: next(pieces, b"")):
            pass
    except StrictJSONError:
        pass

read(b"[", b"1,", 1000, b"1]")
idle = memory("VmRSS")
for shape in %s:
    Path("/proc/self/clear_refs").write_text("5")
    read(*shape)
    print(memory("VmHWM") - idle, shape[0][:20], shape[1][:20])
"""
SHAPES = [
    (b"[", b"[", 50 * MIB, b""),
    (b"[", b'{"a":', 10 * MIB, b""),
    (b"[[", b"[],", 3 * MIB, b"1]]"),
    (b"[[", b'{"":1},', 3 * MIB, b"1]]"),
    (b"[{", b'"a":1,', MIB, b'"a":1}]'),
    (b"[[", b"1e9,", 200_000, b"1]]"),
    (b'["', b"x", 9 * MIB, b'"]'),
    (b'["', "😀".encode(), 1023 * 1024, b'"]'),
    (b'["', b'\\"', 2 * MIB, b'"]'),
    (b'["', b"\\u0001", MIB, b'"]'),
    (b"[", b'"",', 100_000, b"1]"),
    (b"[", b'"', 20 * MIB, b"]"),
    (b"[", b" ", 100 * MIB, b"1]"),
    (b"[", b"9", 9 * MIB, b"]"),
    (b"[[", b'"\\u0001",', 200_000, b"1]]"),
    (b"[[", b"distinct", 15, b"1]]"),
]


@pytest.mark.matrix
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_hostile_json_costs_less_than_64_mib() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", HOSTILE % SHAPES], check=True, capture_output=True, text=True
    )
    peaks = [int(line.split()[0]) for line in ran.stdout.splitlines()]
    assert len(peaks) == len(SHAPES)
    assert max(peaks) < 64, ran.stdout


def test_the_size_of_a_row_is_known_before_it_is_written() -> None:
    row = {"a": "é"}
    assert strict_json.encoded_size(row) == len(dumps(row)) + 2
