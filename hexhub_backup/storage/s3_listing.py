"""Sizes of many objects from the bucket's listing, which tells a thousand by one request."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from hexhub_backup.storage.many import in_order
from hexhub_backup.storage.s3_objects import Objects

#: A page that tells of fewer is not worth its request: others lie between.
_WORTH = 20


def sizes(objects: Objects, keys: Iterable[str | None], at_once: int) -> list[int | None]:
    """The size of each object, None where there is none, or no key. Takes some thousand keys."""
    wanted = list(keys)
    found: dict[str, int] = {}
    rest = sorted({key for key in wanted if key is not None})
    while rest:
        # A key follows itself without its last character, and hardly another is in between.
        page, has_more = objects.page(rest[0][:-1])
        listed = list(page)
        if listed != sorted(listed):
            # A directory bucket lists in no order.
            break
        told = bisect_right(rest, listed[-1]) if has_more else len(rest)
        found |= {key: page[key] for key in rest[:told] if key in page}
        rest = rest[told:]
        if told < _WORTH:
            break
    sizes_of_rest = in_order(lambda key: (key, _size(objects, key)), rest, at_once)
    found |= {key: size for key, size in sizes_of_rest if size is not None}
    return [None if key is None else found.get(key) for key in wanted]


def _size(objects: Objects, key: str) -> int | None:
    found = objects.head(key)
    return None if found is None else found.size
