"""The page of a restore that the database refused leads to the same plan without the records."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient

from examples.host_app.models import Owner, Package, Release, db
from hexhub_backup.jobs.backups import Backups, backups_of
from tests.support.pages import landed, page, planned, post
from tests.support.serving import PREFIX, make_backup


@pytest.fixture
def backup(app: Flask) -> str:
    """A backup of packages that are gone by now, of which one may not come back."""
    found = make_backup(app)
    with app.app_context():
        first = db.session.scalars(sa.select(Package.name).where(Package.source == "local")).first()
        for model in (Owner, Release, Package):
            db.session.execute(sa.delete(model))
        db.session.execute(
            sa.text(
                f"CREATE TRIGGER never BEFORE INSERT ON packages WHEN NEW.name = '{first}' "
                "BEGIN SELECT RAISE(ABORT, 'a secret'); END"
            )
        )
        db.session.commit()
    return found


def test_inspect_again_without_these_records(
    app: Flask, client: FlaskClient, backups: Backups, backup: str
) -> None:
    plan = planned(client, backups, backup)
    answer = post(client, f"/plans/{plan}", do="restore")
    failed = landed(backups, answer, "operations", "failed")
    shown = page(client, f"/operations/{failed}")
    assert "The database refuses 1 record of the archive: nothing was restored." in shown
    assert "a trigger" in shown
    assert "secret" not in shown
    assert "Plan without these records" in shown

    form = client.get(f"{PREFIX}/operations/{failed}").text
    action = re.search(r'action="[^"]*(/plans/[^"]+)"', form)
    assert action is not None
    again = landed(backups, post(client, action[1], do="without", refused_in=failed), "plans")
    shown = page(client, f"/plans/{again}?state=blocked")
    assert "Leave out the records that the database refused" in shown
    assert "the database refuses it: a trigger" in shown

    # Another choice keeps them out, until it says otherwise.
    with_strategy = {"do": "plan", "conflict_strategy": "overwrite", "users": "on"}
    kept = landed(backups, post(client, f"/plans/{again}", without="on", **with_strategy), "plans")
    assert backups.catalog.operation(kept).options["choice"]["without"] == [failed]
    let_in = landed(backups, post(client, f"/plans/{kept}", **with_strategy), "plans")
    assert backups.catalog.operation(let_in).options["choice"]["without"] == []

    landed(backups, post(client, f"/plans/{again}", do="restore"), "operations")
    assert db.session.scalars(sa.select(Package.name).where(Package.source == "local")).all()


def test_only_a_restore_that_was_refused_is_left_out(
    app: Flask, client: FlaskClient, backups: Backups
) -> None:
    plan = planned(client, backups, make_backup(app))
    for name in (plan, "nothing", ""):
        answer = post(client, f"/plans/{plan}", do="without", refused_in=name)
        assert answer.status_code == 404
    assert client.get(f"{PREFIX}/plans/{plan}").status_code == 200
    assert backups_of(app).catalog.operation(plan).state == "completed"
