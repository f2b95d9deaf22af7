"""Who may become whom: accounts that hold a protected right change only where it is granted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from examples.host_app.models import User, db, now
from hexhub_backup import verbs
from hexhub_backup.errors import ChangedError, RightsError
from hexhub_backup.jobs.backups import Backups, backups_of
from hexhub_backup.operations.choice import Choice
from hexhub_backup.operations.plan import Plan
from tests.support.hosts import ADA, planned, restored

pytestmark = [pytest.mark.host(packages=2, releases=1), pytest.mark.usefixtures("database")]

OLD = "scrypt:32768:8:1$old$" + "0" * 128
NEW = "scrypt:32768:8:1$new$" + "1" * 128

PlanOf = Callable[..., Plan]


@pytest.fixture(autouse=True)
def people(host: Flask) -> None:
    """The admin is `root`, and two of the three others are `ann` and `bob`."""
    admin = db.session.scalars(sa.select(User).where(User.is_admin)).one()
    admin.username, admin.password_hash, admin.email = "root", OLD, "root@old.example"
    first, second, *_ = db.session.scalars(sa.select(User).where(User.username != "root"))
    for user, name in ((first, "ann"), (second, "bob")):
        user.username, user.password_hash, user.email = name, OLD, f"{name}@old.example"
        user.totp_enabled = False
    db.session.commit()


@pytest.fixture
def plan_of(app: Flask, backups: Backups) -> Iterator[PlanOf]:
    with ExitStack() as plans:

        def inspected(name: str, **choice: Any) -> Plan:
            choice = {"strategy": "overwrite", **choice}
            done = backups.orders.run(
                app, verbs.inspect.order(backups.history, ADA, name, Choice(**choice))
            )
            return plans.enter_context(closing(backups.plans.open(done.operation)))

        yield inspected


def user(name: str) -> User:
    db.session.rollback()
    return db.session.scalars(sa.select(User).where(User.username == name)).one()


def names() -> set[str]:
    db.session.rollback()
    return set(db.session.scalars(sa.select(User.username)))


def change(*usernames: str, **values: Any) -> None:
    for name in usernames:
        found = user(name)
        for key, value in values.items():
            setattr(found, key, value)
        db.session.commit()


def add_admin(name: str) -> None:
    db.session.add(User(username=name, email=f"{name}@x", password_hash=NEW, is_admin=True))
    db.session.commit()


def log_in(*usernames: str) -> dict[str, tuple[Any, ...]]:
    """By what somebody logs in as these accounts."""
    found = map(user, usernames)
    return {
        each.username: (each.password_hash, each.email, each.totp_enabled, each.deactivated_at)
        for each in found
    }


def notes(plan: Plan, code: str) -> list[tuple[str | None, str]]:
    return [(note.record, note.message) for note in plan.notes(code)]


# a restore


def test_without_a_grant_nobody_becomes_an_admin_by_an_archive(
    app: Flask, backup: str, plan_of: PlanOf
) -> None:
    """`root` holds the right here and in the archive, `ann` only here, `bob` only there."""
    change("bob", is_admin=True)
    backup = backups_of(app).orders.run(app, verbs.create.order(ADA)).operation
    change("root", "ann", "bob", password_hash=NEW)
    change("root", email="root@new.example", deactivated_at=now())
    change("ann", is_admin=True)
    change("bob", is_admin=False)
    before = log_in("root", "ann", "bob")
    plan = plan_of(backup)
    assert dict(notes(plan, "privileged_account")) == {
        f"user {name}": f"it holds a protected right {where}, and stays as it is, because that "
        "was not granted"
        for name, where in (("root", "here"), ("ann", "here"), ("bob", "in the archive"))
    }
    assert plan.replaces() == 0
    done = restored(app, backup, protected=False)
    assert log_in("root", "ann", "bob") == before
    kept = [each for each in done.outcome["warnings"] if each["code"] == "privileged_account"]
    assert {each["record"] for each in kept} == {"user root", "user ann", "user bob"}
    assert done.outcome["changed"]["credentials"]["names"] == []
    assert [user(name).is_admin for name in ("root", "ann", "bob")] == [True, True, False]


def test_the_plan_names_whose_log_in_changes_admins_apart(
    app: Flask, backup: str, plan_of: PlanOf
) -> None:
    change("root", password_hash=NEW, email="elsewhere@x")
    change("ann", password_hash=NEW, email="ann@elsewhere", deactivated_at=now())
    change("bob", service_account=True)
    plan = plan_of(backup, protected=True)
    password = "password (the archived one works again)"
    assert notes(plan, "privileged_credentials_changed") == [
        ("user root", f"from the archive: e-mail, {password}")
    ]
    assert notes(plan, "credentials_changed") == [
        (
            "user ann",
            f"from the archive: e-mail, {password}, deactivation (it is active again)",
        )
    ]
    done = restored(app, backup)
    assert set(done.outcome["changed"]["credentials"]["names"]) == {"root", "ann"}
    assert log_in("root")["root"] == (OLD, "root@old.example", False, None)


def test_an_account_that_becomes_an_admin_after_the_plan_makes_it_another_plan(
    app: Flask, backups: Backups, backup: str
) -> None:
    change("ann", password_hash=NEW)
    job = planned(app, backup, protected=False)
    change("ann", is_admin=True)
    with pytest.raises(ChangedError) as caught:
        backups.orders.run(app, job)
    (fault,) = caught.value.faults
    assert (fault.code, fault.record) == ("changed", "user ann")
    assert fault.message == "it holds a protected right by now, and was planned otherwise"
    assert user("ann").password_hash == NEW


def test_a_right_that_nobody_would_hold_is_said_and_only_then_lost(
    app: Flask, backups: Backups, plan_of: PlanOf
) -> None:
    change("root", deactivated_at=now())
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    change("root", deactivated_at=None)
    assert notes(plan_of(backup), "no_right_left") == []
    restored(app, backup, protected=False)
    assert user("root").is_active
    # Somebody who is not in the archive and holds it is enough.
    add_admin("eve")
    assert notes(plan_of(backup, protected=True), "no_right_left") == []
    change("eve", is_admin=False)
    plan = plan_of(backup, protected=True)
    (note,) = notes(plan, "no_right_left")
    assert note == (
        None,
        "nobody who is active will hold a right of is_admin any more that somebody holds now",
    )
    done = restored(app, backup)
    assert "no_right_left" in {each["code"] for each in done.outcome["warnings"]}
    assert not user("root").is_active


def test_a_right_that_is_lost_by_what_happened_since_the_plan_is_refused(
    app: Flask, backups: Backups
) -> None:
    change("root", deactivated_at=now())
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    change("root", deactivated_at=None)
    add_admin("eve")
    job = planned(app, backup)
    change("eve", deactivated_at=now())
    with pytest.raises(ChangedError, match="Nobody who is active would hold is_admin any more"):
        backups.orders.run(app, job)
    assert user("root").is_active


@pytest.mark.gap(mariadb="no trigger writes to its own table")
def test_without_a_grant_the_last_right_is_not_lost_by_what_the_database_does_itself(
    app: Flask, backups: Backups, backup: str
) -> None:
    """What counts is what is there before the commit: here a trigger of the host's ends `root`."""
    change("ann", password_hash=NEW)
    does = "UPDATE users SET deactivated_at = inserted_at WHERE username = 'root'"
    on = "TRIGGER ends AFTER UPDATE ON users FOR EACH ROW WHEN (NEW.username = 'ann')"
    statements = [f"CREATE {on} BEGIN {does}; END"]
    if db.engine.dialect.name == "postgresql":
        body = f"$$ BEGIN {does}; RETURN NEW; END $$"
        statements = [f"CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS {body}"]
        statements += [f"CREATE {on} EXECUTE FUNCTION ends()"]
    with db.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    with pytest.raises(RightsError, match="Nobody who is active would hold is_admin any more"):
        restored(app, backup, protected=False)
    assert user("root").is_active
    assert user("ann").password_hash == NEW


def test_an_empty_registry_is_restored_and_told_that_nobody_is_its_admin(
    app: Flask, backups: Backups, backup: str, plan_of: PlanOf
) -> None:
    change("root", username="other", email="other@x", is_admin=False)
    plan = plan_of(backup)
    assert notes(plan, "no_right_left") == [
        (
            None,
            "nobody who is active will hold is_admin, which accounts of the archive do: let "
            "protected columns in, or give it to somebody afterwards",
        )
    ]
    restored(app, backup, protected=False)
    assert not user("root").is_admin
    assert notes(plan_of(backup, protected=True), "no_right_left") == []


# an undo


def test_an_undo_is_no_way_around_the_grant(app: Flask, backups: Backups, backup: str) -> None:
    change("root", "ann", password_hash=NEW)
    change("bob", username="temporary", is_admin=True)
    done = restored(app, backup)
    after = log_in("root", "ann")
    add_admin("kim")
    with pytest.raises(RightsError) as caught:
        backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert [(fault.code, fault.record) for fault in caught.value.faults] == [
        ("not_granted", "user root")
    ]
    assert log_in("root", "ann") == after
    assert backups.history.undoable(backups.catalog.operation(done.operation))
    undone = backups.orders.run(
        app, verbs.undo.order(backups.history, ADA, done.operation, granted=True)
    )
    assert log_in("root", "ann")["root"][0] == NEW
    assert set(undone.outcome["changed"]["credentials"]["names"]) == {"root", "ann"}


def test_an_undo_that_would_leave_no_admin_has_to_be_granted(
    app: Flask, backups: Backups, backup: str
) -> None:
    change("root", username="nobody", email="nobody@x", is_admin=False)
    done = restored(app, backup)
    with pytest.raises(RightsError, match="nobody who is active would hold is_admin any more"):
        backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    assert user("root").is_admin
    undone = backups.orders.run(
        app, verbs.undo.order(backups.history, ADA, done.operation, granted=True)
    )
    assert "no_right_left" in {each["code"] for each in undone.outcome["warnings"]}
    assert "root" not in names()


def test_who_became_an_admin_since_a_restore_stays_when_it_is_undone(
    app: Flask, backups: Backups, backup: str
) -> None:
    change("ann", password_hash=NEW)
    change("bob", username="temporary", email="temporary@x")
    done = restored(app, backup, protected=False)
    assert {"ann", "bob"} <= names()
    change("ann", "bob", is_admin=True)
    undone = backups.orders.run(app, verbs.undo.order(backups.history, ADA, done.operation))
    since = {each["record"]: each["code"] for each in undone.outcome["warnings"]}
    assert since["user ann"] == since["user bob"] == "changed_since"
    assert user("ann").password_hash == OLD
    assert "bob" in names()
