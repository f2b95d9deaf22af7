"""Pings: a monitor elsewhere hears of every backup, and no backup waits for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import Release, db
from hexhub_backup import verbs
from hexhub_backup.errors import BackupError, SettingError
from hexhub_backup.jobs.backups import backups_of
from tests.support.hosts import ADA, make_app
from tests.support.instance import Instance
from tests.support.patience import PATIENCE, wait_for
from tests.support.receiver import Receiver, receiver

SECRET = "f0e1d2c3-ping"


@pytest.fixture
def monitor() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def url_of(monitor: Receiver) -> str:
    return f"http://127.0.0.1:{monitor.port}/{SECRET}"


def host(folder: Path, url: str) -> Flask:
    return make_app(folder, {"HEXHUB_BACKUP_PING_URL": url})


def create(app: Flask) -> None:
    with app.app_context():
        backups_of(app).orders.run(app, verbs.create.order(ADA))


def test_a_backup_pings_when_it_begins_and_when_it_is_complete(
    tmp_path: Path, monitor: Receiver
) -> None:
    create(host(tmp_path, url_of(monitor)))
    assert monitor.next() == (f"/{SECRET}/start", "")
    assert monitor.next() == (f"/{SECRET}", "")


def test_a_query_of_the_address_stays_behind_the_path(tmp_path: Path, monitor: Receiver) -> None:
    create(host(tmp_path, f"{url_of(monitor)}/?rid=7"))
    assert monitor.next() == (f"/{SECRET}/start?rid=7", "")
    assert monitor.next() == (f"/{SECRET}?rid=7", "")


def test_a_backup_that_fails_says_why(tmp_path: Path, monitor: Receiver) -> None:
    app = host(tmp_path, url_of(monitor))
    with app.app_context():
        release = db.session.query(Release).first()
        assert release is not None
        release.version = "../1"
        db.session.commit()
        db.session.remove()
        with pytest.raises(BackupError) as caught:
            backups_of(app).orders.run(app, verbs.create.order(ADA))
    assert monitor.next() == (f"/{SECRET}/start", "")
    assert monitor.next() == (f"/{SECRET}/fail", f"failed: {caught.value}")


def test_no_other_operation_pings(tmp_path: Path, monitor: Receiver) -> None:
    app = host(tmp_path, url_of(monitor))
    with app.app_context():
        backups_of(app).orders.run(app, verbs.prune.order(ADA))
    create(app)
    assert monitor.next() == (f"/{SECRET}/start", "")


def test_no_backup_waits_for_a_monitor_that_never_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        app = host(tmp_path, f"http://127.0.0.1:{deaf.getsockname()[1]}/{SECRET}")
        create(app)
        # The first ping has arrived, and is still without an answer.
        with deaf.accept()[0] as connection:
            connection.settimeout(PATIENCE)
            assert connection.recv(100).startswith(f"POST /{SECRET}/start ".encode())
            with app.app_context():
                (backup,) = backups_of(app).history.backups()
            assert backup.state == "completed"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("status", [404, 500])
def test_the_log_says_that_a_monitor_refuses_without_its_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with receiver(status) as monitor:
        create(host(tmp_path, url_of(monitor)))
        line = "the monitor at 127.0.0.1 was not told of a backup: HTTPError"
        wait_for(lambda: caplog.messages.count(line) == 2)
    assert SECRET not in caplog.text


def test_a_command_ends_when_its_last_ping_has_gone(tmp_path: Path, monitor: Receiver) -> None:
    instance = Instance(tmp_path / "host")
    instance.seed(users=2, packages=1, releases=1, file_size=0)
    script = tmp_path / "app.py"
    script.write_text(
        "from examples.host_app import create_app as make\n"
        "def create_app():\n"
        f"    return make(config={{'HEXHUB_BACKUP_PING_URL': {url_of(monitor)!r}}})\n"
    )
    with instance.start("backups", "create", app=str(script)) as process:
        stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (0, "")
    assert "is complete" in stdout
    assert [monitor.heard.get_nowait()[0] for _ in range(2)] == [f"/{SECRET}/start", f"/{SECRET}"]


@pytest.mark.parametrize(
    "url", ["", "ftp://example.org/f0e1", "/f0e1", "https://:80/f0e1", "http://[f0e1", 7]
)
def test_an_address_that_can_not_be_pinged_is_refused_and_not_shown(
    tmp_path: Path, url: object
) -> None:
    with pytest.raises(SettingError, match="HEXHUB_BACKUP_PING_URL has to be") as caught:
        create_app(tmp_path, {"HEXHUB_BACKUP_PING_URL": url})
    assert "f0e1" not in str(caught.value)


def test_the_settings_do_not_show_the_address(tmp_path: Path, monitor: Receiver) -> None:
    app = create_app(tmp_path, {"HEXHUB_BACKUP_PING_URL": url_of(monitor)})
    assert SECRET not in repr(backups_of(app).settings)
