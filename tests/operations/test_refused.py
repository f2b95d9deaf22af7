"""A database refuses records: the restore names them, and the next one can leave them out."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Owner, Package, Release, db
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import backups_of
from hexhub_backup.operations.choice import Choice
from tests.support.commands import cli, created, refused
from tests.support.directory import depot_of
from tests.support.hosts import ADA


def local_packages() -> list[str]:
    return list(
        db.session.scalars(
            sa.select(Package.name).where(Package.source == "local").order_by(Package.name)
        )
    )


@pytest.fixture
def backup(host: Flask) -> str:
    """A backup of packages that are gone by now, of which the first may not come back."""
    found = created(host)
    first = local_packages()[0]
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


def latest(app: Flask) -> str:
    # Not by the id: those of one second are in no order.
    return next(each.id for each in backups_of(app).history.operations() if each.verb == "restore")


def test_the_words_that_it_says_restore_the_others(host: Flask, backup: str) -> None:
    error = refused(host, "restore", backup, "--yes")
    assert error["code"] == "refused"
    (fault,) = error["faults"]
    assert fault["code"] == "refused"
    assert fault["record"].startswith("package ")
    assert "secret" not in json.dumps(error)
    assert local_packages() == []
    words = f"--without {latest(host)}"
    assert words in error["message"]

    shown = cli(host, "inspect", backup, *words.split())
    assert shown.exit_code == 0
    assert f"{fault['record']}: {fault['message']}" in shown.output
    assert f"its {fault['record']} can't be restored" in shown.output
    plan = json.loads(cli(host, "inspect", backup, *words.split(), "--json").stdout)["plan"]
    assert plan["effect"]["packages"]["left_out"] == 1

    done = cli(host, "restore", backup, "--yes", *words.split(), "--plan-hash", plan["hash"])
    assert done.exit_code == 0, done.output
    assert len(local_packages()) == 2
    assert fault["record"].split()[1] not in local_packages()


def test_what_is_refused_next_is_left_out_beside_it(host: Flask, backup: str) -> None:
    refused(host, "restore", backup, "--yes")
    first = latest(host)
    db.session.execute(
        sa.text("CREATE TRIGGER nor BEFORE INSERT ON owners BEGIN SELECT RAISE(ABORT, ''); END")
    )
    db.session.commit()
    error = refused(host, "restore", backup, "--yes", "--without", first)
    assert {each["record"].split()[0] for each in error["faults"]} == {"owner"}
    both = ["--without", first, "--without", latest(host)]
    assert cli(host, "restore", backup, "--yes", *both).exit_code == 0
    assert len(local_packages()) == 2


def test_what_is_left_out_is_of_that_archive(host: Flask, backup: str) -> None:
    refused(host, "restore", backup, "--yes")
    error = refused(host, "inspect", created(host), "--without", latest(host))
    assert error["code"] == "changed"
    assert "was a restore of another archive" in error["message"]
    error = refused(host, "inspect", backup, "--without", "nothing")
    assert error["code"] == "not_found"
    assert "refused no records in operation nothing" in error["message"]


def test_a_restore_that_was_refused_leaves_nothing_behind(host: Flask, backup: str) -> None:
    refused(host, "restore", backup, "--yes")
    backups = backups_of(host)
    assert not backups.history.undoable(backups.catalog.operation(latest(host)))
    assert not list(backups.storage.kept())
    kept = depot_of(backups).kept("refused", latest(host)).here()
    assert kept.stat().st_mode & 0o077 == 0
    backups.depot.remove_operation(latest(host))
    assert not kept.exists()


def test_a_plan_again_keeps_what_is_left_out(host: Flask, backup: str) -> None:
    refused(host, "restore", backup, "--yes")
    backups = backups_of(host)
    choice = Choice(without=(latest(host),))
    plan = backups.orders.run(host, verbs.inspect.order(backups.history, ADA, backup, choice))
    again = backups.orders.run(
        host, verbs.inspect.order_again(backups.plans, ADA, plan.operation, choice)
    )
    assert again.outcome["plan_hash"] == plan.outcome["plan_hash"]
    assert again.outcome["effect"]["packages"]["left_out"] == 1
    assert backups.orders.run(
        host, verbs.restore.order(backups.plans, ADA, again.operation)
    ).outcome["records"]
