"""Nothing stays stuck: whatever goes away or fails around an operation, it ends and says so."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import AuditEvent, User, db
from hexhub_backup import signals, verbs
from hexhub_backup.errors import BusyError, DatabaseError
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.tables import backups as backups_table
from hexhub_backup.history.tables import operations
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.jobs.recovery import Recovery
from hexhub_backup.operations import commit_protocol, create, decisions
from hexhub_backup.operations.choice import Choice
from tests.support.directory import coordinator_of, depot_of, lock_is_free
from tests.support.hosts import ADA, dump, leftovers, planned
from tests.support.patience import PATIENCE, wait_for
from tests.support.stored import root_of


class Away:
    """A table that goes away, and comes back after so many statements failed."""

    def __init__(
        self, *, comes_back_after: int | None = None, table: str = operations.name
    ) -> None:
        self._left = comes_back_after
        self._table = table
        self.failed = 0

    def go(self, *_: Any, **__: Any) -> None:
        self._rename(self._table, "elsewhere")

    def come_back(self) -> None:
        self._rename("elsewhere", self._table)

    @staticmethod
    def _rename(old: str, new: str) -> None:
        with db.engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")
            connection.commit()

    def note(self, _: Any) -> None:
        self.failed += 1
        if self.failed == self._left:
            self.come_back()

    @contextmanager
    def watched(self) -> Iterator[Away]:
        sa.event.listen(db.engine, "handle_error", self.note)
        try:
            yield self
        finally:
            sa.event.remove(db.engine, "handle_error", self.note)


def test_a_database_that_is_away_for_a_moment_at_the_end_loses_nothing(host: Flask) -> None:
    backups = backups_of(host)
    with Away(comes_back_after=2).watched() as away:
        signals.backup_created.connect(away.go, host)
        made = backups.orders.run(host, verbs.create.order(ADA)).operation
    assert away.failed >= 2
    found = backups.catalog.operation(made)
    assert (found.state, backups.history.backup(made).state) == ("completed", "completed")


@pytest.mark.parametrize("decided", [True, False])
def test_a_database_that_is_away_for_a_moment_when_it_decides_is_asked_again(
    host: Flask, monkeypatch: pytest.MonkeyPatch, decided: bool
) -> None:
    """What was decided is finished, and what was not is taken back, by the operation itself."""
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    db.session.execute(sa.text("DELETE FROM owners"))
    db.session.commit()
    for file in root_of(backups.storage).rglob("hosted/**/*.tar.gz"):
        file.unlink()
    before = dump(host)
    db.session.remove()
    order = planned(host, made)
    decision, ask = commit_protocol.Commit.decision, RunDecisions.decided
    asked: list[str] = []

    @contextmanager
    def without_an_answer(self: commit_protocol.Commit, *arguments: Any) -> Iterator[Any]:
        with decision(self, *arguments) as connection:
            yield connection
            if not decided:
                raise DatabaseError("The connection was lost.")
        raise DatabaseError("The connection was lost.")

    def is_away(self: RunDecisions, operation: str) -> bool:
        asked.append(operation)
        if len(asked) <= 2:
            raise DatabaseError("It is away.")
        return ask(self, operation)

    monkeypatch.setattr(commit_protocol.Commit, "decision", without_an_answer)
    monkeypatch.setattr(RunDecisions, "decided", is_away)
    if decided:
        backups.orders.run(host, order)
    else:
        with pytest.raises(DatabaseError, match="was lost"):
            backups.orders.run(host, order)
    assert len(asked) >= 3
    found = backups.catalog.operation(order.id)
    assert found.state == ("completed" if decided else "failed")
    assert (dump(host) == before) is not decided
    if not decided:
        assert leftovers(backups) == []


def test_what_ended_while_the_database_was_away_is_settled_by_the_next_look(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions, "PAUSES", (0.0,))
    backups = backups_of(host)
    away = Away()
    signals.backup_created.connect(away.go, host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    away.come_back()
    assert backups.catalog.operation(made).state == "running"
    finished: list[str] = []

    def note(_: Any, *, state: str, **extra: Any) -> None:
        finished.append(state)

    signals.operation_finished.connect(note, host)
    backups.recover_dead(host)
    found = backups.catalog.operation(made)
    assert found.state == "completed"
    assert found.outcome is not None
    assert found.outcome["size_bytes"] == backups.history.backup(made).size_bytes
    assert finished == ["completed"]


def test_what_can_not_be_recorded_is_not_begun_and_leaves_nothing(
    host: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = backups_of(host)
    plan = backups.orders.run(host, verbs.create.order(ADA)).operation
    away = Away()
    kept = sorted(backups.depot.path.rglob("*"))
    jobs = [verbs.create.order(ADA), verbs.verify.order(backups.history, ADA, plan)]
    # Recovery, which comes first, must not be what refuses it.
    monkeypatch.setattr(Recovery, "__call__", lambda self, app: None)
    away.go()
    for job in jobs:
        for go in (backups.orders.run, backups.orders.start):
            with pytest.raises(DatabaseError, match="was not begun"):
                go(host, job)
    away.come_back()
    assert lock_is_free(backups)
    assert sorted(backups.depot.path.rglob("*")) == kept
    assert backups.catalog.unfinished_operations() == []
    assert backups.orders.run(host, verbs.create.order(ADA)).outcome["manifest"]


@pytest.mark.parametrize("background", [False, True])
def test_a_receiver_that_leaves_its_session_open_holds_nothing(
    host: Flask, background: bool
) -> None:
    """What it wrote and did not commit would keep SQLite's one lock, and the audit event after it
    from its own."""
    backups = backups_of(host)

    def careless(_: Any, **extra: Any) -> None:
        user = db.session.scalars(sa.select(User)).first()
        assert user is not None
        user.email = f"{time.monotonic_ns()}@example.com"
        db.session.flush()

    for signal in (signals.operation_started, signals.backup_created, signals.operation_finished):
        signal.connect(careless, host)
    job = verbs.create.order(ADA)
    if background:
        made = backups.orders.start(host, job)
        wait_for(lambda: backups.catalog.operation(made).ended and lock_is_free(backups))
    else:
        made = backups.orders.run(host, job).operation
    assert backups.catalog.operation(made).state == "completed"
    with db.engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET email = email"))
    assert not db.session.scalars(sa.select(User).where(User.email.like("%@example.com%"))).first()


def test_a_receiver_whose_flush_failed_loses_no_audit_event_of_another(host: Flask) -> None:
    backups = backups_of(host)

    def broken(_: Any, **extra: Any) -> None:
        db.session.add(User())
        db.session.flush()

    told: list[str] = []

    def fine(_: Any, **extra: Any) -> None:
        told.append(db.session.scalars(sa.select(User.username)).first() or "")

    for function in (broken, fine, broken):
        signals.backup_created.connect(function, host, weak=False)
    backups.orders.run(host, verbs.create.order(ADA))
    assert len(told) == 1
    db.session.rollback()
    assert "backup.created" in db.session.scalars(sa.select(AuditEvent.event)).all()


@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_a_receiver_that_would_end_the_process_ends_itself(
    host: Flask, raised: BaseException
) -> None:
    backups = backups_of(host)

    def leaves(_: Any, **extra: Any) -> None:
        raise raised

    for signal in signals.SIGNALS.values():
        signal.connect(leaves, host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    assert backups.catalog.operation(made).state == "completed"
    started = backups.orders.start(host, verbs.verify.order(backups.history, ADA, made))
    wait_for(lambda: backups.catalog.operation(started).state == "completed")


def test_a_receiver_that_hangs_at_the_end_keeps_nobody_from_the_next_operation(
    host: Flask,
) -> None:
    backups = backups_of(host)
    go_on = threading.Event()

    def hangs(_: Any, **extra: Any) -> None:
        go_on.wait(PATIENCE)

    signals.operation_finished.connect(hangs, host)
    try:
        made = backups.orders.start(host, verbs.create.order(ADA))
        wait_for(lambda: backups.catalog.operation(made).state == "completed")
        wait_for(lambda: lock_is_free(backups))
    finally:
        go_on.set()


def test_a_thread_that_can_not_be_had_leaves_nothing_behind(host: Flask) -> None:
    backups = backups_of(host)
    job = verbs.create.order(ADA)
    # No machine has room for a stack of this size: pthread_create refuses.
    usual = threading.stack_size(1 << 46)
    try:
        with pytest.raises(BusyError, match="gets no further thread"):
            backups.orders.start(host, job)
    finally:
        threading.stack_size(usual)
    assert backups.history.operations() == []
    assert lock_is_free(backups)
    made = backups.orders.start(host, job)
    wait_for(lambda: backups.catalog.operation(made).state == "completed")


def test_a_disk_that_takes_no_more_events_hides_no_outcome(host: Flask) -> None:
    backups = backups_of(host)

    def fill(_: Any, *, operation: str, **extra: Any) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        path = coordinator_of(backups).events(operation)
        for entry in Path("/proc/self/fd").iterdir():
            if entry.resolve() == path:
                os.dup2(full, int(entry.name))
        os.close(full)

    signals.backup_created.connect(fill, host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    assert all(event["type"] != "result" for event in backups.orders.events(made))
    assert backups.catalog.operation(made).state == "completed"


def test_a_recovery_that_fails_is_tried_again_by_the_next_look(host: Flask) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    backups.catalog.finish_operation(made, state="running", finished_at=None)
    coordinator_of(backups).events(made).unlink()
    away = Away(table=backups_table.name)
    away.go()
    for _ in range(2):
        backups.recover_dead(host)
        assert backups.catalog.operation(made).state == "running"
    away.come_back()
    backups.recover_dead(host)
    assert backups.catalog.operation(made).state == "completed"


def test_two_who_recover_at_a_time_settle_it_once(host: Flask) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    backups.catalog.finish_operation(made, state="running", finished_at=None)
    coordinator_of(backups).events(made).unlink()
    finished: list[str] = []

    def note(_: Any, *, operation: str, **extra: Any) -> None:
        finished.append(operation)

    signals.operation_finished.connect(note, host)

    def look() -> None:
        with host.app_context():
            backups.recover_dead(host)

    both = [threading.Thread(target=look) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert finished == [made]
    results = [event for event in backups.orders.events(made) if event["type"] == "result"]
    assert len(results) == 1


def test_a_name_that_is_no_text_can_be_told(host: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason that no database takes would leave its operation running."""
    backups = backups_of(host)

    def work(*, progress: Any, **_: Any) -> dict[str, Any]:
        progress.log("\udcff")
        raise OSError(5, "Input/output error", b"/srv/\xff\0".decode(errors="surrogateescape"))

    monkeypatch.setattr(create, "create", work)
    with pytest.raises(Exception, match="Input/output"):
        backups.orders.run(host, verbs.create.order(ADA))
    (found,) = backups.history.operations()
    assert found.state == "failed"
    assert "\\udcff\\x00" in str(found.reason)


# retention and prune


def test_an_old_archive_that_was_adopted_kept_and_let_go_does_not_expire_in_the_past(
    host: Flask,
) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    backups.catalog.delete_backup(made)
    long_ago = (utc_now() - timedelta(days=90)).timestamp()
    os.utime(depot_of(backups).archive(made), (long_ago, long_ago))
    backups.prepare(host)
    adopted = backups.history.backup(made)
    assert adopted.adopted
    assert adopted.expires_at is not None
    backups.history.keep(made)
    assert backups.history.backup(made).expires_at is None
    let_go = backups.history.keep(made, kept=False)
    assert let_go.expires_at is not None
    assert let_go.expires_at > utc_now() + timedelta(days=29)
    # Twice is as once.
    assert backups.history.keep(made, kept=False).expires_at == let_go.expires_at


def uploaded(backups: Backups, content: bytes) -> Path:
    path = depot_of(backups).upload("an-upload")
    path.write_bytes(content)
    return path


def test_a_prune_that_is_refused_still_removes_what_holds_password_hashes(host: Flask) -> None:
    backups = backups_of(host)
    made = [backups.orders.run(host, verbs.create.order(ADA)).operation for _ in range(5)]
    upload = uploaded(backups, depot_of(backups).archive(made[0]).read_bytes())
    plan = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, str(upload), Choice())
    ).operation
    old = time.time() - 2 * 86400
    os.utime(upload, (old, old))
    for each in made:
        backups.catalog.update_backup(each, created_at=utc_now() - timedelta(days=31))
    with pytest.raises(Exception, match="of 5 backups have expired"):
        backups.orders.run(host, verbs.prune.order(ADA))
    assert not upload.exists()
    assert not depot_of(backups).plan(plan).exists()
    assert len(backups.history.backups()) == 5


def test_an_upload_from_a_clock_that_was_ahead_goes_too(host: Flask) -> None:
    backups = backups_of(host)
    upload = uploaded(backups, b"")
    ahead = time.time() + 400 * 86400
    os.utime(upload, (ahead, ahead))
    backups.remove_day_old()
    assert not upload.exists()


def test_an_upload_that_is_refused_goes_at_once(host: Flask) -> None:
    backups = backups_of(host)
    upload = uploaded(backups, b"no tar at all" * 1000)
    with pytest.raises(Exception, match="tar"):
        backups.orders.run(host, verbs.inspect.order(backups.history, ADA, str(upload), Choice()))
    assert not upload.exists()
    # A file of the server's own people is theirs.
    other = backups.depot.path.parent / "other.tar"
    other.write_bytes(b"no tar at all")
    with pytest.raises(Exception, match="tar"):
        backups.orders.run(host, verbs.inspect.order(backups.history, ADA, str(other), Choice()))
    assert other.exists()
