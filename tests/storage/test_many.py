"""Many files, several at a time: in order, and ended at any moment without waiting for threads."""

from __future__ import annotations

import threading
from contextlib import closing, nullcontext
from itertools import count
from typing import Any, cast

import pytest

from hexhub_backup.storage.many import in_order
from tests.support.patience import PATIENCE, wait_for

#: What CPython holds while a thread is being started, and asks for when one is joined; 3.13 does
#: without.
_OF_STARTING = getattr(threading, "_shutdown_locks_lock", nullcontext())


def test_what_is_done_comes_in_order_whichever_is_done_first() -> None:
    gates = [threading.Event() for _ in range(3)]

    def do(at: int) -> int:
        # Each waits for the next one.
        if at < 2:
            assert gates[at + 1].wait(PATIENCE)
        gates[at].set()
        return at

    assert list(in_order(do, range(3), 3)) == [0, 1, 2]


def test_an_error_comes_in_its_turn_and_when_nothing_goes_on_any_more() -> None:
    going = 0
    both = threading.Barrier(2)
    lock = threading.Lock()

    def do(at: int) -> int:
        nonlocal going
        with lock:
            going += 1
        both.wait(PATIENCE)
        if at == 0:
            raise OSError("no disk")
        threading.Event().wait(0.05)
        with lock:
            going -= 1
        return at

    with pytest.raises(OSError, match="no disk"):
        list(in_order(do, range(2), 2))
    assert going == 1


def test_whoever_leaves_it_in_the_middle_leaves_nothing_that_goes_on() -> None:
    begun: list[int] = []
    done: list[int] = []

    def do(at: int) -> None:
        begun.append(at)
        threading.Event().wait(0.01)
        done.append(at)

    with closing(cast(Any, in_order(do, count(), 3))) as results:
        for _ in range(5):
            next(results)
    assert sorted(begun) == sorted(done)
    assert len(begun) < 20


def test_a_collection_of_garbage_ends_it_while_a_thread_is_being_started() -> None:
    """A generator in a cycle is ended by whichever thread happens to collect it. Once that was one
    that was being started: it waited for itself, and an undo never came to its end."""
    left = cast(Any, in_order(str, count(), 2))
    next(left)

    def collect() -> None:
        with _OF_STARTING:
            left.close()

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    wait_for(lambda: not thread.is_alive())
