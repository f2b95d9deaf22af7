"""A plan: what it shows, what it is bound to, and that exactly it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import Owner, Package, User, db
from hexhub_backup import verbs
from hexhub_backup.archive.records import OWNERS, PACKAGES, RELEASES, USERS, ReleaseFile
from hexhub_backup.errors import ChangedError, NotFoundError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import Plan
from hexhub_backup.storage.local import LocalStorage
from tests.support.directory import depot_of
from tests.support.hosts import ADA, restored
from tests.support.stored import root_of

PlanOf = Callable[..., Plan]

HASH = "scrypt:32768:8:1$salt$" + "0" * 128


@pytest.fixture
def backups(host: Flask) -> Backups:
    return backups_of(host)


@pytest.fixture
def backup(host: Flask, backups: Backups) -> str:
    return backups.orders.run(host, verbs.create.order(ADA)).operation


@pytest.fixture
def plan_of(host: Flask, backups: Backups) -> Iterator[PlanOf]:
    """Inspects an archive, and gives the plan until the test ends."""
    with ExitStack() as plans:

        def inspected(name: str, **choice: Any) -> Plan:
            done = backups.orders.run(
                host, verbs.inspect.order(backups.history, ADA, name, Choice(**choice))
            )
            return plans.enter_context(closing(backups.plans.open(done.operation)))

        yield inspected


def local() -> list[Package]:
    query = sa.select(Package).where(Package.source == "local").order_by(Package.name)
    return list(db.session.scalars(query))


def somebody() -> User:
    user = db.session.scalars(sa.select(User).where(User.is_admin.is_(False))).first()
    assert user is not None
    return user


def remove(package: Package) -> None:
    for each in [*package.releases, *package.owners, package]:
        db.session.delete(each)
    db.session.commit()


def test_a_conflict_says_what_is_here_and_what_the_archive_has(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    user, package = somebody(), local()[0]
    email, user.email, user.password_hash = user.email, "moved@example.org", HASH
    package.meta = {**package.meta, "description": "another"}
    description = package.meta
    db.session.commit()
    plan = plan_of(backup)
    (conflict,) = plan.conflicts(USERS)
    assert conflict.comparison.changes["email"] == ("moved@example.org", email)
    # A secret is only said to differ: neither value is anywhere in the plan.
    assert conflict.comparison.changes["password_hash"] is None
    (conflict,) = plan.conflicts(PACKAGES)
    old, new = conflict.comparison.changes["meta"] or ("", "")
    assert json.loads(str(old)) == {"description": "another"}
    assert set(json.loads(str(new))) == {"description"}
    plan.close()
    assert description
    file = backups_of(host).depot.path / "plans"
    kept = b"".join(path.read_bytes() for path in file.rglob("plan.sqlite"))
    assert HASH.encode() not in kept


def test_the_effect_of_a_choice_is_told_in_numbers(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    first, second = local()[:2]
    remove(first)
    second.meta = {"description": "changed"}
    db.session.commit()
    skip, overwrite = plan_of(backup), plan_of(backup, strategy="overwrite")
    assert skip.effect(PACKAGES) == {
        "created": 1,
        "overwritten": 0,
        "unchanged": 1,
        "skipped": 1,
        "left_out": 0,
        "not_chosen": 0,
    }
    assert overwrite.effect(PACKAGES)["overwritten"] == 1
    assert (skip.replaces(), overwrite.replaces()) == (0, 1)


def test_only_chosen_packages_come_in_with_what_belongs_to_them(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    first, second, third = (package.name for package in local()[:3])
    for package in local():
        remove(package)
    plan = plan_of(backup, packages=(first, third), users=False)
    assert [each.comparison.key[0] for each in plan.records(PACKAGES)] == [first, third]
    assert {each.comparison.key[0] for each in plan.records(RELEASES)} == {first, third}
    assert plan.effect(USERS)["not_chosen"] == sum(plan.effect(USERS).values())
    assert plan.effect(PACKAGES)["not_chosen"] == 1
    done = restored(host, backup, packages=(first, third), users=False)
    assert done.outcome["records"]["packages"]["created"] == 2
    assert [package.name for package in local()] == [first, third]
    assert all(package.releases for package in local())
    assert second not in done.outcome["changed"]["packages"]["names"]


def test_a_package_that_the_archive_has_not_is_refused(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    with pytest.raises(NotFoundError, match="has no package nowhere"):
        plan_of(backup, packages=("nowhere",))


def test_an_owner_whose_user_is_not_chosen_is_blocked(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    user = somebody()
    owned = db.session.scalars(sa.select(Owner).where(Owner.user_id == user.id)).all()
    name, count = user.username, len(owned)
    assert count
    for each in owned:
        db.session.delete(each)
    db.session.execute(sa.text("DELETE FROM api_keys WHERE user_id = :id"), {"id": user.id})
    db.session.delete(user)
    db.session.commit()
    plan = plan_of(backup, users=False)
    reasons = {str(each.comparison.reason) for each in plan.blocked(OWNERS)}
    assert len(list(plan.blocked(OWNERS))) == count
    assert all(f"its user {name} is neither in the registry nor" in reason for reason in reasons)
    assert not list(plan_of(backup).blocked(OWNERS))


def test_what_must_not_be_overlooked_is_noted(host: Flask, backup: str, plan_of: PlanOf) -> None:
    storage = backups_of(host).storage
    assert isinstance(storage, LocalStorage)
    package = local()[0]
    release = package.releases[0]
    storage.path(ReleaseFile("package", package.name, release.version)).write_bytes(b"other")
    admin = db.session.scalars(sa.select(User).where(User.is_admin)).first()
    assert admin is not None
    admin.is_admin = False
    db.session.commit()
    label = f"release {package.name} {release.version}"
    plan = plan_of(backup, strategy="overwrite")
    (note,) = plan.notes("package_file_differs")
    assert note.record == label
    assert note.message.startswith("its package file is replaced: 5 bytes here, ")
    # Protected alone is no difference, unless it is granted.
    assert plan.note_counts() == {"package_file_differs": 1}
    granted = plan_of(backup, protected=True, strategy="overwrite")
    (note,) = granted.notes("right_changed")
    assert (note.record, note.message) == (
        f"user {admin.username}",
        "is_admin comes from the archive",
    )


def test_a_plan_has_a_hash_of_the_archive_the_choice_and_the_effect(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    user = somebody()
    user.email = "moved@example.org"
    db.session.commit()
    first = plan_of(backup).about["hash"]
    assert plan_of(backup).about["hash"] == first
    assert plan_of(backup, strategy="overwrite").about["hash"] != first
    # What is volatile changes all the time, and no effect.
    local()[0].downloads += 1
    db.session.commit()
    assert plan_of(backup).about["hash"] == first
    user.deactivated_at = user.inserted_at
    db.session.commit()
    assert plan_of(backup).about["hash"] != first


def test_another_choice_reads_neither_the_archive_nor_unchanged_files_again(
    host: Flask, backups: Backups, backup: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backups.orders.run(host, verbs.inspect.order(backups.history, ADA, backup, Choice()))
    with root_of(backups.storage).joinpath("x").open("w"):
        pass
    opened: list[ReleaseFile] = []
    monkeypatch.setattr(backups.storage, "open", opened.append)
    again = verbs.inspect.order_again(
        backups.plans, ADA, first.operation, Choice(strategy="overwrite")
    )
    done = backups.orders.run(host, again)
    (began,) = (each for each in backups.orders.events(done.operation) if each["type"] == "state")
    assert began["steps"] == ["compare"]
    assert opened == []
    assert done.outcome["digest"] == first.outcome["digest"]
    assert done.outcome["plan"] == first.outcome["plan"]
    monkeypatch.undo()
    # Of the first plan nothing is needed any more.
    backups.depot.kept("plan", first.operation).remove()
    assert (
        backups.orders.run(host, verbs.restore.order(backups.plans, ADA, done.operation)).outcome[
            "warnings"
        ]
        == []
    )


def test_a_plan_of_an_archive_that_is_gone_is_not_made_again(
    host: Flask, backups: Backups, backup: str, tmp_path: Path
) -> None:
    archive = depot_of(backups).archive(backup).rename(tmp_path / "one.tar")
    first = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, str(archive), Choice())
    )
    archive.unlink()
    with pytest.raises(NotFoundError, match="not there any more"):
        verbs.inspect.order_again(backups.plans, ADA, first.operation, Choice())


def test_a_registry_that_changed_so_that_the_effect_differs_is_not_restored_into(
    host: Flask, backups: Backups, backup: str
) -> None:
    user = somebody()
    user.email = "moved@example.org"
    db.session.commit()
    plan = backups.orders.run(
        host, verbs.inspect.order(backups.history, ADA, backup, Choice(strategy="overwrite"))
    )
    user.deactivated_at = user.inserted_at
    db.session.commit()
    with pytest.raises(ChangedError) as caught:
        backups.orders.run(host, verbs.restore.order(backups.plans, ADA, plan.operation))
    assert [fault.record for fault in caught.value.faults] == [f"user {user.username}"]
    db.session.refresh(user)
    assert user.email == "moved@example.org"
    # The plan is still there, for a fresh one.
    fresh = verbs.inspect.order_again(
        backups.plans, ADA, plan.operation, Choice(strategy="overwrite")
    )
    backups.orders.run(
        host, verbs.restore.order(backups.plans, ADA, backups.orders.run(host, fresh).operation)
    )
    db.session.refresh(user)
    assert user.email != "moved@example.org"


def test_entries_are_searched_a_page_at_a_time(host: Flask, backup: str, plan_of: PlanOf) -> None:
    plan = plan_of(backup)
    assert len(plan.search(RELEASES, "unchanged", offset=0, limit=2)) == 2
    assert plan.count(RELEASES, "unchanged") == plan.states(RELEASES)["unchanged"]
    name = local()[1].name
    rows = plan.search(RELEASES, "unchanged", name.upper(), offset=0, limit=99)
    assert {row.comparison.key[0] for row in rows} == {name}
    assert plan.count(RELEASES, "unchanged", name.upper()) == len(rows) > 0
    assert plan.search(RELEASES, "conflict", name, offset=0, limit=9) == []
    assert plan.count(RELEASES, "conflict", name) == 0


def test_what_a_database_takes_for_any_character_is_searched_as_it_is(
    host: Flask, backup: str, plan_of: PlanOf
) -> None:
    plan = plan_of(backup)
    names = [row.comparison.key for row in plan.search(PACKAGES, "unchanged", offset=0, limit=99)]
    assert any("_" in name for (name,) in names)
    for text in ("_", "%", "!", "\\", "'"):
        wanted = [key for key in names if text in key[0]]
        found = plan.search(PACKAGES, "unchanged", text, offset=0, limit=99)
        assert [row.comparison.key for row in found] == wanted
        # Once it is counted, a search begins with the first.
        assert plan.count(PACKAGES, "unchanged", text) == len(wanted)
        assert plan.search(PACKAGES, "unchanged", text, offset=0, limit=99) == found
