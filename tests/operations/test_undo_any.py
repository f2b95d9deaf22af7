"""Restore and undo on random registries and archives: the registry is as before."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.host_app.models import Owner, Package, Release, User, db
from hexhub_backup import verbs
from hexhub_backup.jobs.backups import backups_of
from tests.support.extent import fewer
from tests.support.hosts import ADA, dump, leftovers, restored
from tests.support.stored import root_of

pytestmark = [pytest.mark.host(users=6, packages=5), pytest.mark.usefixtures("storages", "host")]

#: What has to be unique is never drawn twice.
FRESH = itertools.count()


def anything(app: Flask, chance: random.Random) -> None:
    """Change, remove and add what a host may."""
    root: Path = root_of(backups_of(app).storage)
    for user in db.session.scalars(sa.select(User)):
        if chance.random() < 0.3:
            user.email = f"{next(FRESH)}@example.org"
        if chance.random() < 0.3:
            user.password_hash = f"scrypt:32768:8:1$salt${chance.randrange(10**9):0128}"
        if chance.random() < 0.2 and user.username != ADA.actor:
            user.is_admin = not user.is_admin
        if chance.random() < 0.2:
            user.deactivated_at = None if user.deactivated_at else user.inserted_at
    for release in db.session.scalars(sa.select(Release)):
        does = chance.random()
        if does < 0.2:
            db.session.delete(release)
        elif does < 0.4:
            release.retired = None if release.retired else {"reason": "security"}
            release.downloads += chance.randrange(5)
    for owner in db.session.scalars(sa.select(Owner)):
        does = chance.random()
        if does < 0.2:
            db.session.delete(owner)
        elif does < 0.4:
            owner.level = "maintainer" if owner.level == "full" else "full"
    db.session.flush()
    for package in db.session.scalars(sa.select(Package).where(Package.source == "local")):
        does = chance.random()
        if does < 0.2:
            for each in [*package.releases, *package.owners, package]:
                db.session.delete(each)
        elif does < 0.5:
            package.meta = {"description": str(chance.randrange(10**9))}
    package = Package(name=f"new_{next(FRESH)}", meta={"description": "new"})
    db.session.add(package)
    db.session.add(Release(package=package, version="1.0.0"))
    user = User(
        username=f"new{next(FRESH)}",
        email=f"{next(FRESH)}@new.example",
        password_hash=f"scrypt:32768:8:1$salt${chance.randrange(10**9):0128}",
    )
    db.session.add(user)
    db.session.add(Owner(package=package, user=user))
    db.session.commit()
    for path in sorted(root.rglob("*.tar.gz")):
        does = chance.random()
        if does < 0.2:
            path.unlink()
        elif does < 0.4:
            path.write_bytes(chance.randbytes(chance.randrange(1, 5000)))


@given(
    seed=st.integers(0, 2**32),
    strategy=st.sampled_from(["skip", "overwrite", "overwrite"]),
    protected=st.booleans(),
    users=st.booleans(),
)
@settings(
    max_examples=fewer(20),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_restore_and_its_undo_leave_the_registry_as_it_was(
    app: Flask, seed: int, **choice: Any
) -> None:
    backups, chance = backups_of(app), random.Random(seed)
    anything(app, chance)
    backup = backups.orders.run(app, verbs.create.order(ADA)).operation
    anything(app, chance)
    before = dump(app)
    done = restored(app, backup, **choice)
    operation = backups.catalog.operation(done.operation)
    if backups.history.undoable(operation):
        undone = backups.orders.run(
            app, verbs.undo.order(backups.history, ADA, done.operation, granted=choice["protected"])
        )
        assert undone.outcome["warnings"] == []
    assert dump(app) == before
    db.session.expire_all()
    assert leftovers(backups) == []
