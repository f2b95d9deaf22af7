"""Many files, several at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from hexhub_backup.archive.records import ReleaseFile
from hexhub_backup.beside import start
from hexhub_backup.storage.base import OpenFile, Storage

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


def in_order(do: Callable[[_Item], _Done], items: Iterable[_Item], at_once: int) -> Iterator[_Done]:
    """What `do` returns for each item, in their order; for so many of them at a time.

    At most twice as many are begun or done before one is taken. The items are asked for by the
    caller's thread. An error of `do` is raised when its item's turn comes. When that, or the
    caller, ends it, no call of `do` goes on in the background.
    """
    if at_once == 1:
        yield from map(do, items)
        return
    begun: deque[Future[_Done]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for item in items:
            begun.append(start(pool, do, item))
            if len(begun) == 2 * at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        wait([each for each in begun if not each.cancel()])
        # Its threads end by themselves, and are not joined: whoever was left in the middle may be
        # ended by a collection of garbage, also in a thread that is just being started and holds
        # the lock that joining another one asks for.
        pool.shutdown(wait=False)


def for_each(do: Callable[[_Item], object], items: Iterable[_Item], at_once: int) -> None:
    """Call `do` with each item, so many at a time; see `in_order`."""
    for _ in in_order(do, items, at_once):
        pass


def open_if_there(storage: Storage, file: ReleaseFile) -> OpenFile | None:
    """A stored file, to be read; None where there is none. Raises OSError, StorageError."""
    try:
        return storage.open(file)
    except FileNotFoundError:
        return None
