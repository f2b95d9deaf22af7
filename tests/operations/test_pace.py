"""Reading that is in nobody's way. The clock is the test's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hexhub_backup.archive.source import FileSource
from hexhub_backup.errors import CancelledError
from hexhub_backup.operations.pace import Pace


class Time:
    """Goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        assert seconds <= 0.2, "a wish to cancel would wait too long"
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def descriptor(tmp_path: Path) -> int:
    (tmp_path / "file").write_bytes(b"content")
    return os.open(tmp_path / "file", os.O_RDONLY)


def forgetting(descriptor: int) -> Callable[[], None]:
    return FileSource(Path("file"), descriptor).forget


def test_it_takes_as_long_as_the_rate_says(descriptor: int) -> None:
    time = Time()
    pace = Pace(forgetting(descriptor), 1000, clock=time, sleep=time.sleep)
    for _ in range(50):
        pace.passed(100, lambda: None)
    assert time.now == pytest.approx(5)
    # Who is slow by himself waits for nothing.
    time.now += 5
    pace.passed(5000, lambda: None)
    assert time.now == pytest.approx(10)
    os.close(descriptor)


def test_without_a_rate_it_waits_for_nothing(descriptor: int) -> None:
    time = Time()
    pace = Pace(forgetting(descriptor), 0, clock=time, sleep=time.sleep)
    pace.passed(1 << 40, lambda: None)
    assert time.now == 0
    os.close(descriptor)


def test_a_wish_to_stop_is_heard_while_it_waits(descriptor: int) -> None:
    time = Time()
    pace = Pace(forgetting(descriptor), 1, clock=time, sleep=time.sleep)

    def check() -> None:
        if time.now > 3:
            raise CancelledError("It was cancelled.")

    with pytest.raises(CancelledError):
        pace.passed(1 << 40, check)
    assert time.now < 4
    os.close(descriptor)
