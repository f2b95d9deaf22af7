"""An order that waits for a worker: for how long is shown, and after a while it has failed."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from simple_websocket import ConnectionClosed  # type: ignore[import-untyped]

import hexhub_backup
from examples.host_app import create_app
from examples.host_app.models import db
from examples.host_app.seed import ADMIN
from hexhub_backup import signals, verbs
from hexhub_backup.errors import BusyError
from hexhub_backup.history import store
from hexhub_backup.history.transactions import now
from hexhub_backup.jobs import orders
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.runner import FunctionRunner
from tests.support.commands import cli
from tests.support.hosts import ADA, Queue, queued_by
from tests.support.instance import Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.people import sign_in
from tests.support.serving import PREFIX, threaded, visitor

pytestmark = [
    pytest.mark.usefixtures("database", "host"),
    pytest.mark.host(config={"HEXHUB_BACKUP_WORKER_TIMEOUT": 45}),
]


@pytest.fixture
def queue(backups: Backups) -> Queue:
    queue = Queue()
    queued_by(backups, queue)
    return queue


def ordered_long_ago(app: Flask, backups: Backups, seconds: float = 46) -> str:
    order = backups.orders.start(app, verbs.create.order(ADA))
    let_wait(backups, order, seconds)
    return order


def let_wait(backups: Backups, order: str, seconds: float) -> None:
    """As if it had been ordered so long before."""
    queued = backups.catalog.operation(order).queued_at - timedelta(seconds=seconds)
    backups.catalog.finish_operation(order, queued_at=queued)


def ended(backups: Backups, order: str) -> tuple[str, str | None]:
    operation = backups.catalog.operation(order)
    return operation.state, operation.code


def test_an_order_that_no_worker_takes_in_time_has_failed(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    told: list[tuple[str, str, str]] = []

    def note(_: Any, *, operation: str, state: str, code: str, **extra: Any) -> None:
        told.append((operation, state, code))

    signals.operation_finished.connect(note, app)
    order = ordered_long_ago(app, backups, seconds=30)
    backups.recover_dead(app)
    assert ended(backups, order) == ("queued", None)
    backups.orders.cancel(app, order)
    order = ordered_long_ago(app, backups)
    for _ in range(2):
        backups.recover_dead(app)
    assert ended(backups, order) == ("failed", "not_taken")
    assert str(backups.catalog.operation(order).reason).startswith(
        "No worker took it within 45 seconds: see that one runs"
    )
    (event,) = backups.orders.events(order)
    assert (event["type"], event["state"], event["code"]) == ("result", "failed", "not_taken")
    assert told[1:] == [(order, "failed", "not_taken")]
    # A worker that comes too late finds that it is over.
    with pytest.raises(BusyError, match="it has ended, as failed"):
        hexhub_backup.run(app, order)
    assert ended(backups, order) == ("failed", "not_taken")


def test_it_is_found_whoever_looks(app: Flask, backups: Backups, queue: Queue) -> None:
    """Also while something else runs, and holds the lock of recovery."""
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    looks: dict[str, Callable[[], object]] = {
        "clock": lambda: backups.recover_dead(app),
        "command": lambda: cli(app, "operations"),
        "next": lambda: backups.orders.run(app, verbs.create.order(ADA)),
    }
    order = ordered_long_ago(app, backups)
    # Whether it still waits on this page hangs on which of the two is quicker.
    assert order in client.get(f"{PREFIX}/").text
    address = f"{PREFIX}/operations/{order}/events"
    wait_for(lambda: client.get(address).get_json()["state"] == "failed")
    for who, look in looks.items():
        order = ordered_long_ago(app, backups)
        if who == "next":
            look()
        else:
            with backups.coordinator.exclusive() as lock:
                about = {"operation": "42", "verb": "prune", "actor": "eve", "started_at": "today"}
                lock.name(about)
                look()
        assert ended(backups, order) == ("failed", "not_taken"), who


@pytest.mark.matrix
def test_who_watches_is_told_of_it(app: Flask, backups: Backups, queue: Queue) -> None:
    """By the websocket, some seconds later."""
    order = backups.orders.start(app, verbs.create.order(ADA))
    with threaded(app) as address:
        watcher = address.watch(order, visitor(app, ADMIN))
        let_wait(backups, order, 46)
        event = json.loads(watcher.receive(timeout=PATIENCE))
        with suppress(ConnectionClosed):
            watcher.close()
    assert (event["type"], event["code"]) == ("result", "not_taken")


def test_an_order_is_taken_or_ended_and_never_both(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    for _ in range(5):
        order = ordered_long_ago(app, backups)
        gate = threading.Barrier(2)

        def take(order: str = order, gate: threading.Barrier = gate) -> None:
            with app.app_context():
                gate.wait()
                try:
                    hexhub_backup.run(app, order)
                except BusyError:
                    pass
                finally:
                    db.session.remove()

        thread = threading.Thread(target=take)
        thread.start()
        gate.wait()
        backups.recover_dead(app)
        thread.join()
        results = [each for each in backups.orders.events(order) if each["type"] == "result"]
        state, code = ended(backups, order)
        assert (state, code) in (("completed", None), ("failed", "not_taken"))
        assert results[-1]["state"] == state
        assert backups.catalog.has_backup(order) is (state == "completed")


@pytest.mark.sample
def test_how_long_it_waits_goes_by_the_clock_of_the_database(
    app: Flask, backups: Backups, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the machine which has ordered may be ten minutes behind, and ten ahead."""
    right = store.utc_now
    for minutes in (-10, 10):
        with monkeypatch.context() as wrong:
            for module in (orders, store):
                wrong.setattr(module, "utc_now", lambda by=minutes: right() + timedelta(minutes=by))
            order = backups.orders.start(app, verbs.create.order(ADA))
        waiting = backups.catalog.operation(order)
        assert abs(now(backups.catalog.engine) - waiting.queued_at) < timedelta(minutes=5)
        waited = backups.recovery.waited(waiting)
        assert waited is not None
        assert waited < timedelta(minutes=5)
        backups.orders.cancel(app, order)
        assert backups.recovery.waited(backups.catalog.operation(order)) is None


# --- what a host hands in


def test_a_function_that_takes_the_id_is_a_runner(
    app: Flask, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    monkeypatch.setattr("examples.host_app._runner", lambda _: taken.append)
    with host_of(app, instance).app_context() as context:
        order = backups_of(context.app).orders.start(context.app, verbs.create.order(ADA))
        db.session.remove()
        db.engine.dispose()
    assert taken == [order]


def host_of(app: Flask, instance: Instance) -> Flask:
    """The same host, made once more."""
    uri = app.config["SQLALCHEMY_DATABASE_URI"]
    return create_app(instance.path, {"SQLALCHEMY_DATABASE_URI": uri})


def test_an_order_that_has_got_to_a_worker_all_the_same_is_begun(
    app: Flask, backups: Backups
) -> None:
    """The answer of the broker was lost, and the order was not."""

    def submit(operation_id: str) -> None:
        hexhub_backup.run(app, operation_id)
        raise ConnectionError("no answer")

    queued_by(backups, FunctionRunner(submit))
    order = backups.orders.start(app, verbs.create.order(ADA))
    assert ended(backups, order) == ("completed", None)
