"""Package files never change: a backup in which one did says so first, until somebody knows why."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from examples.host_app.models import AuditEvent, Package, db
from hexhub_backup import signals
from hexhub_backup.history import remarks
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from tests.support.directory import depot_of
from tests.support.hosts import ADA, change_something, file_of, one_package
from tests.support.serving import make_backup

pytestmark = pytest.mark.usefixtures("app")


def outcome_of(backups: Backups, backup: str) -> dict[str, Any]:
    outcome = backups.catalog.operation(backup).outcome
    assert outcome is not None
    return outcome


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def replaced(path: Path) -> None:
    """Somebody puts another file in the place of a package file: of the same size."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def problems(backups: Backups) -> list[str]:
    return [each.code for each in backups.status(utc_now()).problems]


def test_where_nothing_has_changed_nothing_is_said(app: Flask, backups: Backups) -> None:
    with app.app_context():
        outcomes = [outcome_of(backups, make_backup(app)) for _ in range(2)]
        assert [each["changed_files"] for each in outcomes] == [None, 0]
        assert [each["warnings"] for each in outcomes] == [[], []]
        assert problems(backups) == []


def test_a_file_that_changed_is_the_first_warning_with_both_hashes(
    app: Flask, backups: Backups
) -> None:
    with app.app_context():
        first = make_backup(app)
        package = one_package()
        label = f"release {package.name} {package.releases[0].version}"
        path = file_of(app, package)
        before = sha256(path)
        replaced(path)
        gone = db.session.query(Package).filter(Package.source == "local").all()[-1]
        file_of(app, gone).unlink()
        second = make_backup(app)
        outcome = outcome_of(backups, second)
        assert outcome["changed_files"] == 1
        codes = [each["code"] for each in outcome["warnings"]]
        assert codes == ["package_file_changed", "missing_package_file"]
        warning = outcome["warnings"][0]
        assert warning["record"] == label
        for part in (sha256(path), before, first):
            assert part in warning["message"]
        assert problems(backups) == ["files_changed"]
        # Once: it is what the next one is compared with.
        assert outcome_of(backups, make_backup(app))["changed_files"] == 0
        assert problems(backups) == ["files_changed"]


def test_it_is_acknowledged_with_a_name_and_a_note(app: Flask, backups: Backups) -> None:
    told: list[dict[str, Any]] = []

    def acknowledged(_: Any, **payload: Any) -> None:
        told.append(payload)

    signals.change_acknowledged.connect(acknowledged, app)
    with app.app_context():
        make_backup(app)
        replaced(file_of(app, one_package()))
        backup = make_backup(app)
        assert backups.history.backup(backup).has_alarm
        for note in ("We replaced it", "said again"):
            remarks.acknowledge(backups.catalog, app, ADA, backup, note)
        found = backups.history.backup(backup)
        assert not found.has_alarm
        assert (found.acknowledged_by, found.acknowledged_note) == ("ada", "We replaced it")
        assert problems(backups) == []
        (event,) = db.session.query(AuditEvent).filter_by(event="backup.change_acknowledged")
        assert event.details == {"backup": backup, "changed_files": 1, "note": "We replaced it"}
    (payload,) = told
    assert payload["changed_files"] == 1


def test_a_release_that_was_away_for_a_while_is_still_known(app: Flask, backups: Backups) -> None:
    with app.app_context():
        first = make_backup(app)
        path = file_of(app, one_package())
        data = path.read_bytes()
        path.unlink()
        for _ in range(2):
            assert outcome_of(backups, make_backup(app))["changed_files"] == 0
        path.write_bytes(data)
        replaced(path)
        (warning,) = outcome_of(backups, make_backup(app))["warnings"]
        assert warning["code"] == "package_file_changed"
        assert f"in backup {first}" in warning["message"]


@pytest.mark.parametrize("lost", ["missing", "damaged"])
def test_an_earlier_list_that_can_not_be_read_costs_no_backup(
    app: Flask, backups: Backups, lost: str
) -> None:
    with app.app_context():
        first, second = make_backup(app), make_backup(app)
        replaced(file_of(app, one_package()))
        listing = depot_of(backups).contents(second)
        if lost == "missing":
            listing.unlink()
        else:
            data = listing.read_bytes()
            listing.write_bytes(data[:4096] + b"\0" * (len(data) - 4096))
        outcome = outcome_of(backups, make_backup(app))
        if lost == "missing":
            (warning,) = outcome["warnings"]
            assert f"in backup {first}" in warning["message"]
        else:
            assert outcome["manifest"]


def test_what_happened_since_the_last_backup_is_one_line(app: Flask, backups: Backups) -> None:
    with app.app_context():
        first = make_backup(app)
        change_something()
        package = one_package()
        db.session.add(Package(name="another", source="local", meta={}))
        release = package.releases[-1]
        db.session.delete(release)
        db.session.commit()
        second = make_backup(app)
        since = backups.history.backup(second).since
        assert since is not None
        assert since["backup"] == first
        assert since["records"]["packages"] == {"added": 1, "removed": 0, "changed": 1}
        assert since["records"]["releases"] == {"added": 0, "removed": 1, "changed": 0}
        # A password and an e-mail are not in the list, so that nobody is told of them.
        assert since["records"]["users"] == {"added": 0, "removed": 0, "changed": 0}
        lines = [each.get("message", "") for each in backups.orders.events(second)]
        assert f"Since backup {first}: +1 package, -1 release, 1 changed." in lines
