"""A backup directory that can't be read is a state: it is told, it takes no page down, and nothing
is deleted meanwhile."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app import create_app
from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.errors import PruneRefusedError, SettingError, StorageError
from hexhub_backup.history.alerts import ActiveAlerts
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.schedule.thread import _tick
from hexhub_backup.web.link import backup_link
from tests.support.commands import cli
from tests.support.hosts import ADA
from tests.support.people import sign_in
from tests.support.serving import PREFIX, make_backup
from tests.support.unreadable import unreadable

TOKEN = "a-token-of-the-tests-0123"
pytestmark = pytest.mark.host(
    config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN, "HEXHUB_BACKUP_SCHEDULE": "daily 03:00"}
)

Away = Callable[[Path], AbstractContextManager[None]]


@contextmanager
def gone(path: Path) -> Iterator[None]:
    """Its place has no directory, and none can be made there."""
    away = path.rename(path.with_name("away"))
    path.touch()
    try:
        yield
    finally:
        path.unlink()
        away.rename(path)


def gives(number: int) -> Away:
    """One whose disk gives errors: each look at it, or at what lies in it."""

    @contextmanager
    def away(path: Path) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("stat", "open", "scandir", "mkdir", "unlink", "statvfs"):
                patch.setattr(os, name, failing(getattr(os, name), number, path))
            yield

    return away


def failing(real: Callable[..., object], number: int, folder: Path) -> Callable[..., object]:
    def call(path: object, *rest: object, **named: object) -> object:
        if str(path).startswith(str(folder)):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *rest, **named)

    return call


WAYS: dict[str, Away] = {
    "not allowed": unreadable,
    "gone": gone,
    "stale": gives(errno.ESTALE),
    "broken": gives(errno.EIO),
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def away(request: pytest.FixtureRequest) -> Away:
    found: Away = request.param
    return found


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    return client


def test_each_page_answers_and_says_so(
    app: Flask, backups: Backups, client: FlaskClient, away: Away
) -> None:
    backup = make_backup(app)
    says = f"The backup directory {backups.depot.path} can&#39;t be read"
    with away(backups.depot.path):
        for page in ("/", "/protection"):
            answer = client.get(f"{PREFIX}{page}")
            assert answer.status_code == 200
            assert says in answer.text
            assert "Mount its disk, or let the app read it." in answer.text
            assert "file missing" not in answer.text
        answer = client.get(f"{PREFIX}/{backup}")
        assert answer.status_code == 200
        assert "The file of this backup can't be read" in answer.text
        answer = client.get(f"{PREFIX}/{backup}/delete")
        assert answer.status_code == 200
        assert "it can't be deleted now" in answer.text
        assert "Delete this backup</button>" not in answer.text
        answer = client.get(f"{PREFIX}/retention")
        assert answer.status_code == 200
        assert says in answer.text
        with app.test_request_context():
            assert 'data-hexhub-backup-alarm="critical"' in backup_link()
        for page in ("/new", f"/{backup}/download"):
            answer = client.get(f"{PREFIX}{page}")
            assert answer.status_code == 503
            assert "Mount its disk" in answer.text
        scraped = client.get(f"{PREFIX}/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert scraped.status_code == 200
        assert 'room_bytes{place="here"}' not in scraped.text
    assert "complete" in client.get(f"{PREFIX}/").text


def test_the_status_is_critical_and_names_nothing_else(
    app: Flask, backups: Backups, away: Away
) -> None:
    make_backup(app)
    with away(backups.depot.path):
        run = cli(app, "status", "--json")
        assert run.exit_code == 2
        (problem,) = json.loads(run.stdout)["problems"]
        assert problem["code"] == "no_directory"
        assert str(backups.depot.path) in problem["text"]
        # The newest backup may be missing, and nobody knows.
        late = backups.status(utc_now() + timedelta(days=30))
        assert [each.code for each in late.problems] == ["no_directory"]
    assert backups.status(utc_now()).level == "fine"


def test_a_process_that_starts_then_tells_of_it_and_prepares_when_it_is_over(
    app: Flask, backups: Backups, away: Away
) -> None:
    make_backup(app)
    # The clock plans its jobs before.
    assert _tick(app, prepared=False)[0]
    folder = backups.depot.path
    with app.app_context():
        backups.catalog.set_due("alerts", utc_now())
        with away(folder):
            assert _tick(app, prepared=False)[0] is False
            assert [*ActiveAlerts(backups.catalog.engine).all()] == ["no_directory"]
        shutil.rmtree(folder / "running")
        backups.catalog.set_due("alerts", utc_now())
        assert _tick(app, prepared=False)[0]
        assert (folder / "running").is_dir()
        assert ActiveAlerts(backups.catalog.engine).all() == {}


def test_nothing_is_deleted_meanwhile(app: Flask, backups: Backups, away: Away) -> None:
    made = [make_backup(app) for _ in range(3)]
    for age, each in enumerate(made):
        backups.catalog.update_backup(each, created_at=utc_now() - timedelta(days=90 - age))
    with away(backups.depot.path):
        with pytest.raises(PruneRefusedError, match="can't be read"):
            backups.history.expired()
        with pytest.raises(StorageError):
            backups.history.delete(app, ADA, made[0])
        with pytest.raises((StorageError, SettingError)):
            backups.orders.run(app, verbs.prune.order(ADA))
        assert cli(app, "prune").exit_code == 1
    assert len(backups.history.backups()) == 3
    assert not any(each.file_missing for each in backups.history.backups())


def test_without_tables_there_is_nothing_to_tell_of(tmp_path: Path) -> None:
    app = create_app(tmp_path, {"HEXHUB_BACKUP_TICK_THREAD": False})
    backups_of(app).depot.path.touch()
    with app.app_context(), pytest.raises(SettingError, match="can't be made"):
        backups_of(app).prepare(app)
