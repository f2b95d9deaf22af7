"""What a host sees and does when a decision is prepared and has not begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, Release, db
from hexhub_backup.errors import ChangedError
from tests.support.hosts import dump, leftovers, planned, restored
from tests.support.moved import OTHER, Registry, before_the_decision, in_place, told
from tests.support.stored import root_of

pytestmark = [pytest.mark.host(users=2), pytest.mark.usefixtures("storages", "host")]


@pytest.fixture
def registry(app: Flask, backup: str) -> Registry:
    return Registry(app)


def renamed(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(OTHER)
    new.replace(path)


@pytest.mark.sample
def test_only_files_that_no_row_refers_to_are_there_before_it(
    app: Flask, backup: str, registry: Registry
) -> None:
    seen = []

    def look() -> None:
        seen.append((registry.created.exists(), registry.put_back.exists()))
        assert registry.file.read_bytes() != registry.archived

    job = planned(app, backup)
    with before_the_decision(app, look):
        registry.backups.orders.run(app, job)
    assert seen == [(True, False)]
    assert registry.created.exists()
    assert registry.put_back.exists()
    assert registry.file.read_bytes() == registry.archived


@pytest.mark.parametrize("write", [in_place, renamed])
@pytest.mark.parametrize("which", ["file", "created", "put_back"])
def test_a_file_that_the_host_stores_before_it_is_no_part_of_a_restore(
    app: Flask, backup: str, registry: Registry, which: str, write: Callable[[Path], None]
) -> None:
    """Nothing is restored, and what the host has stored stays, where a file was placed too."""
    before = dump(app)
    path: Path = getattr(registry, which)
    job = planned(app, backup)

    def store() -> None:
        if not path.exists():
            path.touch()
        write(path)

    with before_the_decision(app, store), pytest.raises(ChangedError):
        registry.backups.orders.run(app, job)
    assert path.read_bytes() == OTHER
    rows, files = dump(app)
    name = str(path.relative_to(root_of(registry.backups.storage)))
    assert rows == before[0]
    assert {**files, name: ""} == {**before[1], name: ""}
    assert leftovers(registry.backups) == []


def test_a_file_that_stays_is_looked_at_where_its_row_is_overwritten(
    app: Flask, backup: str, registry: Registry
) -> None:
    registry.file.write_bytes(registry.archived)
    before = dump(app)
    job = planned(app, backup)
    with (
        before_the_decision(app, lambda: in_place(registry.file)),
        pytest.raises(ChangedError),
    ):
        registry.backups.orders.run(app, job)
    assert registry.is_as_before()
    assert dump(app)[0] == before[0]
    assert registry.file.read_bytes() == OTHER


def test_a_release_that_the_host_publishes_before_it_stays_its_own(
    app: Flask, backup: str, registry: Registry
) -> None:
    job = planned(app, backup)
    _, name, version = registry.gone.split()
    published = []

    def publish() -> None:
        in_place(registry.created)
        with db.engine.begin() as connection:
            package = sa.select(Package.id).where(Package.name == name).scalar_subquery()
            connection.execute(sa.insert(Release).values(package_id=package, version=version))
        published.append(dump(app))

    with before_the_decision(app, publish), pytest.raises(ChangedError):
        registry.backups.orders.run(app, job)
    rows, files = dump(app)
    created = str(registry.created.relative_to(root_of(registry.backups.storage)))
    docs = created.replace("/packages/", "/docs/")
    assert rows == published[0][0]
    assert registry.created.read_bytes() == OTHER
    # What the host has not stored itself is taken back.
    assert {**files, docs: ""} == {**published[0][1], docs: ""}
    assert docs not in files


def test_a_release_whose_file_the_host_stores_before_it_is_left_whole_by_an_undo(
    app: Flask, backup: str, registry: Registry
) -> None:
    done = restored(app, backup)

    def store() -> None:
        in_place(registry.file)
        in_place(registry.created)

    with before_the_decision(app, store):
        outcome = registry.undo(done.operation)
    assert sorted(told(outcome)) == sorted(
        ("changed_since", each) for each in (registry.differs, registry.gone)
    )
    assert not registry.is_as_before()
    assert registry.file.read_bytes() == registry.created.read_bytes() == OTHER
    assert outcome["records"]["releases"] == {"removed": 0, "brought_back": 0, "left": 2}
