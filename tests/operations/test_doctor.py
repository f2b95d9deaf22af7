"""The registry is held against its own rows: what is wrong is found, nothing else is, and a backup
puts it right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from examples.host_app.files import path_of
from examples.host_app.models import Package, Release, db
from hexhub_backup import hex_tarball, signals, verbs
from hexhub_backup.errors import NotFoundError
from hexhub_backup.history import remarks
from hexhub_backup.history.findings import findings_of
from hexhub_backup.history.store import utc_now
from hexhub_backup.jobs.backups import Backups
from hexhub_backup.operations import doctor
from hexhub_backup.operations.findings import Finding
from tests.support.directory import depot_of
from tests.support.hex import package_file
from tests.support.hosts import ADA, dump, planned
from tests.support.stored import root_of

pytestmark = [
    pytest.mark.host(users=2, file_size=2000),
    pytest.mark.usefixtures("database", "storages", "host"),
]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, backups: Backups) -> None:
    """No host is at work here that had to be waited for, and not all is a package file."""
    monkeypatch.setattr(doctor, "SETTLES", 0)
    backups.check_release = None


def examined(app: Flask, backups: Backups) -> list[Finding]:
    """What a check finds, which is also what its outcome and its warnings say."""
    done = backups.orders.run(app, verbs.doctor.order(ADA))
    found = list(findings_of(backups.depot, done.operation))
    assert [Finding(**each) for each in done.outcome["findings"]] == found[:100]
    assert sum(done.outcome["found"].values()) == done.outcome["warning_count"] == len(found)
    assert not backups.depot.kept("plan", done.operation).here().exists()
    return found


def brought_back(app: Flask, backups: Backups, finding: Finding) -> str:
    """Restore what the finding says. Returns the operation."""
    assert finding.backup is not None
    assert finding.choice is not None
    order = verbs.inspect.order(backups.history, ADA, finding.backup, finding.choice)
    plan = backups.orders.run(app, order).operation
    return backups.orders.run(app, verbs.restore.order(backups.plans, ADA, plan)).operation


def create(app: Flask, backups: Backups) -> str:
    return backups.orders.run(app, verbs.create.order(ADA)).operation


def releases() -> list[Release]:
    """Those that were published here, with docs first."""
    query = db.select(Release).join(Package).where(Package.source == "local")
    order = Release.has_docs.desc(), Package.name, Release.version
    return list(db.session.scalars(query.order_by(*order)))


def file_of(backups: Backups, release: Release, file_type: Any = "package") -> Path:
    name = release.package.name
    return root_of(backups.storage) / path_of("local", file_type, name, release.version)


def test_a_package_file_that_no_client_takes_is_found(app: Flask, backups: Backups) -> None:
    """Backed up like that, or published since."""
    backups.check_release = hex_tarball
    first, second, *_ = releases()
    file_of(backups, first).write_bytes(b"junk")
    create(app, backups)
    file_of(backups, second).write_bytes(package_file("other", second.version))
    second.inserted_at = second.updated_at = second.inserted_at + timedelta(days=10_000)
    db.session.commit()
    found = {each.package: each for each in examined(app, backups)}
    assert set(found) == {first.package.name, second.package.name}
    assert {each.found for each in found.values()} == {"unfit"}
    assert all(each.choice is None for each in found.values())
    assert "it is no tar" in str(found[first.package.name].reason)
    assert "another name in its metadata: other" in str(found[second.package.name].reason)
    backups.check_release = None
    assert examined(app, backups) == []


def test_a_check_that_raises_on_each_file_is_logged_once_a_look(
    app: Flask, backups: Backups, backup: str, caplog: pytest.LogCaptureFixture
) -> None:
    def check(*_: Any, **__: Any) -> list[str]:
        raise ValueError

    backups.check_release = check
    found = examined(app, backups)
    assert len(found) > 1
    assert {each.found for each in found} == {"unfit"}
    assert caplog.text.count("check_release= failed on release") == 2


def replace(path: Path) -> str:
    """Somebody puts another file of the same size there. Returns its hash."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[::-1])
    return hashlib.sha256(data[::-1]).hexdigest()


def meanwhile(app: Flask, do: Callable[[], object], step: str = "look_again") -> None:
    """Do something once, when a step of the next check begins."""
    todo = [do]

    def told(_: Any, *, event: dict[str, Any], **extra: Any) -> None:
        if (event["step"], event["state"]) == (step, "running") and todo:
            todo.pop()()

    signals.operation_step.connect(told, app, weak=False)


def test_nothing_is_found_in_a_sound_registry(app: Flask, backups: Backups, backup: str) -> None:
    root = root_of(backups.storage)
    # What a host keeps beside the files of releases is none of ours.
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "file").write_text("of the host's")
    (root / path_of("cached", "package", "up", "1.0.0")).parent.mkdir(parents=True)
    (root / path_of("cached", "package", "up", "1.0.0")).write_text("from upstream")
    assert examined(app, backups) == []
    done = backups.orders.run(app, verbs.doctor.order(ADA))
    docs = sum(release.has_docs for release in releases())
    assert done.outcome["releases"] == len(releases())
    assert done.outcome["files"] == len(releases()) + docs


@pytest.mark.parametrize("found", ["missing", "changed", "stray"])
def test_what_is_wrong_is_found_and_brought_back_and_that_is_undone(
    app: Flask, backups: Backups, backup: str, found: str
) -> None:
    before = dump(app)
    release = releases()[0]
    path, stored = file_of(backups, release), None
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    if found == "missing":
        path.unlink()
    elif found == "changed":
        stored = replace(path)
    else:
        # With its docs it leaves two files.
        db.session.delete(release)
        db.session.commit()
    wrong = dump(app)
    key = (release.package.name, release.version) if found != "stray" else ()
    findings = examined(app, backups)
    finding = next(each for each in findings if each.type == "package")
    assert len(findings) == (2 if found == "stray" else 1)
    if found != "stray":
        assert (finding.package, finding.version) == key
    assert finding.found == found
    assert (finding.stored, finding.expected) == (stored, expected)
    assert finding.known_by == finding.backup == backup
    restore = brought_back(app, backups, finding)
    if found != "stray":
        assert dump(app) == before
    assert dump(app)[1] == before[1]
    assert examined(app, backups) == []
    backups.orders.run(app, verbs.undo.order(backups.history, ADA, restore))
    if found == "stray":
        # The row and the files of what a restore has created go together.
        assert dump(app)[0] == wrong[0]
    else:
        assert dump(app) == wrong


def test_the_right_bytes_are_in_an_older_backup(app: Flask, backups: Backups, backup: str) -> None:
    """The newest backup has the file that was put in its place, and says so: the file is held
    against what it was before, until somebody says why it has changed."""
    path = file_of(backups, releases()[0])
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    wrong = replace(path)
    newer, newest = create(app, backups), create(app, backups)
    (finding,) = examined(app, backups)
    assert (finding.found, finding.stored, finding.expected) == ("changed", wrong, right)
    assert (finding.known_by, finding.backup) == (backup, backup)
    path.unlink()
    (finding,) = examined(app, backups)
    assert (finding.found, finding.expected, finding.backup) == ("missing", right, backup)
    brought_back(app, backups, finding)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == right
    # Also when a backup has it again, which warns of a change too.
    create(app, backups)
    assert examined(app, backups) == []
    replace(path)
    for each in (newer, newest, *(each.id for each in backups.history.backups())):
        if backups.history.backup(each).has_alarm:
            remarks.acknowledge(backups.catalog, app, ADA, each, "We know")
    (finding,) = examined(app, backups)
    assert finding.expected == right


def test_who_knows_why_a_file_changed_has_it_held_against_the_new_one(
    app: Flask, backups: Backups, backup: str
) -> None:
    path = file_of(backups, releases()[0])
    replace(path)
    newer = create(app, backups)
    remarks.acknowledge(backups.catalog, app, ADA, newer, "We replaced it")
    assert examined(app, backups) == []
    path.unlink()
    (finding,) = examined(app, backups)
    assert finding.backup == newer


def test_a_damaged_backup_brings_nothing_back(app: Flask, backups: Backups, backup: str) -> None:
    newer = create(app, backups)
    backups.catalog.update_backup(newer, intact=False)
    file_of(backups, releases()[0]).unlink()
    (finding,) = examined(app, backups)
    assert finding.backup == backup
    backups.catalog.update_backup(backup, intact=False)
    (finding,) = examined(app, backups)
    assert (finding.backup, finding.choice) == (None, None)


def test_docs_are_wrong_unless_the_row_says_that_they_were_published_anew(
    app: Flask, backups: Backups, backup: str
) -> None:
    release = releases()[0]
    path = file_of(backups, release, "docs")
    right = path.read_bytes()
    replace(path)
    (finding,) = examined(app, backups)
    assert (finding.found, finding.type, finding.backup) == ("changed", "docs", backup)
    assert finding.notice().code == "docs_file_changed"
    release.updated_at = utc_now() + timedelta(seconds=1)
    db.session.commit()
    assert examined(app, backups) == []
    # A later backup has the new ones.
    later = create(app, backups)
    release.updated_at = utc_now() - timedelta(days=1)
    db.session.commit()
    assert examined(app, backups) == []
    path.write_bytes(right)
    (finding,) = examined(app, backups)
    assert finding.known_by == finding.backup == later
    path.unlink()
    (finding,) = examined(app, backups)
    assert (finding.found, finding.backup) == ("missing", later)


def test_a_file_comes_back_with_nothing_that_is_wrong(
    app: Flask, backups: Backups, backup: str
) -> None:
    """A restore of a release replaces both of its files: a backup in which the other one is wrong
    comes last."""
    release = releases()[0]
    package, docs = file_of(backups, release), file_of(backups, release, "docs")
    right = package.read_bytes()
    replace(package)
    newer = create(app, backups)
    package.write_bytes(right)
    replace(docs)
    (finding,) = examined(app, backups)
    assert (finding.type, finding.known_by, finding.backup) == ("docs", newer, backup)
    brought_back(app, backups, finding)
    assert package.read_bytes() == right
    assert examined(app, backups) == []


def test_what_no_backup_has_is_held_against_none(app: Flask, backups: Backups, backup: str) -> None:
    one = releases()[0]
    new = Release(package=one.package, version="99.0.0", meta={}, requirements={})
    db.session.add(new)
    db.session.commit()
    path = file_of(backups, new)
    path.write_bytes(b"published just now")
    assert examined(app, backups) == []
    path.unlink()
    (finding,) = examined(app, backups)
    assert (finding.found, finding.version) == ("missing", "99.0.0")
    assert (finding.expected, finding.backup) == (None, None)


@pytest.mark.parametrize("what", ["missing", "changed", "deleted", "published", "stray"])
def test_what_changes_meanwhile_is_no_finding(
    app: Flask, backups: Backups, backup: str, what: str
) -> None:
    """It looks again at row and file before it says anything."""
    release = releases()[-1]
    path, package, id_ = file_of(backups, release), release.package_id, release.id
    data = path.read_bytes()

    def put_back() -> None:
        path.write_bytes(data)

    def delete() -> None:
        db.session.execute(db.delete(Release).where(Release.id == id_))
        db.session.commit()

    def publish() -> None:
        db.session.add(Release(package_id=package, version="99.0.0", meta={}, requirements={}))
        db.session.commit()

    stray = path.with_name(f"{release.package.name}-99.0.0.tar.gz")
    does: dict[str, Callable[[], object]] = {
        "missing": put_back,
        "changed": put_back,
        "deleted": delete,
        "published": publish,
        "stray": stray.unlink,
    }
    if what == "changed":
        path.write_bytes(b"half of it")
    elif what in ("published", "stray"):
        stray.write_bytes(b"its row is to come")
    else:
        path.unlink()
    meanwhile(app, does[what])
    assert examined(app, backups) == []


def test_a_file_that_no_backup_knows_is_named(app: Flask, backups: Backups, backup: str) -> None:
    folder = file_of(backups, releases()[0]).parent
    for n in range(101):
        (folder / f"{n:03}.part").write_text("left behind")
    findings = examined(app, backups)
    assert len(findings) == 101
    assert all(
        (each.found, each.package, each.choice) == ("stray", None, None) for each in findings
    )
    assert findings[0].name.endswith(f"/{folder.name}/000.part")


def test_a_release_comes_alone_and_its_package_only_where_it_is_not_here(
    app: Flask, backups: Backups, backup: str
) -> None:
    release = releases()[0]
    package, others = release.package, len(release.package.releases) - 1
    name, version = package.name, release.version
    replace(file_of(backups, release))
    package.meta = {"description": "written since"}
    db.session.commit()
    (finding,) = examined(app, backups)
    brought_back(app, backups, finding)
    db.session.expire_all()
    assert package.meta == {"description": "written since"}
    for each in (*package.owners, *package.releases, package):
        db.session.delete(each)
    db.session.commit()
    stray = next(each for each in examined(app, backups) if each.version == version)
    brought_back(app, backups, stray)
    found = db.session.scalars(db.select(Package).where(Package.name == name)).one()
    assert [each.version for each in found.releases] == [version]
    # The files of the others are still there, without a row.
    assert others
    assert {each.found for each in examined(app, backups)} == {"stray"}
    with pytest.raises(NotFoundError, match=f"no release {name} 1.2.3-none"):
        planned(app, backup, packages=(), releases=((name, "1.2.3-none"),))


def test_a_list_that_can_not_be_read_costs_only_what_it_knows(
    app: Flask, backups: Backups, backup: str
) -> None:
    newer = create(app, backups)
    listing = depot_of(backups).contents(newer)
    data = listing.read_bytes()
    listing.write_bytes(data[:4096] + b"\0" * (len(data) - 4096))
    file_of(backups, releases()[0]).unlink()
    (finding,) = examined(app, backups)
    assert finding.backup == backup
