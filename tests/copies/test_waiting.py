"""While a scan or a return waits for a place that hangs, other operations of the registry run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hexhub_backup import verbs
from hexhub_backup.errors import BusyError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.verbs.base import Order
from tests.support.commands import created
from tests.support.directory import depot_of
from tests.support.hosts import ADA, Queue, queued_by
from tests.support.pages import ended, page
from tests.support.patience import PATIENCE, wait_for
from tests.support.s3 import Fate, S3Server, between

pytestmark = pytest.mark.usefixtures("host")


class Slow:
    """A server whose answers to some requests come when a test lets them."""

    def __init__(self, hangs: Callable[[str], bool]) -> None:
        self._hangs = hangs
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _: int, request: str) -> Fate:
        if self._hangs(request):
            self.asked.set()
            assert self.go_on.wait(PATIENCE)
        return "pass"


@contextmanager
def slow(
    backups: Backups, server: S3Server, bucket: str, hangs: Callable[[str], bool]
) -> Iterator[Slow]:
    """Let the bucket be behind such a server."""
    fate = Slow(hangs)
    with between(server, fate=fate) as (front, _):
        backups.destinations = {"offsite": front.destination(bucket, read_timeout=PATIENCE)}
        try:
            yield fate
        finally:
            fate.go_on.set()


@pytest.fixture
def backup(app: Flask, backups: Backups) -> str:
    found = created(app)
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]
    return found


def lose(backups: Backups, *names: str) -> None:
    for each in names:
        depot_of(backups).archive(each).unlink()


def is_listing(request: str) -> bool:
    return "list-type=2" in request


def is_reading(request: str) -> bool:
    return request.startswith("GET") and ".tar" in request


def scan(_: Backups) -> Order:
    return verbs.scan.order(ADA, ["offsite"])


def bring_back(backups: Backups) -> Order:
    lost = [each.id for each in backups.history.backups() if each.file_missing]
    return verbs.bring_back.order(backups.history, ADA, lost[0], "offsite")


@pytest.mark.parametrize(
    ("order", "hangs"), [(scan, is_listing), (bring_back, is_reading)], ids=["scan", "bring back"]
)
def test_others_run_meanwhile_and_a_second_one_does_not(
    app: Flask,
    client: FlaskClient,
    backups: Backups,
    localbucket: S3Server,
    bucket: str,
    backup: str,
    order: Callable[[Backups], Order],
    hangs: Callable[[str], bool],
) -> None:
    lose(backups, backup)
    with slow(backups, localbucket, bucket, hangs) as fate:
        operation = backups.orders.start(app, order(backups))
        assert fate.asked.wait(PATIENCE)
        assert "Only one operation" not in page(client, "/new")
        newer = created(app)
        backups.orders.run(app, verbs.prune.order(ADA))
        with pytest.raises(BusyError, match=f"{operation} by ada has been running since"):
            backups.orders.run(app, order(backups))
        fate.go_on.set()
        assert ended(backups, operation).state == "completed"
    assert backups.history.backup(newer).good
    assert backups.history.backup(backup).good


def test_a_second_one_is_refused_while_the_first_waits_for_a_runner(
    app: Flask, backups: Backups
) -> None:
    queue = Queue()
    queued_by(backups, queue)
    backups.orders.start(app, scan(backups))
    with pytest.raises(BusyError, match="has been waiting to start"):
        backups.orders.start(app, scan(backups))
    assert len(queue.ids) == 1


@pytest.mark.parametrize("everywhere", [True, False], ids=["everywhere", "only here"])
def test_a_backup_that_is_deleted_while_it_is_fetched_does_not_come_back(
    app: Flask,
    backups: Backups,
    localbucket: S3Server,
    bucket: str,
    backup: str,
    *,
    everywhere: bool,
) -> None:
    lose(backups, backup)
    with slow(backups, localbucket, bucket, is_reading) as fate:
        operation = backups.orders.start(app, bring_back(backups))
        assert fate.asked.wait(PATIENCE)
        if everywhere:
            backups.history.delete(app, ADA, backup, everywhere=True)
        else:
            backups.catalog.delete_backup(backup)
        fate.go_on.set()
        assert ended(backups, operation).state == "failed"
    assert not depot_of(backups).archive(backup).exists()
    assert list(backups.depot.path.glob("uploads/*")) == []
    assert list(backups.depot.path.glob("plans/*")) == []


def test_the_next_may_begin_once_the_process_of_the_first_is_dead(
    app: Flask, backups: Backups
) -> None:
    order = scan(backups)
    backups.orders.start(app, order)
    wait_for(lambda: backups.catalog.operation(order.id).ended)
    # As a process that was killed leaves it: nobody holds its log.
    assert backups.catalog.finish_operation(order.id, state="running", finished_at=None)
    backups.orders.run(app, scan(backups))


def test_a_copy_that_is_cancelled_while_its_place_hangs_is_not_tried_again(
    app: Flask, backups: Backups, moto: S3Server
) -> None:
    backup, name = created(app), moto.bucket()
    with between(moto) as (front, seen):
        seen.fate = lambda _, request: "hang" if "partNumber" in request else "pass"
        backups.destinations = {"offsite": front.destination(name, read_timeout=3)}
        backups.copying = replace(backups.copying, destinations=backups.destinations)
        (order,) = backups.copying.take_due(ADA)
        backups.orders.start(app, order)
        wait_for(lambda: any("partNumber" in each for each in seen.requests))
        backups.orders.cancel(app, order.id)
        assert ended(backups, order.id).state == "cancelled"
    states = {copy.place: copy.state for copy in backups.catalog.copies.of(backup)}
    assert states["offsite"] == "failed"
