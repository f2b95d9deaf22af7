"""Operations that are coordinated by PostgreSQL alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import hexhub_backup
from examples.host_app.models import db
from hexhub_backup import signals, verbs
from hexhub_backup.coordination.base import kept_events
from hexhub_backup.coordination.postgresql import tailer
from hexhub_backup.errors import (
    BusyError,
    CancelledError,
    InterruptedOperationError,
    SettingError,
)
from hexhub_backup.jobs.backups import Backups
from tests.support.coordinators import coordinated_by_postgresql, in_database
from tests.support.hosts import ADA, Queue, change_something, dump, planned, queued_by, restored
from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE
from tests.support.pgbouncer import pgbouncer
from tests.support.postgres import Server

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def uri(postgresql: Server) -> str:
    return postgresql.create()


@pytest.fixture(autouse=True)
def _coordinated(backups: Backups) -> None:
    coordinated_by_postgresql(backups)


def at_step(app: Flask, step: str, do: Callable[[], object]) -> Any:
    """Do something when an operation begins a step; the receiver has to be kept."""

    def receiver(_: Flask, *, event: dict[str, Any], **extra: Any) -> None:
        if event["step"] == step and event["state"] == "running":
            do()

    signals.operation_step.connect(receiver, app)
    return receiver


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.sample
def test_a_circle_leaves_events_and_no_file_of_them(app: Flask, backups: Backups) -> None:
    before = dump(app)
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    change_something()
    done = restored(app, made)
    assert dump(app) == before
    events = list(kept_events(backups.coordinator, done.operation))
    assert [each["seq"] for each in events] == [*range(1, len(events) + 1)]
    assert [events[0]["type"], events[-1]["type"]] == ["state", "result"]
    assert list(backups.depot.path.joinpath("operations").glob("*.jsonl")) == []
    assert not backups.coordinator.is_alive(done.operation)


def test_one_exclusive_operation_at_a_time(app: Flask, backups: Backups) -> None:
    refused: list[str] = []

    def order_another() -> None:
        with pytest.raises(BusyError) as caught:
            backups.orders.run(app, verbs.create.order(ADA))
        refused.append(str(caught.value))

    kept = at_step(app, "copy_packages", order_another)
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    assert kept is not None
    assert made in refused[0]


def test_a_wish_to_cancel_reaches_an_operation(app: Flask, backups: Backups) -> None:
    order = verbs.create.order(ADA)

    def cancel() -> None:
        backups.orders.cancel(app, order.id)
        # It looks at most so often.
        time.sleep(0.6)

    kept = at_step(app, "copy_packages", cancel)
    with pytest.raises(CancelledError):
        backups.orders.run(app, order)
    assert kept is not None
    assert backups.catalog.operation(order.id).state == "cancelled"


def test_an_order_is_cancelled_before_it_begins(app: Flask, backups: Backups) -> None:
    queue = Queue()
    order = verbs.create.order(ADA)
    queued_by(backups, queue).orders.start(app, order)
    backups.orders.cancel(app, order.id)
    assert backups.catalog.operation(order.id).state == "cancelled"
    with pytest.raises(CancelledError):
        hexhub_backup.run(app, order.id)


def test_a_lost_session_ends_its_operation(
    app: Flask, backups: Backups, postgresql: Server
) -> None:
    """Its lock may be another one's by now."""
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )

    def lose() -> None:
        with db.engine.connect() as connection:
            connection.execute(sa.text(end))
        time.sleep(0.6)

    kept = at_step(app, "copy_packages", lose)
    order = verbs.create.order(ADA)
    with pytest.raises(InterruptedOperationError):
        backups.orders.run(app, order)
    assert kept is not None
    assert backups.catalog.operation(order.id).state == "interrupted"
    del kept
    assert backups.orders.run(app, verbs.create.order(ADA)).operation


KILLED = """if True:
    import os, signal, sys
    from examples.host_app import create_app
    from hexhub_backup import signals, verbs
    from hexhub_backup.history.models import Who
    from hexhub_backup.jobs.backups import backups_of
    from tests.support.coordinators import coordinated_by_postgresql, in_database

    app = create_app(sys.argv[1], {"SQLALCHEMY_DATABASE_URI": sys.argv[2]})

    def kill(_, *, verb, event, **extra):
        if event["step"] == sys.argv[4]:
            os.kill(os.getpid(), signal.SIGKILL)

    signals.operation_step.connect(kill, app)
    with app.app_context():
        backups = coordinated_by_postgresql(backups_of(app))
        who = Who(actor="ada")
        if sys.argv[3] == "create":
            order = verbs.create.order(who)
        else:
            order = verbs.restore.order(backups.plans, who, sys.argv[3])
        backups.orders.run(app, order)
"""


@pytest.mark.parametrize(
    ("verb", "step", "state"),
    [
        ("create", "copy_packages", "interrupted"),
        ("restore", "restore_users", "interrupted"),
        ("restore", "place_files", "completed"),
    ],
)
def test_what_a_killed_process_left_is_put_right(
    app: Flask, backups: Backups, instance: Instance, verb: str, step: str, state: str
) -> None:
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    after = dump(app)
    change_something()
    before = dump(app)
    what = "create" if verb == "create" else planned(app, made).options["plan"]
    db.session.remove()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(instance.path), str(instance.uri), what, step],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr

    def settled() -> bool:
        backups.recover_dead(app)
        return not backups.catalog.unfinished_operations()

    until(settled)
    latest = backups.history.operations(limit=1)[0]
    assert (latest.verb, latest.state) == (verb, state)
    assert dump(app) == (after if state == "completed" else before)
    events = list(kept_events(backups.coordinator, latest.id))
    assert events[-1]["type"] == "result"
    assert events[-1]["state"] == state
    assert backups.orders.run(app, verbs.create.order(ADA)).operation


def test_an_archive_is_held_by_all_who_read_it_or_by_one(backups: Backups) -> None:
    coordinator: Any = backups.coordinator
    other = in_database(backups.catalog.engine)
    with (
        coordinator.hold("one", alone=False),
        other.hold("one", alone=False),
        other.hold("two", alone=True),
        pytest.raises(BusyError, match="one is in use"),
        other.hold("one", alone=True),
    ):
        pass
    with other.hold("one", alone=True):
        pass


def test_an_operation_takes_one_connection_of_the_pool(app: Flask, backups: Backups) -> None:
    pool: Any = db.engine.pool
    taken = pool.checkedout()
    with (
        backups.coordinator.log("20260131-103000-9f3ac1") as log,
        backups.coordinator.exclusive(log=log),
    ):
        assert pool.checkedout() == taken


def test_many_who_watch_cost_the_database_what_one_does(app: Flask, backups: Backups) -> None:
    operation = "20260131-103000-9f3ac1"
    asked: list[str] = []

    def note(_: object, __: object, statement: str, *rest: object) -> None:
        asked.append(statement)

    with ExitStack() as stack:
        log = stack.enter_context(backups.coordinator.log(operation))
        log.append({"seq": 1, "type": "step"})
        tails = [stack.enter_context(backups.coordinator.tail(operation)) for _ in range(1000)]
        got = [[each["seq"] for each in tail.read()] for tail in tails]
        assert got == [[1]] * 1000
        tails[0].read()
        sa.event.listen(db.engine, "before_cursor_execute", note)
        stack.callback(sa.event.remove, db.engine, "before_cursor_execute", note)
        began = time.monotonic()

        def caught_up() -> bool:
            for seen, tail in zip(got, tails, strict=True):
                seen.extend(each["seq"] for each in tail.read())
            return all(seen[-1] == 41 for seen in got)

        for seq in range(2, 42):
            log.append({"seq": seq, "type": "step"})
            caught_up()
        until(caught_up)
        seconds = time.monotonic() - began
    assert got == [[*range(1, 42)]] * 1000
    looks = [each for each in asked if "SELECT" in each and "hexhub_backup_events" in each]
    # Four times a second, and after each of what was appended.
    assert len(looks) <= 41 * 2 + 4 * seconds + 20


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler_that_keeps_no_sessions_is_refused(
    postgresql: Server, uri: str, mode: str
) -> None:
    with pgbouncer(postgresql, uri, mode) as pooled:
        engine = sa.create_engine(pooled, poolclass=sa.NullPool)
        coordinator = in_database(lambda: engine)
        if mode == "session":
            coordinator.prepare()
        else:
            with pytest.raises(SettingError, match="pool_mode = session"):
                coordinator.prepare()


def test_the_link_asks_no_connection_of_the_request(app: Flask, backups: Backups) -> None:
    """The host's session may hold the only one."""
    asked = threading.get_ident()
    threads: list[int] = []

    def note(*_: object) -> None:
        threads.append(threading.get_ident())

    sa.event.listen(db.engine, "before_cursor_execute", note)
    try:
        backups.coordinator.is_running()
        backups.coordinator.alarm()
        assert asked not in threads
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("number", [-1, 4096])
def test_a_connection_that_can_not_be_waited_for_is_looked_at_now_and_then(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One that is closed, and one of a process that has too many files open for `select`."""

    class Raw:
        def fileno(self) -> int:
            return number

    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    tailer._wait(Raw())
    assert slept == [tailer._LOOK]
