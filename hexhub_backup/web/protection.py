"""The page Protection: what is set up to protect the registry, and what is not. It stores nothing:
the settings stay in the host's config."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint, current_app, render_template
from flask.typing import ResponseReturnValue

from hexhub_backup.history.findings import last_check
from hexhub_backup.history.places import Places
from hexhub_backup.history.runs import REHEARSAL, VERIFICATION, Runs
from hexhub_backup.history.store import utc_now
from hexhub_backup.history.summary import last_rehearsal
from hexhub_backup.operations.check import Checked
from hexhub_backup.schedule.times import times_of
from hexhub_backup.settings import Settings
from hexhub_backup.watching.status import overdue_after
from hexhub_backup.web import current

#: The runs of the schedule that are shown.
_RUNS = 3


def add_to(blueprint: Blueprint) -> None:
    """Add the page to the blueprint."""
    blueprint.add_url_rule("/protection", "protection", protection)
    blueprint.add_url_rule("/protection/test", "test_alerts", test_alerts, methods=["POST"])
    blueprint.add_url_rule(
        "/protection/check/<name>", "check_destination", check_destination, methods=["POST"]
    )


def protection(failed: list[str] | None = None, checked: Checked | None = None) -> str:
    """The page; `failed` are the channels that a test did not get through, `checked` is
    what a check of a destination has found; None without one."""
    backups, now = current.backups(), utc_now()
    settings, destinations = backups.settings, list(backups.destinations.values())
    planned = Runs(backups.catalog.engine).all()
    look, rehearsal = planned.get(VERIFICATION), planned.get(REHEARSAL)
    return render_template(
        "hexhub_backup/protection.html",
        settings=settings,
        status=backups.status(now),
        runs=_runs(settings, now),
        overdue_after=overdue_after(settings, now),
        now=now,
        rules=backups.history.places,
        checked_registry=last_check(backups.catalog.engine),
        next_look=None if look is None else look.acts_at,
        last_rehearsal=last_rehearsal(backups.catalog.engine),
        next_rehearsal=None if rehearsal is None else rehearsal.acts_at,
        destinations=destinations,
        known=Places(backups.catalog.engine).all(destinations),
        latest=backups.history.latest_copies(),
        keys=backups.keys.all(),
        checked=checked,
        channels=backups.alerts.channels.names,
        metrics=settings.metrics_token is not None
        or current_app.extensions[current.AUTHORIZE_METRICS] is not None,
        failed=failed,
    )


def test_alerts() -> ResponseReturnValue:
    failed = current.backups().alerts.test(current.app(), utc_now())
    return protection(failed), 502 if failed else 200


def check_destination(name: str) -> ResponseReturnValue:
    checked = current.backups().check(name)
    return protection(checked=checked), 200 if checked.ok else 502


def _runs(settings: Settings, now: datetime) -> list[datetime]:
    """When the schedule makes the next backups."""
    if (next_after := times_of(settings)) is None:
        return []
    runs = [next_after(now)]
    while len(runs) < _RUNS:
        runs.append(next_after(runs[-1]))
    return runs
