"""The events of an operation, as they are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.coordination.base import kept_events
from hexhub_backup.coordination.directory import DirectoryCoordinator
from hexhub_backup.coordination.events import EventLog

pytestmark = pytest.mark.sample


def read_events(path: Path, after: int = 0) -> list[dict[str, Any]]:
    """Of the log at a path, as a coordinator reads it."""
    return list(kept_events(DirectoryCoordinator(path.parent.parent), path.stem, after))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a coordinator has the logs."""
    folder = tmp_path / "operations"
    folder.mkdir()
    return folder


def test_events_are_read_after_the_last_one_that_was_seen(folder: Path) -> None:
    path = folder / "events.jsonl"
    assert list(read_events(path)) == []
    log = EventLog(path)
    for seq in (1, 2, 3):
        log.append({"seq": seq, "type": "log", "message": "żółć"})
    assert [event["seq"] for event in read_events(path)] == [1, 2, 3]
    assert [event["seq"] for event in read_events(path, after=2)] == [3]
    log.close()


def test_an_event_that_a_crash_cut_short_is_never_seen(folder: Path) -> None:
    path = folder / "events.jsonl"
    path.write_text('{"seq": 1, "type": "state"}\n{"seq": 2, "ty')
    assert [event["seq"] for event in read_events(path)] == [1]
    log = EventLog(path)
    assert log.last_seq == 1
    log.append({"seq": 2, "type": "result"})
    log.close()
    assert [json.loads(line)["seq"] for line in path.read_text().splitlines()] == [1, 2]


def test_nobody_else_can_open_the_events_of_an_operation_that_lives(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    with pytest.raises(BlockingIOError):
        EventLog(tmp_path / "events")
    log.close()
    EventLog(tmp_path / "events").close()
