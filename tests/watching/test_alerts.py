"""Alerts: once when a problem begins, once when it is over, and once a day in between."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from flask import Flask

from examples.host_app import create_app
from hexhub_backup import signals
from hexhub_backup.errors import SettingError
from hexhub_backup.history.alerts import ActiveAlerts
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.schedule.tick import tick
from hexhub_backup.watching.alerts import Alerts
from hexhub_backup.watching.channels import Alert, Channels
from tests.support.commands import cli
from tests.support.hosts import make_app
from tests.support.patience import PATIENCE
from tests.support.receiver import Receiver, receiver
from tests.support.serving import make_backup

SECRET = "f0e1d2c3-secret"


class Heard:
    """Alerts that the host's own function was handed."""

    def __init__(self, backups: Backups, *, fails: BaseException | None = None) -> None:
        self.alerts: list[Alert] = []
        self.fails = fails
        self.of = Alerts(
            engine=backups.catalog.engine,
            status=backups.status,
            channels=Channels(backups.settings, self._hear),
        )

    def _hear(self, alert: Alert) -> None:
        self.alerts.append(alert)
        if self.fails is not None:
            raise self.fails

    def look(self, app: Flask, now: datetime) -> list[tuple[str, str]]:
        """What one look brings."""
        before = len(self.alerts)
        self.of.look(app, now)
        return [(each.event, each.code) for each in self.alerts[before:]]


@pytest.mark.sample
def test_a_problem_is_told_when_it_begins_each_day_and_when_it_is_over(
    app: Flask, backups: Backups
) -> None:
    heard, now = Heard(backups), utc_now()
    assert heard.look(app, now) == [("raised", "no_backup")]
    assert heard.look(app, now + timedelta(hours=23)) == []
    assert heard.look(app, now + timedelta(hours=24)) == [("reminder", "no_backup")]
    assert heard.look(app, now + timedelta(hours=25)) == []
    make_backup(app)
    assert heard.look(app, now + timedelta(hours=26)) == [("cleared", "no_backup")]
    assert heard.look(app, now + timedelta(hours=27)) == []
    began, *_, over = heard.alerts
    assert began.title == "Backups: There is no good backup."
    assert began.action == "Create one now."
    assert over.title == "Backups: Resolved: There is no good backup."
    assert over.began_at == began.began_at == now


def test_each_problem_is_told_by_itself(app: Flask, backups: Backups) -> None:
    heard, now = Heard(backups), utc_now()
    make_backup(app)
    late = now + timedelta(days=8)
    assert heard.look(app, late) == [("raised", "overdue")]
    backups.catalog.update_backup(make_backup(app), state="failed", reason="The disk is full.")
    assert heard.look(app, late) == [("raised", "last_failed")]
    make_backup(app)
    assert sorted(heard.look(app, now)) == [("cleared", "last_failed"), ("cleared", "overdue")]


#: What a function of the host's may raise: the last one is meant to end a script.
FAILURES = [OSError("no mail server"), SystemExit(1)]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_what_got_out_by_no_channel_is_tried_again_until_it_does(
    app: Flask, backups: Backups, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    heard, now = Heard(backups, fails=failure), utc_now()
    assert heard.look(app, now) == [("raised", "no_backup")]
    assert "an alert did not get out by on_alert=" in caplog.text
    assert heard.look(app, now) == []
    heard.fails = None
    assert heard.look(app, now + timedelta(minutes=5)) == [("raised", "no_backup")]
    assert heard.look(app, now + timedelta(minutes=10)) == []
    assert heard.look(app, now + timedelta(hours=25)) == [("reminder", "no_backup")]
    heard.fails = failure
    make_backup(app)
    later = now + timedelta(hours=26)
    assert heard.look(app, later) == [("cleared", "no_backup")]
    assert list(ActiveAlerts(backups.catalog.engine).all()) == ["no_backup"]
    heard.fails = None
    assert heard.look(app, later + timedelta(minutes=5)) == [("cleared", "no_backup")]
    assert heard.look(app, later + timedelta(days=2)) == []


def test_what_can_not_be_told_is_tried_ever_more_seldom_and_given_up_after_a_day(
    app: Flask, backups: Backups, caplog: pytest.LogCaptureFixture
) -> None:
    heard, now = Heard(backups), utc_now()
    heard.look(app, now)
    heard.fails = OSError("no mail server")
    make_backup(app)
    # After the day it would be tried each hour at most.
    looks = [*range(0, 30 * 60, 5), *range(30 * 60, 3 * 24 * 60, 60)]
    tries = [at for at in looks if heard.look(app, now + timedelta(minutes=at))]
    assert tries[:6] == [0, 5, 10, 15, 25, 45]
    assert {after - before for before, after in pairwise(tries[6:])} == {60}
    assert 23 * 60 < tries[-1] < 26 * 60
    assert "nobody could be told in a day: Backups: Resolved: There is no good backup." in (
        caplog.text
    )
    assert ActiveAlerts(backups.catalog.engine).all() == {}


def test_a_problem_that_is_back_before_its_end_was_told_is_told_still_to_be(
    app: Flask, backups: Backups
) -> None:
    heard, now = Heard(backups), utc_now()
    heard.look(app, now)
    backup = make_backup(app)
    heard.fails = OSError("no mail server")
    assert heard.look(app, now) == [("cleared", "no_backup")]
    heard.fails = None
    backups.catalog.update_backup(backup, state="running")
    assert heard.look(app, now + timedelta(minutes=5)) == [("reminder", "no_backup")]
    assert heard.look(app, now + timedelta(minutes=10)) == []


class KilledError(BaseException):
    """Ends what the test's process does, as a kill would."""


@pytest.mark.parametrize("over", [False, True])
def test_an_alert_whose_teller_died_over_it_is_told_by_the_next(
    app: Flask, backups: Backups, over: bool
) -> None:
    heard, now = Heard(backups), utc_now()
    if over:
        heard.look(app, now)
        make_backup(app)
    event = "cleared" if over else "raised"
    heard.fails = KilledError()
    with pytest.raises(KilledError):
        heard.look(app, now)
    heard.fails = None
    assert heard.look(app, now + timedelta(minutes=5)) == []
    assert heard.look(app, now + timedelta(minutes=11)) == [(event, "no_backup")]
    assert heard.look(app, now + timedelta(minutes=25)) == []


def test_a_clock_that_was_ahead_puts_no_reminder_off(app: Flask, backups: Backups) -> None:
    heard, now = Heard(backups), utc_now()
    assert heard.look(app, now + timedelta(days=365)) == [("raised", "no_backup")]
    assert heard.look(app, now) == [("reminder", "no_backup")]
    assert heard.look(app, now + timedelta(hours=1)) == []


@pytest.mark.sample
@pytest.mark.parametrize("lookers", [6])
def test_of_many_who_look_at_once_one_tells(app: Flask, backups: Backups, lookers: int) -> None:
    heard, now = Heard(backups), utc_now()

    def looked(at: datetime) -> list[str]:
        before, together = len(heard.alerts), Barrier(lookers)

        def look() -> None:
            together.wait(PATIENCE)
            with app.app_context():
                heard.of.look(app, at)

        threads = [Thread(target=look) for _ in range(lookers)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return [each.event for each in heard.alerts[before:]]

    assert looked(now) == ["raised"]
    assert looked(now + timedelta(days=1)) == ["reminder"]
    make_backup(app)
    assert looked(now + timedelta(days=1)) == ["cleared"]


def test_the_clock_looks_and_the_signals_are_sent(app: Flask, backups: Backups) -> None:
    heard: list[tuple[str, str]] = []

    def raised(_: Any, *, alert: dict[str, Any], **extra: Any) -> None:
        heard.append((alert["event"], alert["code"]))

    now = utc_now()
    with (
        signals.alert_raised.connected_to(raised, app),
        signals.alert_cleared.connected_to(raised, app),
    ):
        # The first tick only plans.
        tick(app, clock=lambda: now)
        assert heard == []
        tick(app, clock=lambda: now + timedelta(minutes=6))
        assert heard == [("raised", "no_backup")]
        make_backup(app)
        tick(app, clock=lambda: now + timedelta(minutes=12))
        assert heard == [("raised", "no_backup"), ("cleared", "no_backup")]
    # A look is no operation.
    assert [each.verb for each in backups.history.operations()] == ["create"]


@pytest.fixture
def apprise() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def address_of(apprise: Receiver, path: str = "alerts") -> str:
    return f"json://user:{SECRET}@127.0.0.1:{apprise.port}/{path}"


def test_an_alert_goes_out_by_apprise(tmp_path: Path, apprise: Receiver) -> None:
    app = make_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": [address_of(apprise)]})
    with app.app_context():
        backups_of(app).alerts.look(app, utc_now())
        sent = apprise.document()
        assert sent["title"] == "Backups: There is no good backup."
        assert sent["message"] == "There is no good backup. Create one now."
        assert sent["type"] == "failure"
        make_backup(app)
        backups_of(app).alerts.look(app, utc_now())
    sent = apprise.document()
    assert (sent["title"], sent["type"]) == (
        "Backups: Resolved: There is no good backup.",
        "success",
    )
    assert SECRET not in repr(backups_of(app).settings)


def test_a_test_goes_to_each_channel(tmp_path: Path, apprise: Receiver) -> None:
    app = make_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": [address_of(apprise)]})
    run = cli(app, "alerts", "test")
    assert (run.exit_code, run.stdout) == (0, "HEXHUB_BACKUP_ALERTS: a test was sent\n")
    assert apprise.document()["title"] == "Backups: Test: This is a test of the alerts."


def test_an_alert_that_one_address_has_is_not_sent_again(tmp_path: Path, apprise: Receiver) -> None:
    with receiver(500) as refusing:
        addresses = [address_of(refusing), address_of(apprise)]
        app = make_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": addresses})
        with app.app_context():
            now = utc_now()
            assert backups_of(app).alerts.test(app, now) == ["HEXHUB_BACKUP_ALERTS, address 1"]
            for minutes in (0, 5, 10, 70):
                backups_of(app).alerts.look(app, now + timedelta(minutes=minutes))
    titles = [apprise.document()["title"] for _ in range(2)]
    assert titles[1] == "Backups: There is no good backup."
    assert apprise.heard.empty()


@pytest.mark.parametrize("status", [200, 500])
def test_whatever_level_is_logged_no_line_has_an_address(
    tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Apprise and the library it sends by log addresses, on levels below those of most hosts."""
    caplog.set_level(1)
    with receiver(status) as listening:
        # With a timeout Apprise sends in a thread of its own.
        paths = (f"{SECRET}/alerts?apikey={SECRET}", f"{SECRET}?timeout=30", SECRET)
        addresses = [address_of(listening, path) for path in paths]
        app = make_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": addresses})
        with app.app_context():
            backups_of(app).alerts.look(app, utc_now())
        assert {SECRET in listening.next()[0] for _ in addresses} == {True}
    with pytest.raises(SettingError):
        create_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": [f"json://:{SECRET}@/", SECRET]})
    lines = [(each.name, each.getMessage()) for each in caplog.records]
    assert [each for each in lines if SECRET in each[1]] == []
    # Other lines are there, and so is what anybody else logs afterwards.
    logging.getLogger("urllib3.connectionpool").debug("a line of the host's")
    assert "a line of the host's" in caplog.text
    assert ("an alert did not get out by" in caplog.text) == (status == 500)


def test_a_test_that_fails_says_so_without_the_address(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(500) as refusing:
        app = make_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": [address_of(refusing)]})
        run = cli(app, "alerts", "test", "--json")
    assert run.exit_code == 1
    assert json.loads(run.stdout)["failed"] == ["HEXHUB_BACKUP_ALERTS"]
    assert SECRET not in run.stdout + run.stderr + caplog.text


def test_without_a_channel_a_test_says_so(app: Flask) -> None:
    run = cli(app, "alerts", "test")
    assert run.exit_code == 0
    assert "There is no channel" in run.stdout


@pytest.mark.parametrize(
    "addresses", [f"json://{SECRET}", [7], {"a": SECRET}, [f"nobody://{SECRET}"]]
)
def test_addresses_that_can_not_work_are_refused_and_not_shown(
    tmp_path: Path, addresses: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SettingError, match="HEXHUB_BACKUP_ALERTS") as caught:
        create_app(tmp_path, {"HEXHUB_BACKUP_ALERTS": addresses})
    assert SECRET not in str(caught.value) + caplog.text
