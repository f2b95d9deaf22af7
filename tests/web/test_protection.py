"""The page Protection: it shows, explains and tests what the host's config says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.seed import ADMIN
from hexhub_backup import verbs
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.settings import PREFIX, Settings
from tests.support.hosts import ADA, make_app
from tests.support.pages import page
from tests.support.people import sign_in, token
from tests.support.receiver import receiver
from tests.support.serving import PREFIX as PAGES
from tests.support.serving import make_backup

SECRET = "f0e1d2c3-secret"
#: What the example host has set up, turned off.
NOTHING = {"HEXHUB_BACKUP_SCHEDULE": None}


@pytest.mark.host(config={"HEXHUB_BACKUP_SCHEDULE": "daily 03:00"})
def test_what_came_of_the_last_rehearsal_is_shown(app: Flask, client: FlaskClient) -> None:
    assert "none yet" in page(client, "/protection")
    backup = make_backup(app)
    with app.app_context():
        backups = backups_of(app)
        backups.orders.run(app, verbs.rehearse.order(backups.history, ADA, backup))
    text = page(client, "/protection")
    assert "all of it came back, rehearsed" in text
    assert "none yet" not in text
    # What another registry has made proves nothing for this one.
    with app.app_context():
        backups.catalog.update_backup(backup, origin="another", restorable=False)
        problems = backups.status(utc_now()).problems
    assert "none yet" in page(client, "/protection")
    assert "not_restorable" not in {each.code for each in problems}


@pytest.mark.host(config=NOTHING)
def test_each_thing_that_is_off_has_the_lines_that_turn_it_on(client: FlaskClient) -> None:
    text = page(client, "/protection")
    for key in ("SCHEDULE", "TIMEZONE", "REHEARSE", "ALERTS", "PING_URL", "METRICS_TOKEN"):
        assert f"{PREFIX}{key} =" in text
    for extra in ("schedule", "notify", "metrics"):
        assert f"pip install &#39;hexhub_backup[{extra}]&#39;" in text
    # No line names a setting that there is not.
    known = {f"{PREFIX}{name.upper()}" for name in Settings.__dataclass_fields__}
    assert set(re.findall(rf"{PREFIX}\w+", text)) <= known
    assert "Send a test" not in text


def test_what_is_on_is_shown_without_its_secrets(tmp_path: Path) -> None:
    app = make_app(
        tmp_path,
        {
            "HEXHUB_BACKUP_SCHEDULE": "weekly sun 03:00",
            "HEXHUB_BACKUP_TIMEZONE": "Europe/Berlin",
            "HEXHUB_BACKUP_RETENTION": {"last": 3, "monthly": 12},
            "HEXHUB_BACKUP_ALERTS": [f"json://user:{SECRET}@127.0.0.1:9/"],
            "HEXHUB_BACKUP_PING_URL": f"https://example.org/{SECRET}",
            "HEXHUB_BACKUP_METRICS_TOKEN": f"{SECRET}-0123456789",
        },
    )
    client = app.test_client()
    assert sign_in(client, ADMIN).status_code == 303
    text = page(client, "/protection")
    assert "weekly sun 03:00" in text
    assert "Europe/Berlin" in text
    assert len(re.findall(r"\d{4}-\d\d-\d\d 0[12]:00 UTC", text)) == 3
    assert "older than 14 days" in text
    assert "the last 3, 12 monthly" in text
    assert "the newest good backup, 7 days after the last time" in text
    assert "Go to HEXHUB_BACKUP_ALERTS" in text
    assert "told when each backup begins and how it ends" in text
    assert f"http://localhost{PAGES}/metrics" in text
    assert SECRET not in client.get(f"{PAGES}/protection").text


@pytest.mark.parametrize(
    ("status", "says"), [(200, "A test alert was sent"), (500, "did not get through")]
)
def test_a_test_alert_is_sent_by_the_button(tmp_path: Path, status: int, says: str) -> None:
    with receiver(status) as apprise:
        address = f"json://127.0.0.1:{apprise.port}/"
        app = make_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": [address]})
        client = app.test_client()
        assert sign_in(client, ADMIN).status_code == 303
        form = {"csrf_token": token(client, f"{PAGES}/protection")}
        answer = client.post(f"{PAGES}/protection/test", data=form)
    assert answer.status_code == (200 if status == 200 else 502)
    assert says in answer.text
    assert apprise.document()["title"] == "Backups: Test: This is a test of the alerts."
