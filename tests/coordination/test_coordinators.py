"""What every coordinator promises: the directory, and the database."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hexhub_backup.coordination.base import Coordinator, kept_events
from hexhub_backup.errors import BusyError
from tests.support.coordinators import KINDS, coordinator_at
from tests.support.instance import ROOT
from tests.support.patience import PATIENCE
from tests.support.postgres import Server

ONE, OTHER = "20260131-103000-9f3ac1", "20260201-070000-04bb52"


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return str(tmp_path)
    server: Server = request.getfixturevalue("postgresql")
    return server.create()


@pytest.fixture
def coordinator(place: str) -> Coordinator:
    return coordinator_at(place)


@pytest.fixture
def another(place: str, coordinator: Coordinator) -> Coordinator:
    """As another process would have it."""
    return coordinator_at(place)


pytestmark = pytest.mark.sample


def event(seq: int, kind: str = "step", **more: Any) -> dict[str, Any]:
    return {"seq": seq, "type": kind, **more}


def seqs(events: Iterator[dict[str, Any]]) -> list[int]:
    return [each["seq"] for each in events]


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- who is at work ----------------------------------------------------------------------


def test_one_has_a_lock_at_a_time(coordinator: Coordinator, another: Coordinator) -> None:
    with coordinator.exclusive("prune") as lock:
        lock.name({"operation": ONE, "verb": "prune", "actor": "ada", "started_at": "now"})
        with pytest.raises(BusyError), another.exclusive("prune"):
            pass
        # Others go on beside it.
        with another.exclusive("scan"), another.exclusive():
            pass
    with another.exclusive("prune"):
        pass


def test_who_waits_for_a_lock_is_asked_meanwhile(
    coordinator: Coordinator, another: Coordinator
) -> None:
    class EnoughError(Exception):
        pass

    asked: list[str] = []

    def ask() -> None:
        asked.append("once more")
        if len(asked) == 3:
            raise EnoughError

    with (
        coordinator.waited_for("delete_copies", ask),
        pytest.raises(EnoughError),
        another.waited_for("delete_copies", ask),
    ):
        pass
    assert len(asked) == 3
    with another.waited_for("delete_copies", ask):
        pass
    assert len(asked) == 3


LIVES = """
import sys, time
from tests.support.coordinators import coordinator_at

coordinator = coordinator_at(sys.argv[1])
with coordinator.log(sys.argv[2]) as log, coordinator.exclusive(log=log) as lock:
    lock.name({"operation": sys.argv[2], "verb": "create", "actor": "ada", "started_at": "now"})
    log.append({"seq": 1, "type": "state", "state": "running"})
    print("lives", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_held_is_free_at_once(place: str, coordinator: Coordinator) -> None:
    command = [sys.executable, "-c", LIVES, place, ONE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"lives\n"
            assert coordinator.is_alive(ONE)
            assert not coordinator.is_alive(OTHER)
            with pytest.raises(BlockingIOError):
                coordinator.log(ONE)
        finally:
            process.send_signal(signal.SIGKILL)
    until(lambda: not coordinator.is_alive(ONE))
    with coordinator.exclusive(), coordinator.log(ONE) as log:
        assert log.last_seq == 1
    assert seqs(kept_events(coordinator, ONE)) == [1]


def test_what_is_let_go_of_is_free_at_once(coordinator: Coordinator, another: Coordinator) -> None:
    """A server of a database frees what a closed connection held when it gets to it."""
    for one, other in [(coordinator, another), (another, coordinator)] * 25:
        with one.log(ONE):
            assert other.is_alive(ONE)
        with other.log(ONE):
            pass
        assert not one.is_alive(ONE)


# --- events --------------------------------------------------------------------------------


def test_events_are_kept_in_their_order(coordinator: Coordinator, another: Coordinator) -> None:
    with coordinator.log(ONE) as log:
        assert (log.last_seq, log.result) == (0, None)
        log.append(event(1, "state", state="running"))
        # Whatever a name of a file is made of.
        log.append(event(2, "warning", message="\x00 \ud800 é \U0001f680"))
        for seq in range(3, 800):
            log.append(event(seq, "progress", percent=seq / 10))
        log.append(event(800, "result", state="completed"))
        assert seqs(kept_events(another, ONE)) == [*range(1, 801)]
        assert seqs(kept_events(another, ONE, 798)) == [799, 800]
        assert seqs(kept_events(another, OTHER)) == []
        (warning,) = (each for each in kept_events(another, ONE, 1) if each["type"] == "warning")
        assert warning["message"] == "\x00 ? é \U0001f680"
    with another.log(ONE) as log:
        assert log.last_seq == 800
        assert log.result == event(800, "result", state="completed")


def test_what_is_appended_is_seen_by_whoever_watches(
    coordinator: Coordinator, another: Coordinator
) -> None:
    with coordinator.log(ONE) as log:
        log.append(event(1))
        with another.tail(ONE) as tail, another.tail(ONE, 2) as late:
            got, got_late = seqs(tail.read()), [2, *seqs(late.read())]
            for seq in range(2, 1500):
                log.append(event(seq))

            def caught_up() -> bool:
                got.extend(seqs(tail.read()))
                got_late.extend(seqs(late.read()))
                return got[-1] == got_late[-1] == 1499

            until(caught_up)
            assert another.is_alive(ONE)
    assert got == [*range(1, 1500)]
    assert got_late == [*range(2, 1500)]


def test_what_is_left_of_a_removed_log_is_nothing(coordinator: Coordinator) -> None:
    with coordinator.log(ONE) as log:
        log.append(event(1))
    coordinator.remove_log(ONE)
    coordinator.remove_log(ONE)
    assert seqs(kept_events(coordinator, ONE)) == []
    with coordinator.log(ONE) as log:
        assert log.last_seq == 0


# --- wishes ----------------------------------------------------------------------------------


def test_nobody_wishes_that_an_operation_ends_at_first(coordinator: Coordinator) -> None:
    assert not coordinator.wishes_stop(ONE)
    with coordinator.log(ONE):
        assert not coordinator.wishes_stop(ONE)


# --- signs -----------------------------------------------------------------------------------


def test_an_alarm_is_seen_by_others(coordinator: Coordinator, another: Coordinator) -> None:
    coordinator.raise_alarm("warning")
    until(lambda: another.alarm() == "warning")
    coordinator.raise_alarm(None)
    until(lambda: another.alarm() is None)
