"""A host whose clock is the test's."""

from __future__ import annotations

import pytest
from flask import Flask

from hexhub_backup.jobs.backups import Backups
from tests.support.ticking import Clock, Ticking


@pytest.fixture
def ticking(host: Flask, backups: Backups) -> Ticking:
    """One that has ticked once: everything is planned, and nothing is due."""
    found = Ticking(host, backups, Clock())
    assert found() == []
    return found
