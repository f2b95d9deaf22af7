"""What an operation says of its progress, and how it is stopped."""

from __future__ import annotations

import time
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


def test_the_time_left_goes_by_the_speed_of_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 s were left of 6.7 s: the slow first step stood for a quick second one."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    events: list[dict[str, Any]] = []
    before = {
        "two": {"seconds": 2.0, "bytes": 500, "items": 0},
        "three": {"seconds": 3.0, "bytes": 0, "items": 0},
    }
    progress = Progress(("one", "two", "three"), events.append, lambda: None, before)
    progress.expect({"one": (1000, 0), "two": (1000, 0)})
    with progress.step("one"):
        now += 10
        progress.advance(500)
        # Ten more of this step, four as twice as much took two before, three of what has no work.
        assert events[-1]["seconds_left"] == 10 + 4 + 3
        now += 10
    with progress.step("two"):
        now += 0.5
        progress.advance(500)
        # Too early to say how fast it is this time.
        assert events[-1]["seconds_left"] == 2 + 3
        now += 4.5
        progress.advance(250)
        assert events[-1]["seconds_left"] == pytest.approx(5 / 3 + 3, abs=0.1)
    with progress.step("three"):
        pass
    assert events[-2]["seconds_left"] == 0
    assert progress.measured() == {
        "one": {"seconds": 20, "bytes": 1000, "items": 0},
        "two": {"seconds": 5, "bytes": 1000, "items": 0},
        "three": {"seconds": 0, "bytes": 0, "items": 0},
    }


def test_no_time_is_left_before_anything_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress, events = watched()
    progress.expect({"one": (1000, 0), "two": (3000, 0)})
    with progress.step("one"):
        now += 0.5
        progress.advance()
        assert events[-1]["seconds_left"] is None
        progress.advance(500)
        now += 0.5
        progress.advance()
        # Half a step a second, and three and a half of them to do.
        assert events[-1]["seconds_left"] == 7


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
