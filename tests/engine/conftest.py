"""What tests ask of the host that is their `app`."""

from __future__ import annotations

import pytest
from flask import Flask

from hexhub_backup.jobs.verbs import Backups
from tests.engine.hosts import ADA, backups_of


@pytest.fixture
def backups(app: Flask) -> Backups:
    return backups_of(app)


@pytest.fixture
def backup(app: Flask, backups: Backups) -> str:
    """A backup of the host as it is at first."""
    return backups.run(backups.create(app, ADA)).operation
