"""The metadata of packages, as Erlang and its tools write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.host_app.hex_files import erlang_text
from hexhub_backup.hex.erlang_text import read

#: Values that metadata holds: an empty mapping is an empty list there, and a list of pairs can't be
#: told from a mapping.
VALUES = st.recursive(
    st.booleans() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", min_size=1), inner, min_size=1)
    ),
    max_leaves=8,
)


def test_terms_of_erlang_are_read() -> None:
    text = r'{<<"a">>, [1, -2, true, nil, <<>>, <<"\x{e9}\x41\101\n\"é"/utf8>>]}. % and so on'
    assert read(text).as_dict() == {"a": [1, -2, True, None, "", 'éAA\n"é']}
    assert read("").as_dict() == {}


def test_texts_are_read_however_erlang_writes_them() -> None:
    text = """%% a <<"comment
    {<<"bytes">>, <<195,156,98,
      101,114>>}.
    {<<"pieces">>, <<"a" "b",99,"d"/utf8>>}.
    {atom, 'an other'}. {<<"string">>, "it's 1.0 {[<<>>]}"}. {<<"number">>, <<"12">>}.
    """
    assert read(text).as_dict() == {
        "bytes": "Über",
        "pieces": "abcd",
        "atom": "an other",
        "string": "it's 1.0 {[<<>>]}",
        "number": "12",
    }


@pytest.mark.parametrize(
    "text",
    ['{<<"a">>,1}', '{<<"a">>,', "[", "1.", "{1,1}.", "{a,1,2}.", '{<<"a">>,1}}.', "{a,1.5}.",
     "[{a,b}.{c,d}].", "[{a,b}. c].", "{a,b} {c,d}.", "{a,b}.]],[[", '{"":[1]}.', "{A,b}.",
     '{a],"b":[c}.', "{a,NaN}.", "{a,1e5}.", '{a,<<"b}.', '{a,"b}.', "{a,<<1,,2>>}.", "{a,b}.\0",
     '{a,<<"b"1>>}.', '{a,<"b">>}.', '{a,<<"b">}.', "<<" * 1000, "no terms",
     '{<<"a">>,' + "[" * 5000 + "]" * 5000 + "}.", '{<<"a">>,' + "[" * 40 + "]" * 40 + "}.",
     r'{<<"\x{ffffff}">>,1}.', r'{<<"\x{d800}">>,1}.'],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no Erlang terms|not every term|deep|no character"):
        read(text).as_dict()


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=4))
def test_what_the_example_writes_is_read(metadata: dict[str, object]) -> None:
    text = "".join(
        f"{{{erlang_text(key)},{erlang_text(value)}}}.\n" for key, value in metadata.items()
    )
    assert read(text).as_dict() == metadata
