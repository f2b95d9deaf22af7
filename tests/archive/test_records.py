"""Keys as they are written beside what they identify."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hexhub_backup.archive.records import as_json, of_json

NASTY = st.sampled_from(['"', "\\", '", "', '["', '"]', ", ", "ü", "😀", "\\u0000"])
TEXTS = st.text() | st.lists(NASTY, min_size=1).map("".join)


@given(st.lists(TEXTS, min_size=1, max_size=3).map(tuple))
def test_a_key_comes_back(key: tuple[str, ...]) -> None:
    assert of_json(as_json(key)) == key
    assert tuple(json.loads(as_json(key))) == key
