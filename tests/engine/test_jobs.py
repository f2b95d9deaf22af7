"""The lock, the kept events and the progress of operations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.errors import BusyError, CancelledError
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.locking import is_held
from hexhub_backup.jobs.events import EventLog, read_events
from hexhub_backup.jobs.lock import exclusive
from hexhub_backup.operations.progress import Progress

HOLDER = {"operation": "42", "verb": "create", "actor": "ada", "started_at": "today"}


def test_the_second_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock") as lock:
        lock.name(HOLDER)
        with pytest.raises(BusyError, match="create 42 of ada has been running since today"):
            exclusive(tmp_path / "lock").__enter__()
    with exclusive(tmp_path / "lock"):
        pass


def test_the_lock_of_a_killed_process_blocks_nobody(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from hexhub_backup.jobs.lock import exclusive"
        "\nwith exclusive(Path(sys.argv[1])) as lock:"
        f"\n    lock.name({HOLDER!r}); print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match="create 42"):
            exclusive(tmp_path / "lock").__enter__()
        process.kill()
    with exclusive(tmp_path / "lock"):
        pass


_FORKS = """
import os, sys, time
from pathlib import Path
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.locking import is_held
from hexhub_backup.history.directory import BackupDirectory
from hexhub_backup.history.locking import is_held
from hexhub_backup.jobs.events import EventLog
from hexhub_backup.jobs.lock import exclusive
folder = Path(sys.argv[1])
with exclusive(folder / "lock"), BackupDirectory(folder).using(folder / "archive"):
    log = EventLog(folder / "events")
    child = os.fork()
    if child == 0:
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
"""


def test_a_child_that_was_forked_off_holds_no_lock_of_its_dead_parent(tmp_path: Path) -> None:
    """A worker that a host forks off outlives the process that ran an operation."""
    (tmp_path / "archive").touch()
    with subprocess.Popen(
        [sys.executable, "-c", _FORKS, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            with pytest.raises(BusyError):
                exclusive(tmp_path / "lock").__enter__()
            assert is_held(tmp_path / "events")
            process.kill()
            process.wait()
            with exclusive(tmp_path / "lock"):
                pass
            assert not is_held(tmp_path / "events")
            with BackupDirectory(tmp_path).using(tmp_path / "archive", alone=True):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_events_are_read_after_the_last_one_that_was_seen(tmp_path: Path) -> None:
    path = tmp_path / "events"
    assert list(read_events(path)) == []
    log = EventLog(path)
    for seq in (1, 2, 3):
        log.append({"seq": seq, "type": "log", "message": "żółć"})
    assert [event["seq"] for event in read_events(path)] == [1, 2, 3]
    assert [event["seq"] for event in read_events(path, after=2)] == [3]
    log.close()


def test_an_event_that_a_crash_cut_short_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "events"
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


def told(steps: tuple[str, ...] = ("one", "two")) -> tuple[Progress, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    return Progress(steps, events.append, lambda: None), events


def test_the_percentage_comes_from_the_work_and_never_goes_back() -> None:
    progress, events = told()
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
    progress, events = told()
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
    progress, events = told()

    def fail() -> None:
        with progress.held():
            progress.log("in it")
            assert events == []
            raise CancelledError("enough")

    with pytest.raises(CancelledError):
        fail()
    assert [event["message"] for event in events] == ["in it"]
