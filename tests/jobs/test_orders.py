"""An order is a row, which whoever has its id can run, once; until then it waits."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import hexhub_backup
from examples.host_app import create_app
from examples.host_app.models import Package, db
from hexhub_backup import LocalStorage, signals, verbs
from hexhub_backup.coordination.lock import exclusive
from hexhub_backup.errors import (
    BusyError,
    CancelledError,
    DatabaseError,
    InterruptedOperationError,
    NotFoundError,
    SettingError,
)
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.tables import operations
from hexhub_backup.jobs import threads
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.verbs.base import Order
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import ADA, Queue, planned, queued_by
from tests.support.instance import ROOT, Instance
from tests.support.patience import PATIENCE, wait_for

pytestmark = pytest.mark.usefixtures("database", "host")


def host(instance: Instance, **config: Any) -> Flask:
    if instance.uri is not None:
        config["SQLALCHEMY_DATABASE_URI"] = instance.uri
    return create_app(instance.path, config)


@pytest.fixture
def queue(backups: Backups) -> Queue:
    queue = Queue()
    queued_by(backups, queue)
    return queue


def told_ends(app: Flask) -> list[tuple[str, str]]:
    ends: list[tuple[str, str]] = []

    def note(_: Any, *, operation: str, state: str, **extra: Any) -> None:
        ends.append((operation, state))

    signals.operation_finished.connect(note, app, weak=False)
    return ends


def test_an_order_waits_and_is_run_once(app: Flask, backups: Backups, queue: Queue) -> None:
    ends = told_ends(app)
    order = verbs.create.order(ADA)
    assert backups.orders.start(app, order) == order.id
    assert queue.ids == [order.id]
    waiting = backups.catalog.operation(order.id)
    assert (waiting.state, waiting.started_at, waiting.bound) == ("queued", None, False)
    assert waiting.queued_at <= utc_now()
    assert backups.history.backups() == []
    done = hexhub_backup.run(app, order.id)
    assert done.operation == order.id
    completed = backups.catalog.operation(order.id)
    assert completed.state == "completed"
    assert completed.started_at is not None
    assert completed.queued_at == waiting.queued_at
    assert backups.history.backup(order.id).good
    with pytest.raises(BusyError, match="does not wait to be run"):
        hexhub_backup.run(app, order.id)
    with pytest.raises(NotFoundError):
        hexhub_backup.run(app, "unknown")
    assert ends == [(order.id, "completed")]


_RUN = """
import sys, hexhub_backup
from examples.host_app import create_app
app = create_app()
with app.app_context():
    print(hexhub_backup.run(app, sys.argv[1]).operation)
"""


def test_another_process_needs_the_id_and_nothing_else(
    app: Flask, backups: Backups, queue: Queue, instance: Instance
) -> None:
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    package = db.session.scalars(sa.select(Package).where(Package.source == "local")).first()
    assert package is not None
    package.meta, before = {"changed": True}, package.meta
    db.session.commit()
    plan = backups.orders.start(
        app, verbs.inspect.order(backups.history, ADA, made, Choice(strategy="overwrite"))
    )
    run_elsewhere(instance, plan)
    restore = backups.orders.start(
        app, verbs.restore.order(backups.plans, ADA, plan, backup_first=True)
    )
    run_elsewhere(instance, restore)
    db.session.refresh(package)
    assert package.meta == before
    outcome = backups.catalog.operation(restore).outcome
    assert outcome is not None
    assert backups.history.backup(outcome["backup_first"]).good
    undo = backups.orders.start(app, verbs.undo.order(backups.history, ADA, restore))
    run_elsewhere(instance, undo)
    db.session.refresh(package)
    assert package.meta == {"changed": True}


def run_elsewhere(instance: Instance, operation: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, operation],
        cwd=ROOT,
        env=instance.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout == f"{operation}\n", done.stderr
    # A snapshot of the session would be from before.
    db.session.rollback()


def test_many_who_run_one_order_run_it_once(app: Flask, backups: Backups, queue: Queue) -> None:
    order = backups.orders.start(app, verbs.create.order(ADA))
    gate = threading.Barrier(4)

    def run() -> str:
        with app.app_context():
            gate.wait()
            try:
                return hexhub_backup.run(app, order).operation
            except BusyError as error:
                return error.code

    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(run) for _ in range(4)]
    assert sorted(each.result() for each in results) == sorted(["busy"] * 3 + [order])
    assert backups.catalog.operation(order).state == "completed"


# --- one exclusive order at a time


def test_an_exclusive_order_is_refused_while_another_one_waits(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    first = backups.orders.start(app, verbs.create.order(ADA))
    for order in (verbs.create.order(ADA), verbs.prune.order(ADA)):
        for go in (backups.orders.start, backups.orders.run):
            with pytest.raises(BusyError, match=f"create {first} by ada has been waiting to start"):
                go(app, order)
    assert [each.id for each in backups.history.operations()] == [first]
    hexhub_backup.run(app, first)
    assert backups.orders.run(app, verbs.prune.order(ADA)).outcome["backups"] == []


def test_hosts_that_share_only_the_database_refuse_what_another_one_lets_wait(
    app: Flask, backups: Backups, queue: Queue, instance: Instance, tmp_path: Path
) -> None:
    first = backups.orders.start(app, verbs.create.order(ADA))
    other = host(instance, HEXHUB_BACKUP_PATH=str(tmp_path / "elsewhere"))
    with other.app_context():
        theirs = backups_of(other)
        theirs.prepare(other)
        with pytest.raises(BusyError, match=f"create {first} by ada has been waiting to start"):
            theirs.orders.run(other, verbs.create.order(ADA))
        db.session.remove()
        db.engine.dispose()
    assert backups.catalog.operation(first).state == "queued"
    hexhub_backup.run(app, first)


def test_of_many_who_ask_at_once_one_is_let_in(
    app: Flask, backups: Backups, queue: Queue, instance: Instance, tmp_path: Path
) -> None:
    """Each with a backup directory of its own: it is the database that refuses the others."""
    apps = [host(instance, HEXHUB_BACKUP_PATH=str(tmp_path / f"{n}")) for n in range(3)]
    gate = threading.Barrier(len(apps))

    def ask(other: Flask) -> str:
        with other.app_context():
            theirs = queued_by(backups_of(other), Queue())
            theirs.prepare(other)
            gate.wait()
            try:
                return theirs.orders.start(other, verbs.create.order(ADA))
            except BusyError as error:
                return error.code
            finally:
                db.session.remove()
                db.engine.dispose()

    with ThreadPoolExecutor(len(apps)) as pool:
        answers = list(pool.map(ask, apps))
    assert answers.count("busy") == len(apps) - 1
    assert [each.state for each in backups.history.operations()] == ["queued"]


def test_others_go_on_while_an_exclusive_order_waits(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    backups.orders.start(app, verbs.create.order(ADA))
    done = backups.orders.run(app, verbs.verify.order(backups.history, ADA, made))
    assert done.outcome["digest"]


def test_an_order_that_does_not_get_the_lock_fails_and_says_so(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    order = backups.orders.start(app, verbs.create.order(ADA))
    ends = told_ends(app)
    with exclusive(coordinator_of(backups).lock) as lock:
        about = {"operation": "42", "verb": "create", "actor": "eve", "started_at": "today"}
        lock.name(about)
        with pytest.raises(BusyError, match="create 42 by eve"):
            hexhub_backup.run(app, order)
    failed = backups.catalog.operation(order)
    assert (failed.state, failed.code) == ("failed", "busy")
    assert ends == [(order, "failed")]
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]


# --- what is cancelled, or withdrawn


def test_an_order_that_waits_is_cancelled_at_once(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    ends = told_ends(app)
    order = backups.orders.start(app, verbs.create.order(ADA))
    backups.orders.cancel(app, order)
    cancelled = backups.catalog.operation(order)
    assert (cancelled.state, cancelled.code, cancelled.started_at) == ("cancelled",) * 2 + (None,)
    (event,) = backups.orders.events(order)
    assert (event["type"], event["state"]) == ("result", "cancelled")
    assert ends == [(order, "cancelled")]
    with pytest.raises(CancelledError):
        hexhub_backup.run(app, order)
    assert list(backups.orders.events(order)) == [event]
    backups.orders.cancel(app, order)
    assert not coordinator_of(backups).stop_wish(order).exists()
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]


def test_the_upload_of_an_inspection_that_is_cancelled_before_it_began_goes(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    upload = depot_of(backups).upload("an-upload")
    upload.write_bytes(b"anything")
    order = verbs.inspect.order(backups.history, ADA, str(upload), Choice())
    backups.orders.cancel(app, backups.orders.start(app, order))
    assert not upload.exists()


class Broken:
    def submit(self, operation_id: str) -> None:
        raise ConnectionError("amqp://user:password@broker refused")


def test_an_order_that_no_runner_takes_leaves_nothing(app: Flask, backups: Backups) -> None:
    queued_by(backups, Broken())
    before = sorted(backups.depot.path.rglob("*"))
    with pytest.raises(BusyError, match="did not take it") as caught:
        backups.orders.start(app, verbs.create.order(ADA))
    assert "password" not in str(caught.value)
    assert backups.history.operations() == []
    assert sorted(backups.depot.path.rglob("*")) == before
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]


def test_an_order_whose_commit_has_no_answer_blocks_nobody(app: Flask, backups: Backups) -> None:
    written: list[str] = []

    def lose(connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(f"INSERT INTO {operations.name}"):
            written.append(statement)
        elif statement == "COMMIT" and written:
            answer_lost(connection)

    def answer_lost(connection: sa.Connection) -> None:
        if written:
            written.clear()
            driver: Any = connection.connection.driver_connection
            driver.commit()
            raise connection.dialect.loaded_dbapi.OperationalError("the connection was lost")

    engine = db.engine
    sa.event.listen(engine, "after_cursor_execute", lose)
    sa.event.listen(engine, "commit", answer_lost)
    try:
        with pytest.raises(DatabaseError, match="was not begun"):
            backups.orders.run(app, verbs.create.order(ADA))
    finally:
        sa.event.remove(engine, "after_cursor_execute", lose)
        sa.event.remove(engine, "commit", answer_lost)
    (recorded,) = backups.history.operations()
    assert recorded.state == "queued"
    done = backups.orders.run(app, verbs.create.order(ADA))
    ends = {each.id: each.state for each in backups.history.operations()}
    assert ends == {recorded.id: "interrupted", done.operation: "completed"}


def test_what_is_no_runner_is_refused(tmp_path: Path) -> None:
    app = Flask(__name__)
    for runner in (object(), "celery", Queue):
        with pytest.raises(SettingError, match=r"runner= is .* not a runner"):
            hexhub_backup.HexHubBackup(
                app,
                registry=hexhub_backup.SQLAlchemyRegistry.__new__(hexhub_backup.SQLAlchemyRegistry),
                storage=LocalStorage(tmp_path),
                runner=runner,
            )


# --- what a dead process left


_DIES = """
import os, sys
from examples.host_app import create_app
from hexhub_backup import verbs
from hexhub_backup.history.models import Who
from hexhub_backup.jobs import threads

threads.start = lambda work, name: os.kill(os.getpid(), 9)
app = create_app()
with app.app_context():
    backups = app.extensions["hexhub_backup"]
    backups.orders.start(app, verbs.create.order(Who(actor="dead")))
"""


def test_an_order_whose_process_died_before_it_began_is_interrupted(
    app: Flask, backups: Backups, instance: Instance
) -> None:
    ends = told_ends(app)
    done = subprocess.run([sys.executable, "-c", _DIES], cwd=ROOT, env=instance.environment)
    assert done.returncode == -9
    (left,) = backups.history.operations()
    assert (left.state, left.bound) == ("queued", True)
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]
    found = backups.catalog.operation(left.id)
    assert (found.state, found.started_at) == ("interrupted", None)
    assert "before it began" in str(found.reason)
    assert ends[0] == (left.id, "interrupted")
    with pytest.raises(BusyError):
        hexhub_backup.run(app, left.id)


def test_recovery_leaves_an_order_alone_for_which_somebody_will_come(
    app: Flask, backups: Backups, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    for_runner = backups.orders.start(app, verbs.create.order(ADA))
    for _ in range(2):
        backups.recover_dead(app)
        backups.prepare(app)
    assert backups.catalog.operation(for_runner).state == "queued"
    hexhub_backup.run(app, for_runner)
    # And one of a thread, which has not begun yet.
    waiting: list[Any] = []
    monkeypatch.setattr(threads, "start", lambda work, name: waiting.append(work))
    for_thread = queued_by(backups, None).orders.start(app, verbs.create.order(ADA))
    backups.recover_dead(app)
    backups.prepare(app)
    assert backups.catalog.operation(for_thread).state == "queued"
    waiting[0]()
    assert backups.catalog.operation(for_thread).state == "completed"


def test_an_order_that_could_not_be_read_when_its_thread_began_is_interrupted(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Any] = []
    monkeypatch.setattr(threads, "start", lambda work, name: waiting.append(work))
    order = backups.orders.start(app, verbs.create.order(ADA))

    def rename(old: str, new: str) -> None:
        with db.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    rename(operations.name, "elsewhere")
    waiting[0]()
    rename("elsewhere", operations.name)
    backups.recover_dead(app)
    assert backups.catalog.operation(order).state == "interrupted"


def test_a_worker_that_died_before_it_had_taken_an_order_leaves_it_to_another(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    order = backups.orders.start(app, verbs.create.order(ADA))
    backups.coordinator.running(order).__enter__()
    assert hexhub_backup.run(app, order).outcome["manifest"]


def test_an_order_of_a_lost_directory_is_interrupted_after_a_moment(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its log is not here, its process may have another directory; for a while."""
    monkeypatch.setattr(threads, "start", lambda work, name: None)
    order = backups.orders.start(app, verbs.create.order(ADA))
    coordinator_of(backups).events(order).unlink()
    backups.recover_dead(app)
    assert backups.catalog.operation(order).state == "queued"
    backups.catalog.finish_operation(order, queued_at=utc_now() - timedelta(minutes=2))
    backups.recover_dead(app)
    assert backups.catalog.operation(order).state == "interrupted"


# --- what lost its lock decides nothing


def take_away(backups: Backups, app: Flask, step: str) -> list[str]:
    """Let recovery take an operation away from its run, when a step begins."""
    taken: list[str] = []

    def take(_: Any, *, operation: str, event: dict[str, Any], **extra: Any) -> None:
        if (event["step"], event["state"]) == (step, "running") and not taken:
            taken.append(operation)
            backups.catalog.claim(operation, "recovery's")
            backups.catalog.finish_operation(
                operation, run_token_was="recovery's", state="interrupted", reason="by recovery"
            )

    signals.operation_step.connect(take, app, weak=False)
    return taken


@pytest.mark.parametrize("verb", ["restore", "undo"])
def test_a_run_that_was_taken_away_can_not_decide(
    app: Flask, backups: Backups, instance: Instance, verb: str
) -> None:
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    stored = next((Path(app.config["HOST_APP_STORAGE"]) / "hosted/packages").rglob("*.gz"))
    stored.unlink()
    order = planned(app, made)
    if verb == "undo":
        restored = backups.orders.run(app, order).operation
        order = verbs.undo.order(backups.history, ADA, restored)
    before = instance.registry()
    taken = take_away(backups, app, "restore_owners" if verb == "restore" else "stage_records")
    with pytest.raises(InterruptedOperationError, match="nothing was changed"):
        backups.orders.run(app, order)
    assert taken == [order.id]
    assert instance.registry() == before
    assert instance.leftovers() == []
    found = backups.catalog.operation(order.id)
    assert (found.state, found.reason, found.decided_at) == ("interrupted", "by recovery", None)
    # And what is asked for next runs.
    assert backups.orders.run(app, again(order, backups)).outcome["records"]


def test_a_run_whose_token_was_replaced_neither_decides_nor_ends_the_operation(
    app: Flask, backups: Backups, instance: Instance
) -> None:
    """Recovery has claimed the operation, and has not ended it yet."""
    made = backups.orders.run(app, verbs.create.order(ADA)).operation
    next((Path(app.config["HOST_APP_STORAGE"]) / "hosted/packages").rglob("*.gz")).unlink()
    order = planned(app, made)
    before = instance.registry()

    def claim(_: Any, *, operation: str, event: dict[str, Any], **extra: Any) -> None:
        if (event["step"], event["state"]) == ("restore_owners", "running"):
            backups.catalog.claim(operation, "recovery's")

    signals.operation_step.connect(claim, app)
    with pytest.raises(InterruptedOperationError, match="nothing was changed"):
        backups.orders.run(app, order)
    assert instance.registry() == before
    assert backups.catalog.operation(order.id).state == "running"
    backups.recover_dead(app)
    assert backups.catalog.operation(order.id).state == "interrupted"


def again(order: Order, backups: Backups) -> Order:
    if "plan" in order.options:
        return verbs.restore.order(backups.plans, ADA, order.options["plan"])
    return verbs.undo.order(backups.history, ADA, order.options["operation"])


def test_a_token_is_of_one_run(app: Flask, backups: Backups, queue: Queue) -> None:
    tokens: set[str] = set()
    query = sa.select(operations.c.run_token)
    for _ in range(3):
        order = backups.orders.start(app, verbs.create.order(ADA))
        with db.engine.connect() as connection:
            assert connection.execute(query.where(operations.c.id == order)).scalar() is None
        hexhub_backup.run(app, order)
        with db.engine.connect() as connection:
            token = connection.execute(query.where(operations.c.id == order)).scalar()
        assert token is not None
        assert len(token) == 32
        tokens.add(token)
    assert len(tokens) == 3


def test_an_order_that_is_cancelled_while_others_look_after_the_dead_is_cancelled(
    app: Flask, backups: Backups, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = told_ends(app)
    order = backups.orders.start(app, verbs.create.order(ADA))
    give_up = verbs.create.CREATE.give_up

    def slowly(context: Any) -> None:
        backups.recover_dead(app)
        give_up(context)

    slow = replace(verbs.create.CREATE, give_up=slowly)
    monkeypatch.setitem(verbs.VERBS, "create", slow)
    backups.orders.cancel(app, order)
    assert backups.catalog.operation(order).state == "cancelled"
    assert ends == [(order, "cancelled")]


def test_who_looks_whether_an_order_lives_keeps_no_worker_from_it(
    app: Flask, backups: Backups, queue: Queue
) -> None:
    order = backups.orders.start(app, verbs.create.order(ADA))
    with coordinator_of(backups).events(order).open() as log:
        fcntl.flock(log, fcntl.LOCK_SH)
        looks = threading.Timer(0.2, fcntl.flock, (log, fcntl.LOCK_UN))
        looks.start()
        assert hexhub_backup.run(app, order).outcome["manifest"]
        looks.join()


def test_an_order_of_a_process_that_can_run_none_ends_and_says_why(
    app: Flask, backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise SettingError("A pooler stands before the database.")

    monkeypatch.setattr(backups, "has_places", False)
    monkeypatch.setattr(backups, "make_places", fails)
    order = backups.orders.start(app, verbs.create.order(ADA))
    wait_for(lambda: backups.catalog.operation(order).ended)
    found = backups.catalog.operation(order)
    assert (found.state, found.reason) == ("failed", "A pooler stands before the database.")
    monkeypatch.undo()
    assert backups.orders.run(app, verbs.create.order(ADA)).outcome["manifest"]
