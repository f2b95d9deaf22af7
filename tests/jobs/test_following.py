"""`--queue`: a command hands its operation to the runner, and follows it to the end."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from flask import Flask

from hexhub_backup import verbs
from hexhub_backup.errors import CancelledError, NotTakenError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.jobs.following import Following
from hexhub_backup.jobs.runner import FunctionRunner
from tests.support.commands import cli, created, refused
from tests.support.hosts import ADA, Queue, queued_by, workers

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def queue(backups: Backups) -> Queue:
    queue = Queue()
    queued_by(backups, queue)
    return queue


def test_each_command_that_has_operations_run_can_have_them_run_elsewhere(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    with workers(app, queue):
        made = json.loads(cli(app, "create", "--queue", "--json").stdout)["id"]
        for command in (
            ("verify", made),
            ("verify-all",),
            ("inspect", made),
            ("restore", made, "--yes"),
            ("prune",),
            ("create",),
            ("tick",),
        ):
            done = cli(app, *command, "--queue")
            assert done.exit_code == 0, done.output
    ran = backups.history.operations()
    assert {each.verb for each in ran} == {
        "create",
        "verify",
        "verify_all",
        "inspect",
        "restore",
        "prune",
    }
    assert {each.bound for each in ran} == {False}
    assert {each.id for each in ran} == {*queue.ids}


def test_it_is_refused_where_there_is_no_runner(app: Flask, backups: Backups) -> None:
    backup = created(app)
    before = backups.history.operations()
    for command in (("create",), ("delete", backup, "--yes"), ("tick",)):
        error = refused(app, *command, "--queue")
        assert error["code"] == "bad_setting"
        assert "Nothing was begun" in error["message"]
    assert backups.history.operations() == before
    assert backups.history.backup(backup).good


@pytest.mark.host(config={"HEXHUB_BACKUP_WORKER_TIMEOUT": 1})
def test_it_ends_where_nobody_takes_it(app: Flask, backups: Backups, queue: Queue) -> None:
    waited: list[timedelta] = []
    following = Following(app, backups, happened=lambda _: None, waits=waited.append)
    with pytest.raises(NotTakenError, match="within 1 second"):
        following.run(verbs.create.order(ADA))
    assert waited


def test_ctrl_c_cancels_what_waits_for_a_worker(app: Flask, backups: Backups) -> None:
    def submit(_: str) -> None:
        backups.orders.stopping = CancelledError("It was cancelled with Ctrl-C.")

    queued_by(backups, FunctionRunner(submit))
    following = Following(app, backups, happened=lambda _: None, waits=lambda _: None)
    order = verbs.create.order(ADA)
    with pytest.raises(CancelledError, match="before it began"):
        following.run(order)
    assert backups.catalog.operation(order.id).state == "cancelled"
    # Nor is the next one begun.
    with pytest.raises(CancelledError, match="with Ctrl-C"):
        following.run(verbs.create.order(ADA))
    assert len(backups.history.operations()) == 1
