"""The check of the registry as an operation, and as a command that says what puts things right."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from examples.host_app.models import AuditEvent, db
from hexhub_backup import signals, verbs
from hexhub_backup.errors import CancelledError
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations import doctor
from tests.support.hosts import ADA, file_of, one_package

pytestmark = [pytest.mark.host(file_size=2000), pytest.mark.usefixtures("host")]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SETTLES", 0)


def said(app: Flask, *words: str) -> Result:
    result: Result = app.test_cli_runner().invoke(args=["backups", *words])
    return result


def test_the_command_exits_with_1_and_names_what_puts_it_right(
    app: Flask, backups: Backups, backup: str
) -> None:
    result = said(app, "doctor")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(" files looked at, 0 wrong.\n")
    package = one_package()
    release, path = f"{package.name}@{package.releases[0].version}", file_of(app, package)
    data = path.read_bytes()
    for wrong, strategy in ((None, ""), (data[::-1], " --strategy overwrite")):
        path.unlink()
        if wrong is not None:
            path.write_bytes(wrong)
        result = said(app, "doctor")
        assert result.exit_code == 1
        command = f"flask backups restore {backup} --releases {release} --no-users{strategy}"
        assert f"    {command}\n" in result.stdout
        result = said(app, "doctor", "--json")
        assert result.exit_code == 1
        document = json.loads(result.stdout)
        (finding,) = document["findings"]
        assert (finding["backup"], finding["command"]) == (backup, command)
        assert document["warning_count"] == sum(document["found"].values()) == 1
        # What it prints does it.
        assert said(app, *shlex.split(command)[2:], "--yes").exit_code == 0
        assert path.read_bytes() == data
    db.session.rollback()
    events = db.session.query(AuditEvent).filter_by(event="backup.registry_checked")
    assert events.count() == 5


def test_what_no_backup_has_is_said(app: Flask, backups: Backups) -> None:
    file_of(app, one_package()).unlink()
    assert "No good backup has the right file." in said(app, "doctor").stdout


def test_a_release_is_chosen_by_its_name_and_version(app: Flask, backup: str) -> None:
    assert said(app, "inspect", backup, "--releases", "no-version").exit_code == 2
    result = said(app, "inspect", backup, "--json", "--releases", "no@1.0.0")
    assert json.loads(result.stdout)["error"]["code"] == "not_found"
    name = one_package().name
    versions = [release.version for release in one_package().releases]
    chosen = ",".join(f"{name}@{version}" for version in versions)
    plan = json.loads(said(app, "inspect", backup, "--json", "--releases", chosen).stdout)["plan"]
    assert plan["records"]["releases"]["unchanged"] == len(versions)
    assert plan["records"]["packages"]["unchanged"] == 1
    assert plan["effect"]["owners"]["unchanged"] == 0


def test_one_that_is_cancelled_leaves_nothing(app: Flask, backups: Backups, backup: str) -> None:
    def stop(_: Any, *, event: dict[str, Any], **extra: Any) -> None:
        if event["step"] == "read_files":
            backups.orders.stopping = CancelledError("It was cancelled.")

    signals.operation_step.connect(stop, app)
    order = verbs.doctor.order(ADA)
    with pytest.raises(CancelledError):
        backups.orders.run(app, order)
    backups.orders.stopping = None
    assert not backups.depot.kept("plan", order.id).here().exists()
    assert not backups.depot.kept("findings", order.id).exists()


def test_what_it_found_goes_with_the_operation(app: Flask, backups: Backups, backup: str) -> None:
    done = backups.orders.run(app, verbs.doctor.order(ADA))
    kept = backups.depot.kept("findings", done.operation)
    assert kept.here().stat().st_mode & 0o077 == 0
    backups.depot.remove_operation(done.operation)
    assert not kept.exists()
