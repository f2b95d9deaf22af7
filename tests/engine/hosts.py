"""The example host in this process, seeded, with its backups at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from examples.host_app import create_app
from examples.host_app.models import db
from examples.host_app.seed import seed
from hexhub_backup.jobs.runner import Done, Job
from hexhub_backup.jobs.verbs import Backups, Who
from hexhub_backup.operations.choice import Choice

ADA = Who(actor="ada", address="192.0.2.1")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Flask]:
    app = create_app(tmp_path / "host")
    with app.app_context():
        seed(users=4, packages=3, releases=2, file_size=0)
        backups_of(app).prepare(app)
        yield app
        db.session.remove()
        db.engine.dispose()


def backups_of(app: Flask) -> Backups:
    found: Backups = app.extensions["hexhub_backup"]
    return found


def planned(app: Flask, name: str, **choice: Any) -> Job:
    """A restore of an archive, planned and not yet begun."""
    backups = backups_of(app)
    choice = {"strategy": "overwrite", "protected": True, **choice}
    plan = backups.run(backups.inspect(app, ADA, name, Choice(**choice)))
    return backups.restore(app, ADA, plan.operation)


def restored(app: Flask, name: str, **choice: Any) -> Done:
    """Plan a restore of an archive and do it."""
    return backups_of(app).run(planned(app, name, **choice))
