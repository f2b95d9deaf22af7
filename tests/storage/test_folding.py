"""A storage that takes names for one that differ in case or Unicode normal form only."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Package, Release, db
from hexhub_backup import verbs
from hexhub_backup.archive.records import FILE_TYPES, PACKAGES, RELEASES, ReleaseFile
from hexhub_backup.archive.rules.member_names import folded
from hexhub_backup.errors import ConflictError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.storage.folding import folding_of
from hexhub_backup.storage.layout import hexhub_layout
from hexhub_backup.storage.local import LocalStorage
from tests.support.directory import depot_of
from tests.support.hosts import ADA, planned, restored

ALIKE = [("alike", "1.0.0-RC.1"), ("alike", "1.0.0-rc.1"), ("r\u00e9sum\u00e9", "1")]
#: One of them is there already.
HERE = ("re\u0301sume\u0301", "1")


class Folding(LocalStorage):
    """As on a Mac or on Windows, whatever this machine has."""

    def alike(self) -> Callable[[ReleaseFile], str] | None:
        return lambda file: folded(hexhub_layout(file))


@pytest.fixture
def backups(host: Flask) -> Backups:
    found = backups_of(host)
    # What lies there is no package file.
    found.check_release = None
    return found


def publish(backups: Backups, *keys: tuple[str, str]) -> None:
    """Let the host have these releases, each with files of its own."""
    assert isinstance(backups.storage, LocalStorage)
    for name, version in keys:
        package = db.session.scalar(sa.select(Package).where(Package.name == name))
        package = package or Package(name=name)
        db.session.add(Release(package=package, version=version, has_docs=True))
        for file_type in FILE_TYPES:
            path = backups.storage.path(ReleaseFile(file_type, name, version))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{file_type} {name} {version}".encode())
    db.session.commit()


def unpublish(backups: Backups, *keys: tuple[str, str]) -> None:
    assert isinstance(backups.storage, LocalStorage)
    for name, version in keys:
        package = db.session.scalars(sa.select(Package).where(Package.name == name)).one()
        for release in [each for each in package.releases if each.version == version]:
            db.session.delete(release)
        db.session.flush()
        db.session.expire(package)
        if not package.releases:
            db.session.delete(package)
        for file_type in FILE_TYPES:
            backups.storage.path(ReleaseFile(file_type, name, version)).unlink()
    db.session.commit()


def releases() -> set[tuple[str, str]]:
    rows = db.session.execute(sa.select(Package.name, Release.version).join(Release.package))
    return {(name, version) for name, version in rows}


@pytest.fixture
def archive(host: Flask, backups: Backups) -> str:
    """A backup of all of them, of which the registry holds one by now."""
    before = releases()
    publish(backups, *ALIKE, HERE)
    made = backups.orders.run(host, verbs.create.order(ADA))
    assert made.outcome["warnings"] == []
    unpublish(backups, *ALIKE)
    assert releases() == {*before, HERE}
    return made.operation


def test_a_storage_that_keeps_names_apart_takes_all_of_them(
    host: Flask, backups: Backups, archive: str
) -> None:
    assert (
        backups.orders.run(host, verbs.verify.order(backups.history, ADA, archive)).outcome[
            "warnings"
        ]
        == []
    )
    assert restored(host, archive).outcome["records"]["releases"]["created"] == len(ALIKE)
    for file_type in FILE_TYPES:
        for name, version in (*ALIKE, HERE):
            with backups.storage.open(ReleaseFile(file_type, name, version)) as stored:
                assert stored.read(100) == f"{file_type} {name} {version}".encode()


def test_what_a_storage_can_not_hold_beside_another_is_blocked(
    host: Flask, backups: Backups, archive: str
) -> None:
    """Both of two that are new, and the new one beside one that is there."""
    before = releases()
    backups.storage = Folding(backups.storage.location)
    done = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, archive, Choice(strategy="overwrite"))
    )
    with closing(backups.plans.open(done.operation)) as plan:
        blocked = {each.comparison.key: each for each in plan.blocked(RELEASES)}
        assert [*blocked] == sorted(ALIKE)
        pairs = zip(ALIKE, [ALIKE[1], ALIKE[0], HERE], strict=True)
        other: dict[tuple[str, ...], tuple[str, str]] = dict(pairs)
        for key, found in blocked.items():
            whose = "registry" if other[key] == HERE else "archive"
            assert f"{RELEASES.label(other[key])} of the {whose}" in str(found.comparison.reason)
            assert plan.files_of(found.comparison.n) == []
        # Of a package the database knows whether it can hold both.
        assert list(plan.blocked(PACKAGES)) == []
    assert not (depot_of(backups).plan(done.operation) / "places.sqlite").exists()

    outcome = restored(host, archive).outcome
    assert outcome["records"]["releases"]["left_out"] == len(ALIKE)
    assert {each["record"] for each in outcome["warnings"] if each["code"] == "blocked"} == {
        RELEASES.label(key) for key in ALIKE
    }
    assert releases() == before
    with pytest.raises(ConflictError) as caught:
        backups.orders.run(host, planned(host, archive, strategy="fail"))
    assert all("the storage can not hold its files" in each.message for each in caught.value.faults)


def test_a_release_that_the_host_hides_has_files_too(
    host: Flask, backups: Backups, archive: str
) -> None:
    package = db.session.scalars(sa.select(Package).where(Package.name == HERE[0])).one()
    package.source = "cached"
    db.session.commit()
    backups.storage = Folding(backups.storage.location)
    done = backups.orders.run(host, verbs.inspect.order(backups.history, ADA, archive, Choice()))
    with closing(backups.plans.open(done.operation)) as plan:
        reasons = {each.comparison.key: each.comparison.reason for each in plan.blocked(RELEASES)}
        assert "of the registry" in str(reasons[ALIKE[2]])


def test_what_is_not_chosen_is_in_nobodys_way(host: Flask, backups: Backups, archive: str) -> None:
    unpublish(backups, HERE)
    backups.storage = Folding(backups.storage.location)
    choice = Choice(packages=(HERE[0],))
    done = backups.orders.run(host, verbs.inspect.order(backups.history, ADA, archive, choice))
    with closing(backups.plans.open(done.operation)) as plan:
        assert plan.states(RELEASES)["blocked"] == 0
        assert plan.states(RELEASES)["create"] == 1


@pytest.mark.parametrize("there", [True, False])
def test_the_file_system_is_asked_once_and_nothing_is_left(tmp_path: Path, *, there: bool) -> None:
    storage = LocalStorage(tmp_path / "a" / "storage")
    if there:
        storage.root.mkdir(parents=True)
    alike = storage.alike()
    assert storage.root.exists() == (tmp_path / "a").exists() == there
    assert list(tmp_path.rglob("*")) == ([tmp_path / "a", storage.root] if there else [])
    # Asked again, it would stumble over this.
    if not there:
        (tmp_path / "a").write_bytes(b"")
    assert (storage.alike() is None) == (alike is None)


def test_a_place_where_nothing_can_be_made_folds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    storage = LocalStorage(tmp_path / "a" / "storage")
    assert storage.alike() is None
    # Only for now.
    (tmp_path / "a").unlink()
    assert (storage.alike() is None) == (folding_of(tmp_path) is None)
