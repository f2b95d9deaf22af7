"""A row that no archive can hold is refused by its name, and nothing is written."""

from __future__ import annotations

from typing import Any

import pytest

from examples.host_app.models import Package, Release, db
from hexhub_backup import verbs
from hexhub_backup.errors import RecordError
from hexhub_backup.jobs.backups import backups_of
from tests.support.hosts import ADA


def local_package() -> Package:
    package = db.session.query(Package).filter_by(source="local").order_by(Package.name).first()
    assert package is not None
    return package


@pytest.mark.parametrize("value", ["a\0b", "\ud800", {"deep": 10**400}])
def test_a_value_that_is_no_strict_json(host: Any, value: Any) -> None:
    package = local_package()
    package.meta = {"description": value}
    name = package.name
    db.session.commit()
    refused(host, f"package {name}")


@pytest.mark.parametrize("version", ["1/2", "../1", ".1"])
def test_a_version_that_is_no_part_of_a_path(host: Any, version: str) -> None:
    release = db.session.query(Release).filter_by(package=local_package()).first()
    assert release is not None
    release.version = version
    label = f"release {release.package.name} {version}"
    db.session.commit()
    refused(host, label)


def refused(host: Any, label: str) -> None:
    db.session.remove()
    backups = backups_of(host)
    with pytest.raises(RecordError, match="Fix the row") as caught:
        backups.orders.run(host, verbs.create.order(ADA))
    assert [fault.record for fault in caught.value.faults] == [label]
    assert list(backups.depot.archives()) == []
    assert list(backups.depot.path.glob("*.part")) == []
    assert backups.history.operations()[0].state == "failed"
