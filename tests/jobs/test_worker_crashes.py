"""Workers and brokers that die, hang or answer late: each operation ends and the next one runs."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from hexhub_backup import CeleryRunner, verbs
from hexhub_backup.errors import BusyError
from hexhub_backup.history.models import Operation
from hexhub_backup.jobs.backups import Backups
from tests.support.broker import Broker, broker, worker
from tests.support.hosts import ADA
from tests.support.instance import Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.serving import Hold, process

#: The step in which a `Hold` holds, and its state.
_HELD = ("copy_packages", "running")

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.usefixtures("host"),
    pytest.mark.host(packages=60),
]
#: Where an order gets lost, it has not to be waited for.
soon_lost = pytest.mark.host(packages=60, config={"HEXHUB_BACKUP_WORKER_TIMEOUT": 5})


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that the test may kill."""
    with broker() as its_own:
        monkeypatch.setenv("HOST_APP_BROKER", its_own.url)
        yield its_own


@pytest.fixture
def instance(instance: Instance, queue: Broker) -> Instance:
    return instance


@pytest.fixture
def hold(instance: Instance) -> Iterator[Hold]:
    hold = Hold(instance.path)
    yield hold
    hold.release()


def settled(app: Flask, backups: Backups, operation: str) -> Operation:
    """An operation when it has ended, as a page sees it that somebody looks at."""

    def look() -> Operation | None:
        found = backups.catalog.operation(operation)
        if backups.recovery.is_due(found):
            backups.recover_dead(app)
        return found if found.ended and not backups.recovery.is_alive(operation) else None

    found: Operation = wait_for(look)
    return found


def held(backups: Backups, operation: str) -> None:
    """Wait until an operation is at the file at which it is held."""

    def is_there() -> bool:
        events = backups.orders.events(operation)
        return any((each.get("step"), each.get("state")) == _HELD for each in events)

    wait_for(is_there)


def completes(app: Flask, backups: Backups) -> bool:
    """Whether what is ordered next is run by a worker, to its end. Celery takes some seconds to see
    that a process of its own is dead, or that its broker is there again: what it takes out of the
    queue meanwhile is lost, and fails as an order that nobody has taken."""
    order = backups.orders.start(app, verbs.create.order(ADA))
    ended = settled(app, backups, order)
    assert (ended.state, ended.code) in (("completed", None), ("failed", "not_taken"))
    return ended.state == "completed" and backups.history.backup(order).good


class Killing:
    """Orders a backup, kills processes at a random moment after it, and counts what has become of
    each: how it was when they died, and how it ended."""

    def __init__(self, app: Flask, backups: Backups) -> None:
        self.app, self.backups = app, backups
        self.ends = Counter[tuple[str, str]]()
        self.longest = 0.0
        self._chance = random.Random(13)

    def __call__(self, kill: Callable[[], object]) -> None:
        backups = self.backups
        order = backups.orders.start(self.app, verbs.create.order(ADA))
        time.sleep(self._chance.uniform(0, 0.4))
        kill()
        was, killed_at = backups.catalog.operation(order).state, time.monotonic()
        ended = settled(self.app, backups, order)
        self.longest = max(self.longest, time.monotonic() - killed_at)
        self.ends[was, ended.state] += 1
        is_there = backups.depot.is_there(backups.depot.archive_name(order))
        assert is_there is (ended.state == "completed")

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {was} -> {end}" for (was, end), count in self.ends.items())
        return f"{ends}; final after {self.longest:.1f} s at most"


@soon_lost
def test_a_worker_that_is_killed_at_any_moment(
    app: Flask, backups: Backups, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    killing = Killing(app, backups)
    for _ in range(20):
        with worker(instance) as celery:
            killing(celery.kill)
        assert instance.leftovers() == []
    with worker(instance):
        wait_for(lambda: completes(app, backups))
    with capsys.disabled():
        print(f"\nworkers killed: {killing}")


@soon_lost
def test_a_process_of_a_worker_that_is_killed_at_any_moment(
    app: Flask, backups: Backups, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its main process lives, and forks others."""
    killing = Killing(app, backups)
    with worker(instance) as celery:
        for _ in range(20):
            killing(celery.kill_children)
            wait_for(lambda: completes(app, backups))
            assert instance.leftovers() == []
    with capsys.disabled():
        print(f"\nprocesses of a worker killed: {killing}")


def test_what_a_killed_worker_left_is_put_right_also_where_nobody_looks(
    app: Flask, backups: Backups, instance: Instance, hold: Hold
) -> None:
    """A process that serves looks by itself."""
    run = ("flask", "--app", "examples.host_app", "run", "--port={port}")
    with process(instance.path, *run), worker(instance) as celery:
        hold.at()
        order = backups.orders.start(app, verbs.create.order(ADA))
        held(backups, order)
        celery.kill()
        ended: Operation = wait_for(
            lambda: found if (found := backups.catalog.operation(order)).ended else None
        )
    assert ended.state == "interrupted"


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_a_broker_that_goes_while_a_worker_works(
    app: Flask, backups: Backups, instance: Instance, queue: Broker, hold: Hold, how: str
) -> None:
    with worker(instance):
        hold.at()
        order = backups.orders.start(app, verbs.create.order(ADA))
        held(backups, order)
        if how == "killed":
            queue.stop()
        else:
            queue.pause()
        hold.release()
        assert settled(app, backups, order).state == "completed"
        if how == "killed":
            queue.start()
        else:
            queue.go_on()
        wait_for(lambda: completes(app, backups))


@soon_lost
def test_an_order_that_a_broker_has_lost_fails_and_the_next_one_runs(
    app: Flask, backups: Backups, instance: Instance, queue: Broker
) -> None:
    order = backups.orders.start(app, verbs.create.order(ADA))
    queue.stop()
    queue.start()
    ended = settled(app, backups, order)
    assert (ended.state, ended.code) == ("failed", "not_taken")
    with worker(instance):
        wait_for(lambda: completes(app, backups))


def test_a_broker_that_answers_late(
    app: Flask, backups: Backups, instance: Instance, queue: Broker
) -> None:
    """Its answer comes when the order was withdrawn."""
    queue.pause()
    with pytest.raises(BusyError, match="did not take it"):
        backups.orders.start(app, verbs.create.order(ADA))
    queue.go_on()
    assert backups.history.operations() == []
    with worker(instance) as celery:
        wait_for(lambda: completes(app, backups))
        log = celery.log.read_text()
        assert "Traceback" not in log


def test_every_order_is_delivered_twice(
    app: Flask, backups: Backups, instance: Instance, queue: Broker
) -> None:
    with worker(instance) as celery:
        for _ in range(20):
            order = backups.orders.start(app, verbs.create.order(ADA))
            CeleryRunner(app.extensions["celery"]).submit(order)
            celery.handled(order, times=2)
            assert celery.log.read_text().count(f"order {order}: ") == 1
            assert settled(app, backups, order).state == "completed"
        assert "Traceback" not in celery.log.read_text()


def test_limits_that_the_host_has_set_for_its_tasks_end_no_operation(
    app: Flask, backups: Backups, instance: Instance, hold: Hold
) -> None:
    with worker(instance, "--time-limit", "1", "--soft-time-limit", "1"):
        hold.at()
        order = backups.orders.start(app, verbs.create.order(ADA))
        held(backups, order)
        # It is past them then.
        time.sleep(3)
        hold.release()
        assert settled(app, backups, order).state == "completed"


def test_a_busy_worker_leaves_the_next_order_to_another_one(
    app: Flask, backups: Backups, instance: Instance, hold: Hold
) -> None:
    """As `docs/workers.md` has them started."""
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    alone = ("--concurrency", "1", "--disable-prefetch")
    with worker(instance, *alone):
        hold.at()
        first = backups.orders.start(app, verbs.create.order(ADA))
        held(backups, first)
        second = backups.orders.start(app, verbs.verify.order(backups.history, ADA, made))
        with worker(instance, *alone, "--hostname", "other@%h", name="other"):
            assert settled(app, backups, second).state == "completed"
        assert backups.catalog.operation(first).state == "running"
        hold.release()
        assert settled(app, backups, first).state == "completed"


def test_ctrl_c_at_a_command_cancels_what_a_worker_runs(
    app: Flask, backups: Backups, instance: Instance, hold: Hold
) -> None:
    with worker(instance):
        hold.at()
        command = instance.start("backups", "create", "--queue")
        wait_for(backups.history.operations)
        (found,) = backups.history.operations()
        held(backups, found.id)
        command.send_signal(signal.SIGINT)
        wait_for(lambda: backups.coordinator.wishes_stop(found.id))
        # An operation looks five times a second whether somebody wishes so, and this one is quick.
        time.sleep(0.5)
        hold.release()
        stdout, stderr = command.communicate(timeout=PATIENCE)
        assert (command.returncode, stdout) == (1, "")
        assert "was cancelled" in stderr
        assert settled(app, backups, found.id).state == "cancelled"
        wait_for(lambda: completes(app, backups))
