"""What an operation says of its progress, and how it is stopped."""

from __future__ import annotations

from typing import Any

import pytest

from hexhub_backup.errors import CancelledError
from hexhub_backup.operations.progress import Progress


def watched(steps: tuple[str, ...] = ("one", "two")) -> tuple[Progress, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    return Progress(steps, events.append, lambda: None), events


def test_the_percentage_comes_from_the_work_and_never_goes_back() -> None:
    progress, events = watched()
    progress.expect({"one": (1000, 0), "two": (3000, 0)})
    with progress.step("one"):
        progress.advance(1000)
    progress.expect({"two": (9000, 0)})
    with progress.step("two"):
        progress.advance(9000)
    percents = [event["percent"] for event in events if event["type"] == "progress"]
    assert percents == sorted(percents)
    assert percents[0] == 25.0
    assert percents[-1] == 100.0


def test_there_are_few_events_however_much_there_is_to_tell() -> None:
    progress, events = watched()
    progress.expect({"one": (100_000, 0)})
    with progress.step("one"):
        for _ in range(100_000):
            progress.advance(1)
    assert len(events) < 100


def test_a_wish_to_stop_is_heard_until_the_decision() -> None:
    progress = Progress(("one",), lambda event: None, lambda: CancelledError("enough"))
    with pytest.raises(CancelledError):
        progress.check()
    progress.decided()
    progress.check()


def test_held_events_come_when_the_transaction_is_over_even_a_failed_one() -> None:
    progress, events = watched()

    def fail() -> None:
        with progress.held():
            progress.log("in it")
            assert events == []
            raise CancelledError("enough")

    with pytest.raises(CancelledError):
        fail()
    assert [event["message"] for event in events] == ["in it"]
