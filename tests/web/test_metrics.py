"""Metrics: what Prometheus reads, and who may read it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from examples.host_app import create_app
from hexhub_backup import HexHubBackup
from hexhub_backup import extras as optional
from hexhub_backup.errors import SettingError
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.schedule.tick import tick
from tests.support.hosts import make_app
from tests.support.serving import PREFIX, ROOT, make_backup

TOKEN = "a-token-of-the-tests-0123"
DOCS = ROOT / "docs"


def scraped(app: Flask, **headers: str) -> tuple[int, str]:
    answer = app.test_client().get(f"{PREFIX}/metrics", headers=headers)
    return answer.status_code, answer.text


def samples(app: Flask) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    status, text = scraped(app, Authorization=f"Bearer {TOKEN}")
    assert status == 200, text
    return {
        (sample.name.removeprefix("hexhub_backup_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.mark.sample
@pytest.mark.host(config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
def test_the_metrics_tell_of_the_newest_good_backup(app: Flask, backups: Backups) -> None:
    before = samples(app)
    assert of("last_success_timestamp_seconds", place="here") not in before
    assert before[of("room_bytes", place="here")] > 0
    backup = backups.history.backup(make_backup(app))
    later = make_backup(app)
    backups.catalog.update_backup(later, intact=False)

    found = samples(app)
    here = {"place": "here"}
    assert found[of("last_success_timestamp_seconds", **here)] == pytest.approx(
        backup.created_at.timestamp()
    )
    assert found[of("last_success_size_bytes", **here)] == backup.size_bytes
    assert found[of("last_success_duration_seconds")] == backup.duration_seconds
    assert backup.verified_at is not None
    assert found[of("last_verified_timestamp_seconds", **here)] == pytest.approx(
        backup.verified_at.timestamp()
    )
    assert backup.contents is not None
    for kind, count in backup.contents.items():
        assert found[of("last_success_records", kind=kind)] == count
    assert found[of("backups", state="completed", **here)] == 1
    assert found[of("backups", state="damaged", **here)] == 1
    assert found[of("operations", verb="create", state="completed")] == 2
    done = {"verb": "create", "state": "completed"}
    latest = backups.catalog.operation(later)
    assert latest.finished_at is not None
    assert found[of("last_operation_timestamp_seconds", **done)] == pytest.approx(
        latest.finished_at.timestamp()
    )
    assert found[of("last_operation_duration_seconds", **done)] == latest.duration_seconds


@pytest.mark.host(config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
def test_a_backup_that_is_dated_ahead_is_not_the_last_success(app: Flask, backups: Backups) -> None:
    backup = backups.history.backup(make_backup(app))
    ahead = make_backup(app)
    backups.catalog.update_backup(ahead, created_at=utc_now() + timedelta(days=365))
    last = samples(app)[of("last_success_timestamp_seconds", place="here")]
    assert last == pytest.approx(backup.created_at.timestamp())


@pytest.mark.host(config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
def test_the_docs_have_every_metric(app: Flask) -> None:
    _, text = scraped(app, Authorization=f"Bearer {TOKEN}")
    named = {family.name for family in text_string_to_metric_families(text)}
    docs = (DOCS / "monitoring.md").read_text()
    rows = re.findall(r"^\| `(hexhub_backup_\w+)`", docs, re.MULTILINE)
    assert {*rows} == named
    rules = (DOCS / "prometheus-rules.yml").read_text()
    assert {*re.findall(r"hexhub_backup_\w+", rules)} <= named


@pytest.mark.host(
    config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN, "HEXHUB_BACKUP_SCHEDULE": "daily 03:00"}
)
def test_the_metrics_tell_of_the_next_run_and_of_alerts(app: Flask, backups: Backups) -> None:
    tick(app)
    backups.alerts.look(app, utc_now())
    found = samples(app)
    due = datetime.fromtimestamp(found[of("next_run_timestamp_seconds")], timezone.utc)
    assert due.strftime("%H:%M:%S") == "03:00:00"
    assert found[of("alert_active", code="no_backup")] == 1


def test_promtool_accepts_the_alerting_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(DOCS / "prometheus-rules.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS: 6 rules found" in done.stdout


def test_the_alerting_rules_fire_for_what_they_say_and_for_nothing_else() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(ROOT / "tests/data/prometheus-tests.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


@pytest.mark.host(config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer tökén"},
    ],
)
def test_without_the_token_nobody_reads_them(app: Flask, headers: dict[str, str]) -> None:
    answer = app.test_client().get(f"{PREFIX}/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "hexhub_backup_" not in answer.text


@pytest.mark.host(config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
def test_the_token_opens_nothing_else(app: Flask) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert app.test_client().get(f"{PREFIX}/", headers=headers).status_code == 302


def test_they_are_off_until_they_are_turned_on(app: Flask, client: FlaskClient) -> None:
    assert scraped(app)[0] == 404
    assert scraped(app, Authorization="Bearer ")[0] == 404
    assert scraped(app, Authorization="Bearer None")[0] == 404
    # Not even for an admin, who is logged in.
    assert client.get(f"{PREFIX}/metrics").status_code == 404


def test_a_host_may_decide_itself_who_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_app = HexHubBackup.init_app

    def deciding(self: HexHubBackup, app: Flask, **options: Any) -> None:
        init_app(
            self,
            app,
            # What is merely truthy means no.
            authorize_metrics=cast(
                "Callable[[], bool]", lambda: request.headers.get("X-From") == "inside" or "no"
            ),
            **options,
        )

    monkeypatch.setattr(HexHubBackup, "init_app", deciding)
    app = make_app(tmp_path)
    assert scraped(app)[0] == 403
    status, text = scraped(app, **{"X-From": "inside"})
    assert status == 200
    assert "hexhub_backup_room_bytes" in text
    with pytest.raises(SettingError, match="leave one of them out"):
        create_app(tmp_path, {"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})


@pytest.mark.parametrize(
    "token", ["", "short-secret", 12345678901234567890, "tökén-of-some-length"]
)
def test_a_token_that_can_be_guessed_is_refused_and_not_shown(tmp_path: Path, token: Any) -> None:
    with pytest.raises(SettingError, match="HEXHUB_BACKUP_METRICS_TOKEN") as caught:
        create_app(tmp_path, {"HEXHUB_BACKUP_METRICS_TOKEN": token})
    assert not token or str(token) not in str(caught.value)


@pytest.mark.host(config={"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
def test_the_settings_do_not_show_the_token(backups: Backups) -> None:
    assert TOKEN not in repr(backups.settings)


def test_without_the_extra_the_line_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(optional._MODULES, "metrics", "prometheus_client_of_nobody")
    with pytest.raises(SettingError, match=r"pip install 'hexhub_backup\[metrics\]'"):
        create_app(tmp_path, {"HEXHUB_BACKUP_METRICS_TOKEN": TOKEN})
