"""Copies in the state of the whole, in the metrics and on the page Protection."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from hexhub_backup import DirectoryDestination
from hexhub_backup.destinations.directory import MARKER
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.watching.metrics import exposition
from tests.support.commands import created
from tests.support.hosts import ADA
from tests.support.pages import page, post


def codes(backups: Backups, **later: float) -> list[str]:
    return [each.code for each in backups.status(utc_now() + timedelta(**later)).problems]


def copy_all(app: Flask, backups: Backups) -> None:
    assert [failure for _, failure in backups.copying.run_due(app, ADA)] == [None, None]


def test_a_copy_that_is_being_made_is_no_problem_and_one_that_fails_is(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    backup = created(app)
    assert codes(backups) == []
    copy_all(app, backups)
    assert codes(backups) == []
    # The backup itself is told of first, and its copies with it.
    assert codes(backups, days=8) == ["overdue", "copy_overdue"]

    backups.catalog.copies.update(backup, nas.name, intact=False)
    (nas.path / MARKER).unlink()
    newer = created(app)
    list(backups.copying.run_due(app, ADA))
    backups.catalog.copies.update(newer, nas.name, attempts=2)
    assert codes(backups) == ["copy_damaged"]
    backups.catalog.copies.update(newer, nas.name, attempts=3)
    problem, damaged = backups.status(utc_now()).problems
    assert (problem.code, problem.level) == ("copy_overdue", "warning")
    assert damaged.code == "copy_damaged"
    assert problem.text.startswith(
        "There is no good copy in nas of a backup that is new enough. Reason: "
    )


def test_an_older_copy_is_good_enough_until_it_is_too_old(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    created(app)
    copy_all(app, backups)
    newer = created(app)
    backups.catalog.copies.update(newer, nas.name, state="failed", reason="The place is away.")
    assert codes(backups) == []


def test_the_metrics_have_each_place(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    first = created(app)
    copy_all(app, backups)
    created(app)
    checked = utc_now()
    backups.catalog.copies.update(first, nas.name, verified_at=checked, intact=True)
    text = exposition(backups.history, "")[0].decode()
    found = {
        (sample.name.removeprefix("hexhub_backup_"), sample.labels.get("place")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    made = backups.history.backup(first)
    assert found["last_success_timestamp_seconds", "nas"] == pytest.approx(
        made.created_at.timestamp()
    )
    assert found["last_success_timestamp_seconds", "here"] > made.created_at.timestamp()
    assert found["last_success_size_bytes", "nas"] == made.size_bytes
    assert found["last_verified_timestamp_seconds", "nas"] == pytest.approx(checked.timestamp())
    assert ("last_verified_timestamp_seconds", "offsite") not in found


def test_the_metrics_count_the_copies_that_a_check_found_lost(
    app: Flask, backups: Backups, nas: DirectoryDestination
) -> None:
    names = []
    for _ in range(4):
        names.append(created(app))
        copy_all(app, backups)
    copies = backups.catalog.copies
    copies.update(names[0], nas.name, intact=False, verified_at=utc_now())
    copies.update(names[1], nas.name, state="missing", reason="It is not there any more.")
    text = exposition(backups.history, "")[0].decode()
    for state, count in (("damaged", 1), ("missing", 1), ("copied", 2)):
        assert f'hexhub_backup_backups{{place="nas",state="{state}"}} {count}.0' in text


def test_the_page_protection_shows_and_checks_each_destination(
    app: Flask, client: FlaskClient, backups: Backups, nas: DirectoryDestination
) -> None:
    text = page(client, "/protection")
    assert f"nas {nas.location} There is no good copy yet." in text
    created(app)
    copy_all(app, backups)
    assert "The latest good copy is of the backup of just now ." in page(client, "/protection")

    def check(name: str) -> tuple[int, str]:
        answer = post(client, f"/protection/check/{name}")
        return answer.status_code, answer.text

    status, text = check("nas")
    assert (status, "nas can take a copy" in text) == (200, True), text
    (nas.path / MARKER).unlink()
    status, text = check("nas")
    assert (status, "nas cannot take a copy" in text) == (502, True)
    assert check("nobody")[0] == 404
