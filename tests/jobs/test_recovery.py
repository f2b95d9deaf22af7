"""What recovery makes of the history, the kept events and the backup directory together."""

from __future__ import annotations

import os
from typing import Any

import pytest

from examples.host_app.models import User, db
from hexhub_backup import signals, verbs
from hexhub_backup.coordination.events import EventLog
from hexhub_backup.errors import DatabaseError, InterruptedOperationError
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice
from tests.support.directory import coordinator_of, depot_of
from tests.support.hosts import ADA


def changed_user(backups: Any, host: Any) -> tuple[User, str]:
    """A user whose password differs from the backup's, and that backup."""
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    user = db.session.query(User).filter_by(is_admin=False).first()
    assert user is not None
    user.password_hash = "scrypt:32768:8:1$abc$" + "0" * 128
    db.session.commit()
    return user, made


def test_a_decided_restore_of_rows_alone_is_finished_and_told(
    host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups = backups_of(host)
    user, made = changed_user(backups, host)
    told: list[dict[str, Any]] = []

    def restored(sender: Any, **payload: Any) -> None:
        told.append(payload)

    signals.restore_completed.connect(restored, host)
    plan = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, made, Choice(strategy="overwrite"))
    )

    def refuse(self: RunDecisions, operation_id: str, outcome: object) -> None:
        raise DatabaseError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(RunDecisions, "close_journal", refuse)
        with pytest.raises(InterruptedOperationError, match="The restore has happened"):
            backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert told == []
    listed = backups.history.operations()[0]
    assert (listed.verb, listed.state) == ("restore", "interrupted")
    for _ in range(2):
        backups.prepare(host)
    operation = backups.catalog.operation(listed.id)
    assert operation.state == "completed"
    assert operation.outcome is not None
    assert [warning["code"] for warning in operation.outcome["warnings"]] == ["recovered"]
    (payload,) = told
    assert list(payload["credentials"]) == [user.username]


def test_an_operation_that_runs_is_left_alone(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    seen: list[str] = []

    def meanwhile(sender: Any, **payload: Any) -> None:
        backups.prepare(host)
        seen.append(backups.catalog.operation(payload["operation"]).state)

    signals.operation_step.connect(meanwhile, host)
    done = backups.orders.run(host, verbs.verify.order(backups.history, ADA, made))
    assert set(seen) == {"running"}
    backups.prepare(host)
    assert backups.catalog.operation(done.operation).state == "completed"
    results = [e for e in backups.orders.events(done.operation) if e["type"] == "result"]
    assert [event["state"] for event in results] == ["completed"]


def test_the_history_is_written_after_all_where_it_could_not_be(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    backups.catalog.finish_operation(made, state="running", finished_at=None, outcome=None)
    backups.catalog.update_backup(made, state="running", manifest=None, size_bytes=None)
    backups.prepare(host)
    assert backups.catalog.operation(made).state == "completed"
    backup = backups.history.backup(made)
    assert (backup.state, backup.intact) == ("completed", True)
    assert backup.size_bytes == depot_of(backups).archive(made).stat().st_size


@pytest.mark.parametrize("damage", [b"\0" * 300, b"\xff\xfe\n", b"[1, 2]\n", b'{"seq": 1}\n'])
def test_a_log_that_a_power_loss_damaged_stops_nothing(host: Any, damage: bytes) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    depot_of(backups).archive(made).unlink()
    backups.catalog.finish_operation(made, state="running")
    path = coordinator_of(backups).events(made)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + damage + b"".join(whole[1:]))
    assert len(list(backups.orders.events(made))) == 1
    backups.prepare(host)
    assert backups.catalog.operation(made).state == "interrupted"
    assert [event["type"] for event in backups.orders.events(made)] == ["state", "result"]
    EventLog(path).close()


def test_an_archive_with_an_odd_time_is_adopted(host: Any) -> None:
    backups = backups_of(host)
    made = backups.orders.run(host, verbs.create.order(ADA)).operation
    backups.catalog.delete_backup(made)
    os.utime(depot_of(backups).archive(made), (2**33, 2**33))
    backups.prepare(host)
    assert backups.history.backup(made).adopted
