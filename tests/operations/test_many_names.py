"""What an operation changed is told in full, and held in memory, row and event in brief."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import Package, User, db
from examples.host_app.seed import seed
from hexhub_backup import signals, verbs
from hexhub_backup.errors import BackupError, DatabaseError, InterruptedOperationError
from hexhub_backup.history.run_decisions import RunDecisions
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.notices import Notice
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.progress import Progress
from hexhub_backup.web import outcomes
from tests.support.directory import depot_of
from tests.support.hosts import ADA, restored

pytestmark = pytest.mark.sample

#: Of each an outcome lists the first hundred.
USERS, PACKAGES, LISTED = 130, 110, 100


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive of many packages and users, whose password hashes are of no known scheme."""
    app = create_app(tmp_path_factory.mktemp("many"))
    with app.app_context():
        seed(users=USERS, packages=PACKAGES, releases=1, file_size=0)
        db.session.execute(sa.update(User).values(password_hash="md5:of-old"))
        db.session.commit()
        backups = backups_of(app)
        backups.prepare(app)
        return str(
            depot_of(backups).archive(backups.orders.run(app, verbs.create.order(ADA)).operation)
        )


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(tmp_path / "host")
    with app.app_context():
        backups_of(app).prepare(app)
        yield app


def names() -> tuple[list[str], list[str]]:
    """The packages and the users of the registry."""
    packages = sa.select(Package.name).where(Package.source == "local")
    return sorted(db.session.scalars(packages)), sorted(
        db.session.scalars(sa.select(User.username))
    )


def told(app: Flask) -> list[dict[str, Any]]:
    """The payloads of what is told to a host that rebuilds an index or ends sessions."""
    payloads: list[dict[str, Any]] = []

    def receiver(_: Any, **payload: Any) -> None:
        payloads.append(payload)
        # A copy, as a host would take it while it is told.
        payload["all"] = {name: list(payload[name]) for name in ("packages", "users")}

    for signal in (signals.restore_completed, signals.restore_undone):
        signal.connect(receiver, app, weak=False)
    return payloads


def is_in_brief(document: Any) -> bool:
    """Whether no list in a JSON document is longer than the first hundred, and one more that
    recovery adds."""
    if isinstance(document, dict):
        return all(map(is_in_brief, document.values()))
    return not isinstance(document, list) or (
        len(document) <= LISTED + 1 and all(map(is_in_brief, document))
    )


def test_a_restore_and_its_undo_tell_every_name_and_hold_a_hundred(
    empty: Flask, archive: str
) -> None:
    backups, payloads = backups_of(empty), told(empty)
    done = restored(empty, archive)
    packages, users = names()
    assert (len(packages), len(users)) == (PACKAGES, USERS)
    undone = backups.orders.run(
        empty, verbs.undo.order(backups.history, ADA, done.operation, granted=True)
    )
    assert names() == ([], [])
    for each, payload in zip((done, undone), payloads, strict=True):
        assert payload["all"] == {"packages": packages, "users": users}
        assert isinstance(payload["users"], Collection)
        assert len(payload["users"]) == len(users)
        # Also later, and again: what tells it has no end.
        assert list(payload["users"]) == list(payload["users"]) == users
        assert each.outcome["changed"]["users"] == {"count": len(users), "names": users[:LISTED]}
        assert is_in_brief(backups.catalog.operation(each.operation).outcome)
        assert is_in_brief(list(backups.orders.events(each.operation))[-1])
        assert is_in_brief(payload["outcome"])
        document = download(empty, each.operation)
        assert document["changed"] == {"packages": packages, "users": users, "credentials": []}
    assert done.outcome["warning_count"] >= len(users)
    assert len(done.outcome["warnings"]) == LISTED


def download(app: Flask, operation: str) -> dict[str, Any]:
    """The outcome as the pages give it."""
    with app.test_request_context():
        response = outcomes.outcome(operation)
        document: dict[str, Any] = json.loads(response.get_data(as_text=True))
    return document


def test_every_name_is_told_after_a_crash_too(
    empty: Flask, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups, payloads = backups_of(empty), told(empty)

    def refuse(self: RunDecisions, *_: Any) -> None:
        raise DatabaseError("database is locked")

    plan = backups.orders.run(
        empty, verbs.inspect.order(backups.history, ADA, archive, Choice(protected=True))
    )
    for verb in ("restore", "undo"):
        before = names()
        job = (
            verbs.restore.order(backups.plans, ADA, plan.operation)
            if verb == "restore"
            else verbs.undo.order(backups.history, ADA, payloads[0]["operation"], granted=True)
        )
        with monkeypatch.context() as patch:
            patch.setattr(RunDecisions, "close_journal", refuse)
            with pytest.raises(InterruptedOperationError, match="has happened"):
                backups.orders.run(empty, job)
        backups.prepare(empty)
        packages, users = names() if verb == "restore" else before
        assert payloads[-1]["all"] == {"packages": packages, "users": users}
    assert [len(payload["all"]["users"]) for payload in payloads] == [USERS] * 2


def test_the_names_go_with_the_operation_and_without_a_decision_there_are_none(
    empty: Flask, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups, payloads = backups_of(empty), told(empty)
    folder = backups.depot.path / "operations"

    def refuse(self: RunDecisions, *_: Any) -> None:
        raise DatabaseError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(RunDecisions, "decide", refuse)
        with pytest.raises(DatabaseError):
            restored(empty, archive)
    assert list(folder.glob("*.changed")) == []
    done = restored(empty, archive)
    assert [path.stem for path in folder.glob("*.changed")] == [done.operation]
    old = utc_now() - timedelta(days=60)
    backups.catalog.finish_operation(done.operation, finished_at=old)
    backups.orders.run(empty, verbs.prune.order(ADA))
    assert list(folder.glob("*.changed")) == []
    with pytest.raises(BackupError):
        len(payloads[0]["users"])


def test_events_that_are_held_back_come_in_order_however_many() -> None:
    seen: list[dict[str, Any]] = []
    progress = Progress((), seen.append, lambda: None)
    with progress.held():
        for number in range(20_000):
            progress.warn(
                Notice("blocked", "it can't be written \u2603 \udcff", f"package p{number}")
            )
        assert seen == []
    assert [event["record"] for event in seen] == [f"package p{n}" for n in range(20_000)]
    assert {event["message"] for event in seen} == {"it can't be written \u2603 \udcff"}
    assert progress.warning_count == 20_000
    assert len(progress.warnings) == LISTED
