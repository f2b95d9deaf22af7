"""Orders that Celery's workers run: real ones, in processes of their own, with a real broker."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from celery import Celery  # type: ignore[import-untyped]
from flask import Flask

from hexhub_backup import CeleryRunner, extras, verbs
from hexhub_backup.destinations.encryption import Identities
from hexhub_backup.errors import BusyError, SettingError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.celery import TASK
from hexhub_backup.operations.choice import Choice
from tests.support.age import age_key
from tests.support.broker import Broker, Worker, body_of, broker, worker
from tests.support.commands import cli, refused
from tests.support.hosts import ADA, queued_by
from tests.support.instance import Instance
from tests.support.kept import kept
from tests.support.patience import wait_for

#: An order that is no more, as one that was withdrawn.
NOBODYS = "20260131-103000-9f3ac1"

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def instance(instance: Instance, queue: Broker) -> Instance:
    """The test's host, whose orders go to the broker."""
    return instance


def state(backups: Backups, operation: str) -> str:
    return backups.catalog.operation(operation).state


def test_the_message_is_the_id_and_an_order_is_cancelled_in_the_queue(
    app: Flask, backups: Backups, queue: Broker
) -> None:
    order = backups.orders.start(app, verbs.create.order(ADA))
    (message,) = queue.waiting()
    assert message["headers"]["task"] == TASK
    arguments, named, of_celery = body_of(message)
    assert (arguments, named) == ([order], {})
    assert not any(of_celery.values())
    assert state(backups, order) == "queued"
    backups.orders.cancel(app, order)
    assert state(backups, order) == "cancelled"


def test_workers_run_what_is_ordered_once(
    app: Flask, backups: Backups, queue: Broker, instance: Instance, tmp_path: Path
) -> None:
    """Each order comes twice, one after it was cancelled and one of which nobody knows."""
    cancelled = backups.orders.start(app, verbs.create.order(ADA))
    backups.orders.cancel(app, cancelled)
    create = backups.orders.start(app, verbs.create.order(ADA))
    for each in (cancelled, create, NOBODYS):
        CeleryRunner(app.extensions["celery"]).submit(each)
    assert len(queue.waiting()) == 5
    with worker(instance) as celery:
        celery.handled(create, times=2)
        celery.handled(cancelled, times=2)
        celery.handled(NOBODYS)
        assert backups.history.backup(create).good
        assert state(backups, cancelled) == "cancelled"
        commands_follow_what_workers_do(app, backups)
        what_takes_a_key_stays_here(app, backups, create, tmp_path, celery)
    log = celery.log.read_text()
    assert f"order {create}: The create {create} does not wait to be run" in log
    assert f"order {cancelled}: It was cancelled before it began" in log
    assert f"order {NOBODYS}: There is no operation" in log
    assert "Traceback" not in log
    assert "ERROR" not in log


def commands_follow_what_workers_do(app: Flask, backups: Backups) -> None:
    """Their output and their exit codes are those of what runs in the command."""
    here, elsewhere = (documented(app, "create", *each) for each in ((), ("--queue",)))
    assert here.keys() == elsewhere.keys()
    assert here["contents"] == elsewhere["contents"]
    bound = {each.id: each.bound for each in backups.history.operations()}
    assert (bound[here["id"]], bound[elsewhere["id"]]) == (True, False)
    path = Path(elsewhere["archive"])
    restored = documented(app, "restore", elsewhere["id"], "--yes", "--queue")
    assert restored["records"]["packages"]["unchanged"]
    content = path.read_bytes()
    path.write_bytes(content[:-2000])
    told = [refused(app, "verify", elsewhere["id"], *each) for each in ((), ("--queue",))]
    assert told[0] == told[1]
    assert told[0]["faults"]


def documented(app: Flask, *arguments: str) -> dict[str, Any]:
    done = cli(app, *arguments, "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def what_takes_a_key_stays_here(
    app: Flask, backups: Backups, backup: str, folder: Path, celery: Worker
) -> None:
    """The process that has the key opens the archive, and workers use what came of it."""
    key = age_key(folder / "key.txt")
    encrypted = folder / "encrypted.tar.age"
    archive = backups.depot.archive_name(backup)
    program = ["age", "-r", key.recipient, "-o", str(encrypted), archive]
    subprocess.run(program, check=True)
    opening = verbs.decrypt.order(backups.history, ADA, str(encrypted))
    assert opening is not None
    identity = Identities(key.identity.read_bytes())
    backups.orders.start(app, opening, identity=identity)
    wait_for(lambda: state(backups, opening.id) == "completed")
    opened = verbs.decrypt.opened(backups.depot, backups.catalog.operation(opening.id))
    choice = Choice(strategy="overwrite")
    plan = backups.orders.start(
        app, verbs.inspect.order(backups.history, ADA, str(encrypted), choice, opened)
    )
    celery.handled(plan)
    assert state(backups, plan) == "completed"
    identified = ("--identity", str(key.identity), "--queue")
    assert documented(app, "verify", str(encrypted), *identified)["archive"] == str(encrypted)
    told = celery.log.read_text() + kept(app, backups.depot.path)
    assert opening.id not in celery.log.read_text()
    assert not any(secret in told for secret in key.secrets)


# The request is told after seconds.
@pytest.mark.parametrize("hangs", [False, pytest.param(True, marks=pytest.mark.matrix)])
def test_an_order_that_the_broker_does_not_take_is_withdrawn(
    app: Flask, backups: Backups, hangs: bool
) -> None:
    with broker() as its_own:
        queued_by(backups, CeleryRunner(Celery(broker=its_own.url)))
        its_own.pause() if hangs else its_own.stop()
        with pytest.raises(BusyError, match="did not take it"):
            backups.orders.start(app, verbs.create.order(ADA))
    assert backups.history.operations() == []
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]


def test_what_is_no_celery_is_refused(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match="no Celery app"):
        CeleryRunner("redis://127.0.0.1")
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(SettingError, match=r"pip install 'hexhub_backup\[celery\]'"):
        CeleryRunner(Celery())
