"""Downloads: the right bytes under the right name, in ranges too, and the audit log knows."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from examples.host_app.models import AuditEvent, db
from examples.host_app.seed import ADMIN
from hexhub_backup.errors import BusyError
from hexhub_backup.jobs.backups import backups_of
from tests.support.directory import depot_of
from tests.support.serving import ADA, PREFIX, Visitor, make_backup
from tests.support.serving import visitor as visitor_of


@pytest.fixture
def admin(app: Flask) -> Visitor:
    return visitor_of(app, ADMIN)


def get(app: Flask, who: Visitor, backup: str, method: str = "GET", **headers: str) -> Any:
    return app.test_client(use_cookies=False).open(
        f"{PREFIX}/{backup}/download",
        method=method,
        headers={**who.headers, **headers},
        buffered=True,
    )


def told(app: Flask) -> int:
    with app.app_context():
        return db.session.query(AuditEvent).filter_by(event="backup.downloaded").count()


def test_a_download_is_the_archive_as_an_attachment(app: Flask, admin: Visitor) -> None:
    backup = make_backup(app)
    data = depot_of(backups_of(app)).archive(backup).read_bytes()
    answer = get(app, admin, backup)
    assert (answer.status_code, answer.data) == (200, data)
    headers = answer.headers
    assert headers["Content-Disposition"] == f"attachment; filename=hexhub-backup-{backup}.tar"
    assert headers["Content-Length"] == str(len(data))
    assert headers["Content-Type"] == "application/x-tar"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    answer.close()


def test_a_download_that_broke_off_goes_on_and_is_told_once(app: Flask, admin: Visitor) -> None:
    backup = make_backup(app)
    data = depot_of(backups_of(app)).archive(backup).read_bytes()
    first = get(app, admin, backup, Range="bytes=0-999")
    assert (first.status_code, first.data) == (206, data[:1000])
    rest = get(app, admin, backup, Range="bytes=1000-", **{"If-Range": first.headers["ETag"]})
    assert (rest.status_code, rest.data) == (206, data[1000:])
    assert get(app, admin, backup, Range="bytes=99999999999-").status_code == 416
    assert get(app, admin, backup, "HEAD").status_code == 200
    assert told(app) == 1
    get(app, admin, backup).close()
    assert told(app) == 2


def test_nobody_gets_all_but_the_first_byte_unseen(app: Flask, admin: Visitor) -> None:
    backup = make_backup(app)
    assert get(app, admin, backup, Range="bytes=1-").status_code == 206
    assert told(app) == 1
    with app.app_context():
        (event,) = db.session.query(AuditEvent).filter_by(event="backup.downloaded")
        assert (event.actor, event.address) == (ADMIN, "127.0.0.1")
        assert event.details == {"backup": backup}


def test_a_backup_is_not_deleted_while_it_is_on_its_way(app: Flask, admin: Visitor) -> None:
    backup = make_backup(app)
    client = app.test_client(use_cookies=False)
    answer = client.get(f"{PREFIX}/{backup}/download", headers=admin.headers, buffered=False)
    with app.app_context():
        with pytest.raises(BusyError, match="in use"):
            backups_of(app).history.delete(app, ADA, backup)
        answer.close()
        backups_of(app).history.delete(app, ADA, backup)
    assert get(app, admin, backup).status_code == 404
