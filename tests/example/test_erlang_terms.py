"""The terms of the API: Erlang reads what is written, and what Erlang writes is read."""

from __future__ import annotations

import json
import struct
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from examples.host_app import erlang_terms
from examples.host_app.erlang_terms import TermError
from tests.support.patience import PATIENCE

#: What the two are held against, in Python and in Erlang's words.
SAME: list[tuple[Any, str]] = [
    (True, "true"),
    (False, "false"),
    (None, "nil"),
    ("", "<<>>"),
    ("ä\n日本 \"'\\", '<<"ä\\n日本 \\"\'\\\\"/utf8>>'),
    *((number, str(number)) for n in (0, 8, 31, 32, 63, 64, 255) for number in (2**n, -(2**n))),
    (255, "255"),
    ([], "[]"),
    ([1, 2, 255], "[1, 2, 255]"),
    (["a", [], [None]], '[<<"a">>, [], [nil]]'),
    ({}, "#{}"),
    ({"level": "full", "in": {"x": [1, True]}}, '#{<<"level">> => <<"full">>, '
     '<<"in">> => #{<<"x">> => [1, true]}}'),
]  # fmt: skip
#: What a restored row may hold, and no client sends.
WRITTEN: list[tuple[Any, str]] = [
    *((number, repr(number)) for number in (0.0, 1.5, -0.1, 1.5e300)),
    *((number, str(number)) for number in (2**2040, -(2**2040), 2**8000)),
]


def run(script: str, folder: Path) -> str:
    """What a script for Erlang prints."""
    path = folder / "script.escript"
    path.write_text(f"%% -*- coding: utf-8 -*-\nmain(_) ->\n{script}.\n")
    done = subprocess.run(
        ["escript", str(path)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_erlang_reads_what_is_written(tmp_path: Path) -> None:
    checks = ",\n".join(
        f'io:format("~p", [binary_to_term(<<{",".join(map(str, erlang_terms.encode(value)))}>>)'
        f" =:= {words}])"
        for value, words in SAME + WRITTEN
    )
    assert run(checks, tmp_path) == "true" * len(SAME + WRITTEN)


def test_what_erlang_writes_is_read(tmp_path: Path) -> None:
    written = ",\n".join(
        f'io:format("~s~n", [binary:encode_hex(term_to_binary({words}))])' for _, words in SAME
    )
    found = [erlang_terms.decode(bytes.fromhex(line)) for line in run(written, tmp_path).split()]
    # As JSON, to which 1 is not true.
    as_json = partial(json.dumps, sort_keys=True)
    assert list(map(as_json, found)) == [as_json(value) for value, _ in SAME]


def test_old_atoms_are_read() -> None:
    """As the client sends them."""
    for tag, length in ((100, ">H"), (115, ">B"), (118, ">H"), (119, ">B")):
        atom = bytes([131, tag]) + struct.pack(length, 5) + b"false"
        assert erlang_terms.decode(atom) is False


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("term_to_binary(lists:duplicate(90000, <<>>), [compressed])", "a kind that is not taken"),
        ("term_to_binary(other)", "an atom other than true, false and nil"),
        ("term_to_binary(1.5)", "a kind that is not taken"),
        ("term_to_binary({1, 2})", "a kind that is not taken"),
        ("term_to_binary(fun(X) -> X end)", "a kind that is not taken"),
        ("term_to_binary(#{1 => 2})", "A key in it is no text"),
        ("term_to_binary([true | false])", "A list in it has no end"),
        ("term_to_binary(<<255>>)", "is not UTF-8"),
        ("term_to_binary(lists:foldl(fun(_, T) -> [T] end, [], lists:seq(1, 40)))", "deeper"),
        ("<<(term_to_binary(1))/binary, 0>>", "something behind it"),
        ("<<1>>", "does not begin"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, words: str, reason: str) -> None:
    term = bytes.fromhex(run(f'io:format("~s", [binary:encode_hex({words})])', tmp_path))
    with pytest.raises(TermError, match=reason):
        erlang_terms.decode(term)


def test_a_part_of_a_term_is_refused() -> None:
    whole = erlang_terms.encode([True, None, 3, 2**16, 2**64, "text", ["x"], {"a": "b"}])
    for end in range(len(whole)):
        with pytest.raises(TermError):
            erlang_terms.decode(whole[:end])


def test_a_size_that_is_not_there_takes_no_memory() -> None:
    for tag in (108, 109, 116):
        with pytest.raises(TermError, match="ends too early"):
            erlang_terms.decode(struct.pack(">BBI", 131, tag, 2**32 - 1))


def test_what_no_client_reads_is_not_written() -> None:
    with pytest.raises(TypeError, match="a term can not hold a bytes"):
        erlang_terms.encode({"a": [b""]})
