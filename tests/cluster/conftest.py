"""One more machine of a cluster: the test's."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from examples.host_app import create_app
from examples.host_app.seed import ADMIN
from tests.support.cluster import Cluster
from tests.support.serving import Visitor, visitor


@pytest.fixture
def app(running: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return create_app(tmp_path / "host", {"HEXHUB_BACKUP_TICK_THREAD": False})


@pytest.fixture
def admin(app: Flask) -> Visitor:
    return visitor(app, ADMIN)
